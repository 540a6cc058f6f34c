"""Features matched with photographs: people nobody saw are named, and what a defence does is learnt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, Trainer
from test_linker import PHOTOGRAPHS, SIZE, Dropped, Split, photographs
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.matcher import Matcher, _whole_people

STRANGERS = 30


class Turned(nn.Module):
    """A defence of a kind: every channel takes another's place."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flip(1)


class Pictures(Dataset):
    """Pictures and whom they show, with the features of an answered query where they were asked for."""

    def __init__(self, images: Tensor, identities: Tensor, features: Tensor | None) -> None:
        self.pictures, self.identities, self.features = images, identities, features

    def __len__(self) -> int:
        return len(self.identities)

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        named = {"image": self.pictures, "identity": self.identities, "features": self.features}
        return {name: tensor[positions] for name, tensor in named.items() if tensor is not None}


class Answers(Dataset):
    """Of nobody knows whom."""

    def __len__(self) -> int:
        return 30

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        return {
            "image": torch.zeros(len(positions), 3, SIZE, SIZE),
            "features": torch.zeros(len(positions), 8, 2, 2),
        }


class Public(LightningDataModule):
    """Public people, those of `permuted` with somebody else's names; what `defence` makes of each."""

    def __init__(self, defence: nn.Module | None = None, permuted: bool = False, people: int = 120) -> None:
        super().__init__()
        images, who = photographs(people, seed=1)
        if permuted:
            who = who[torch.randperm(len(who), generator=torch.Generator().manual_seed(2))]
        with torch.no_grad():
            features = None if defence is None else defence(images)
        self.parts = [
            Pictures(images[part], who[part], None if features is None else features[part])
            for part in (slice(None, -30), slice(-30, None))
        ]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[0], batch_size=30, collate_fn=lambda batch: batch)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[1], batch_size=30, collate_fn=lambda batch: batch)


@pytest.fixture
def target(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Split())


def fitted(matcher: Matcher, data: Public) -> Matcher:
    Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(matcher, datamodule=data)
    return matcher.eval()


def named(matcher: Matcher, target: str, defence: nn.Module) -> float:
    """How many of the private people's protected pictures are named, by two photographs of each."""
    encoder = load_artifact(target, Split).encoder
    images, who = photographs(STRANGERS, seed=9)
    shown = torch.arange(len(who)) % PHOTOGRAPHS == 0
    with torch.no_grad():
        sent, known = (
            matcher.coordinates(made) for made in (defence(images[shown]), encoder(images[~shown]))
        )
    scores = matcher.scores(sent, known, who[~shown])
    return (scores.argmax(dim=1) == who[shown]).double().mean().item()


@pytest.mark.parametrize("layers", [(), ("hidden",)])
def test_people_nobody_saw_are_named_by_undefended_features(target: str, layers: tuple[str, ...]) -> None:
    encoder = load_artifact(target, Split).encoder
    matcher = Matcher(target, SIZE, layers=layers, directions=(8, 8)[: 1 + len(layers)])
    assert named(fitted(matcher, Public()), target, encoder) > 0.8


class OneMap(Split):
    """Stands for a target network whose f is one linear map."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32, 12))


class Masked(nn.Module):
    """A defence of a kind: a stranger's feature, corrected until f reads of it what it read of this one."""

    def __init__(self, f: nn.Linear) -> None:
        super().__init__()
        self.kept = torch.linalg.pinv(f.weight.detach()) @ f.weight.detach()

    def forward(self, features: Tensor) -> Tensor:
        stranger = 9 * torch.randn(features.shape, generator=torch.Generator().manual_seed(len(features)))
        return stranger + ((features - stranger).flatten(1) @ self.kept).view_as(features)


def test_answers_are_compared_alone_where_the_feature_is_left_out(tmp_path: Path) -> None:
    """Beside a stranger's feature they are lost: what keeps them would look safer than it is."""
    torch.manual_seed(0)
    target = artifact(tmp_path / "target", OneMap())
    network = load_artifact(target, OneMap)
    defence = nn.Sequential(network.encoder, Masked(network.head[-1]))
    matchers = [Matcher(target, SIZE, ("logits",), directions) for directions in ((8, 8), (0, 8))]
    beside, alone = (named(fitted(matcher, Public()), target, defence) for matcher in matchers)
    assert len(matchers[1].scale) == 8
    assert alone > beside + 0.3


def test_names_that_mean_nothing_teach_nothing(target: str) -> None:
    encoder = load_artifact(target, Split).encoder
    right, wrong = (
        named(fitted(Matcher(target, SIZE, directions=(8, 8)), Public(permuted=permuted)), target, encoder)
        for permuted in (False, True)
    )
    assert wrong < right - 0.3


def test_what_the_defence_does_is_learnt_from_its_answers(target: str, tmp_path: Path) -> None:
    """Also of few: the comparison of raw features is what it goes on from."""
    defence = nn.Sequential(load_artifact(target, Split).encoder, Turned())
    raw = fitted(Matcher(target, SIZE, directions=(8, 8)), Public())
    start = artifact(tmp_path / "raw", raw, encoder=target, image_size=SIZE, directions=[8, 8])
    unaware = named(raw, target, defence)
    for people in (15, 120):
        aware = Matcher(target, SIZE, directions=(8, 8), start=start)
        assert named(fitted(aware, Public(defence, people=people)), target, defence) > unaware + 0.1


def test_withheld_channels_are_filled(target: str) -> None:
    defence = nn.Sequential(load_artifact(target, Split).encoder, Dropped())
    matcher = fitted(Matcher(target, SIZE, directions=(8, 8)), Public())
    filled = named(matcher, target, defence)
    matcher.fill.absence.fill_(1.0)  # nothing is unusual
    assert filled > named(matcher, target, defence)


def test_what_was_learnt_is_read_back(target: str, tmp_path: Path) -> None:
    matcher = fitted(Matcher(target, SIZE, directions=(8, 8)), Public())
    folder = artifact(tmp_path / "kept", matcher, encoder=target, image_size=SIZE, directions=[8, 8])
    again = load_artifact(folder, Matcher)
    features = torch.rand(3, 8, 2, 2)
    assert torch.equal(matcher.coordinates(features), again.coordinates(features))


def test_fewer_pictures_than_directions_are_enough(target: str) -> None:
    encoder = load_artifact(target, Split).encoder
    matcher = fitted(Matcher(target, SIZE, pictures=12), Public())
    assert named(matcher, target, encoder) > 2 / STRANGERS


def test_whole_people_are_drawn() -> None:
    """Of somebody with one picture nothing is learnt that stays."""
    identities = torch.arange(6).repeat(4)
    drawn = identities[_whole_people(identities, 8, seed=0)]
    assert drawn.unique(return_counts=True)[1].tolist() == [4, 4]
    assert _whole_people(identities, 100, seed=0).tolist() == list(range(24))


def test_answers_alone_say_nothing_of_people(target: str) -> None:
    data = Public()
    data.parts[0] = Answers()
    with pytest.raises(ValueError, match="or the start that these pairs are for"):
        fitted(Matcher(target, SIZE), data)


def test_private_people_teach_no_matcher(target: str) -> None:
    data = Public()
    data.fit_role = "private_train"
    with pytest.raises(ValueError, match="set fit_role to public, not private_train"):
        fitted(Matcher(target, SIZE), data)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries": 0}, "queries=0 and .* at least 1"),
        ({"directions": (0, 0)}, "nor all 0"),
        ({"directions": (8, -1)}, "must not be negative"),
        ({"directions": (8,)}, "must have a number for each of feature, hidden"),
        ({"layers": ("nowhere",)}, "nowhere"),
    ],
)
def test_what_cannot_be_compared_is_named(target: str, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Matcher(target, SIZE, **wrong)


def test_a_start_that_compares_something_else_is_named(target: str, tmp_path: Path) -> None:
    raw = Matcher(target, SIZE, layers=(), directions=(8,))
    start = artifact(tmp_path / "raw", raw, encoder=target, image_size=SIZE, layers=[], directions=[8])
    with pytest.raises(ValueError, match="start from one of the same layers"):
        Matcher(target, SIZE, start=start)
