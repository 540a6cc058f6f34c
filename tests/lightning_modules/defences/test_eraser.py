"""An eraser that learnt from public people hides others from whoever links features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_modules import IdentityEraser
from lightning_modules.artifacts import load_artifact

SIZE, EACH, STRANGERS = 8, 4, 20


class Split(LightningModule):
    """Stands for a target network."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4))


def photographs(people: int, seed: int, each: int = EACH) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, S, S) of people who differ in colours, not in the light, and who is in them."""
    rng = torch.Generator().manual_seed(seed)
    faces = F.interpolate(torch.rand(people, 3, 2, 2, generator=rng), SIZE)
    who = torch.arange(people).repeat_interleave(each)
    light = torch.linspace(-0.1, 0.1, SIZE).expand(SIZE, SIZE) * torch.randn(len(who), 1, 1, 1, generator=rng)
    return faces[who] + light + 0.02 * torch.randn(len(who), 3, SIZE, SIZE, generator=rng), who


class People(LightningDataModule):
    def __init__(self, each: int = EACH, fit_role: str = "public", private_exposure: float = 0) -> None:
        super().__init__()
        self.fit_role, self.private_exposure = fit_role, private_exposure
        self.images, self.who = photographs(100, seed=1, each=each)

    def __len__(self) -> int:
        return len(self.who)

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        return {"image": self.images[positions], "identity": self.who[positions]}

    def train_dataloader(self) -> DataLoader:
        """Whole batches alone, as everywhere: of 400 pictures 40 fill none."""
        return DataLoader(self, batch_size=60, drop_last=True, collate_fn=lambda batch: batch)


@pytest.fixture
def target(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Split())


def learnt(target: str, data: People, **init_args: object) -> IdentityEraser:
    eraser = IdentityEraser(target, SIZE, **init_args)
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(eraser, datamodule=data)
    return eraser.eval()


def named(features: Tensor, who: Tensor) -> float:
    """How often a feature lies nearest to another one of the same person, in the features' own metric."""
    x = (features - features.mean(dim=0)).flatten(1)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    x = x @ vectors / (values.clamp_min(0) + 1e-4 * values.mean()).sqrt()
    seen, known = slice(0, None, EACH), slice(1, None, EACH)
    return (torch.cdist(x[seen], x[known]).argmin(dim=1) == who[: len(x) // EACH]).double().mean().item()


def test_people_nobody_learnt_from_are_named_no_more(target: str) -> None:
    eraser = learnt(target, People(), rank=12, shrinkage=1e-3)
    images, who = photographs(STRANGERS, seed=9)
    with torch.no_grad():
        features = load_artifact(target, Split).encoder(images)
        erased = eraser.network(features)
    who = torch.arange(STRANGERS)
    assert named(features, who) >= 0.7
    assert named(erased, who) <= 0.3, "chance is one in twenty"
    # What no two pictures of a person share stays: here the light.
    light = features.view(STRANGERS, EACH, -1).var(dim=1).sum()
    assert erased.view(STRANGERS, EACH, -1).var(dim=1).sum() > 0.3 * light


def test_it_learns_from_so_many_pictures_at_most(target: str) -> None:
    """Time grows with the cube of their number."""
    assert len(learnt(target, People(), rank=2, pictures=50)._drawn()[0]) == 50


def test_it_learns_from_pictures_that_fill_no_batch(target: str) -> None:
    """Where there are few, they are many of them."""
    features, people = learnt(target, People(), rank=2)._drawn()
    assert len(features) == len(people) == 400


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (People(each=1), "people who have several"),
        (People(fit_role="private_train"), "public people"),
        (People(private_exposure=0.1), "adds private ones"),
    ],
)
def test_data_that_teaches_nothing_or_too_much_is_refused(target: str, data: People, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        learnt(target, data, rank=2)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"shrinkage": -1.0}, {"pictures": 1}])
def test_settings_out_of_range_are_refused(target: str, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IdentityEraser(target, SIZE, **wrong)
