"""Features linked to photographs: what the pairs teach is found in people nobody saw, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from facecrafter.nets.withheld import Fill
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers.linker import PENALTIES, Linker, NetworkLinker, RidgeLinker, ridge
from lightning_modules.networks.oracle import IdentityOracle

SIZE, STRANGERS, PHOTOGRAPHS = 8, 20, 3


class Split(LightningModule):
    """Stands for a target network of three attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4))
        self.head = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


class Colours(IdentityOracle):
    """Knows people by the colours of the four quarters of a picture."""

    def embed(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, SIZE // 2).flatten(1)

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        """Nothing."""

    def scores(self, embeddings: Tensor) -> Tensor:
        return embeddings


class Scaled(nn.Module):
    """A defence of a kind."""

    def forward(self, features: Tensor) -> Tensor:
        return features * torch.linspace(0.2, 2, features.shape[1])[:, None, None]


class Dropped(nn.Module):
    """Withholds three of eight channels, others for each image."""

    def forward(self, features: Tensor) -> Tensor:
        order = torch.rand(features.shape[:2], generator=torch.Generator().manual_seed(5)).argsort(dim=1)
        return features * (order >= 3)[:, :, None, None]


class Noisy(nn.Module):
    """Noise that varies twice as much as the features."""

    def forward(self, features: Tensor) -> Tensor:
        noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(7))
        return features + 2 * features.std() * noise


def photographs(people: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three noisy pictures (N, 3, S, S) of each of so many people, and who is in them."""
    rng = torch.Generator().manual_seed(seed)
    faces = F.interpolate(torch.rand(people, 3, 2, 2, generator=rng), SIZE)
    who = torch.arange(people).repeat_interleave(PHOTOGRAPHS)
    return (faces[who] + 0.02 * torch.randn(len(who), 3, SIZE, SIZE, generator=rng)).clamp(0, 1), who


class Photographs(Dataset):
    """Pictures with their features, as datamodules.protected.PairDataset has them, or without."""

    features: Tensor | None

    def __init__(self, images: Tensor, features: Tensor, rows: Tensor) -> None:
        self.pictures, self.features, self.rows = images[rows], features[rows], rows

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, positions: Tensor) -> Tensor:
        return self.pictures[positions]

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        named = {"image": self.pictures, "features": self.features, "row": self.rows}
        return {name: tensor[positions] for name, tensor in named.items() if tensor is not None}


class Pairs(LightningDataModule):
    """The attacker's own photographs with their features; those of `permuted` are of somebody else.

    So many `pairs` are trained with; 60 more are held out.
    """

    cache_dir: Path

    def __init__(self, encoder: nn.Module, permuted: bool = False, pairs: int = 300) -> None:
        super().__init__()
        images, _ = photographs(120, seed=1)
        with torch.no_grad():
            features = encoder(images)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2))
        if permuted:
            features = features[order]
        rows = torch.arange(len(images))
        self.train, self.val = (Photographs(images, features, part) for part in (rows[:pairs], rows[-60:]))

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.train)

    def val_dataloader(self) -> DataLoader:
        return self._loader(self.val)

    def _loader(self, part: Photographs) -> DataLoader:
        return DataLoader(part, batch_size=30, drop_last=True, collate_fn=lambda batch: batch)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Pairs, "cache_dir", tmp_path / "cache", raising=False)


@pytest.fixture
def target(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Split())


def linked(linker: Linker, data: Pairs, encoder: nn.Module, epochs: int) -> float:
    """How many of the private people's features lie nearest to another photograph of the same person."""
    Trainer(max_epochs=epochs, accelerator="cpu", **QUIET).fit(linker, datamodule=data)
    images, who = photographs(STRANGERS, seed=9)
    seen, gallery = slice(0, None, PHOTOGRAPHS), slice(1, None, PHOTOGRAPHS)
    with torch.no_grad():
        found = linker.eval().embed(encoder(images[seen]))
        known = F.normalize(linker.oracle.on(torch.device("cpu")).embed(images[gallery]))
    return ((found @ known.T).argmax(dim=1) == who[seen]).double().mean().item()


def ridge_linker(target: str, **others: object) -> RidgeLinker:
    return RidgeLinker(target, Colours(), SIZE, **others)


def kept(folder: Path, linker: RidgeLinker, target: str) -> str:
    """The artifact folder of a linker to start from."""
    known = artifact(folder.with_name("colours"), Colours())
    return artifact(
        folder, linker, encoder=target, oracle=known, image_size=SIZE, layers=linker.layers or None
    )


def network_linker(target: str, **others: object) -> NetworkLinker:
    torch.manual_seed(0)
    return NetworkLinker(target, Colours(), SIZE, learning_rate=5e-3, dropout=0.0, patience=4, **others)


@pytest.mark.parametrize(
    ("make", "layers", "epochs"),
    [
        (ridge_linker, None, 1),
        (ridge_linker, {"hidden": 1.0}, 1),
        (network_linker, None, 40),
        (network_linker, {"hidden": 1.0}, 40),
    ],
)
def test_people_nobody_saw_are_linked_from_undefended_features(target, make, layers, epochs) -> None:
    encoder = load_artifact(target, Split).encoder
    assert linked(make(target, layers=layers), Pairs(encoder), encoder, epochs) >= 0.8


@pytest.mark.parametrize(("make", "epochs"), [(ridge_linker, 1), (network_linker, 40)])
def test_permuted_pairs_teach_nothing(target: str, make, epochs: int) -> None:
    """Else the judge or the gallery would say who it is, not the feature. Chance is one in twenty."""
    encoder = load_artifact(target, Split).encoder
    assert linked(make(target), Pairs(encoder, permuted=True), encoder, epochs) <= 0.25


def test_answers_alone_tell_less_than_the_feature(target: str) -> None:
    encoder = load_artifact(target, Split).encoder
    shares = [
        linked(ridge_linker(target, layers=layers), Pairs(encoder), encoder, 1)
        for layers in ({"logits": 1.0}, None)
    ]
    assert 0.05 < shares[0] < shares[1]


@pytest.mark.parametrize("pairs", [30, 4])
def test_ridge_is_that_of_the_normal_equations(pairs: int) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(pairs, 5, generator=rng, dtype=torch.float64)
    y = torch.randn(pairs, 3, generator=rng, dtype=torch.float64)
    centred = x - x.mean(dim=0)
    unit = centred.square().sum() / len(x)
    for penalty, (weight, bias) in zip((0.01, 2.0), ridge(x, y, (0.01, 2.0)), strict=True):
        normal = centred.T @ centred + penalty * unit * torch.eye(5, dtype=torch.float64)
        torch.testing.assert_close(weight.T, torch.linalg.solve(normal, centred.T @ y))
        torch.testing.assert_close((x @ weight.T + bias).mean(dim=0), y.mean(dim=0))


def test_few_queries_of_a_defence_add_to_what_raw_features_taught(target: str, tmp_path: Path) -> None:
    """Alone they teach less than the raw features that an attacker has anyway, and A1 would look harmless."""
    encoder = load_artifact(target, Split).encoder
    start, many = ridge_linker(target), Pairs(encoder)
    from_raw = linked(start, many, encoder, 1)
    folder = kept(tmp_path / "raw", start, target)
    few = Pairs(encoder, pairs=30)
    alone, both = (linked(ridge_linker(target, start=begin), few, encoder, 1) for begin in (None, folder))
    assert alone < from_raw <= both


def test_where_queries_teach_nothing_the_start_is_kept(target: str, tmp_path: Path) -> None:
    encoder = load_artifact(target, Split).encoder
    start = ridge_linker(target)
    linked(start, Pairs(encoder), encoder, 1)
    after = ridge_linker(target, start=kept(tmp_path / "raw", start, target))
    misled = Pairs(encoder)
    misled.train = Pairs(encoder, permuted=True, pairs=60).train
    linked(after, misled, encoder, 1)
    assert torch.equal(after.map.weight, start.weights[after.chosen])
    assert torch.equal(after.map.bias, start.biases[after.chosen])
    torch.testing.assert_close(after.mean, start.mean)


def test_people_whom_the_start_has_seen_do_not_choose_its_penalty(target: str, tmp_path: Path) -> None:
    """The lightest knows them best, and strangers least: adapting to no defence lost 11 points of 28."""
    encoder = load_artifact(target, Split).encoder
    start, seen, asked = ridge_linker(target), Pairs(encoder, pairs=60), Pairs(encoder, pairs=30)
    before = linked(start, seen, encoder, 1)
    folder = kept(tmp_path / "raw", start, target)
    asked.val = Pairs(encoder, pairs=60).train
    after = ridge_linker(target, start=folder)
    assert linked(after, asked, encoder, 1) >= before
    assert after.chosen == start.chosen


def test_a_start_for_the_mean_of_many_queries_is_that_of_raw_features(target: str, tmp_path: Path) -> None:
    """Noise averages out: by the penalty of one query their mean looked safer than it is."""
    encoder = load_artifact(target, Split).encoder
    start = ridge_linker(target)
    linked(start, Pairs(encoder), encoder, 1)
    folder = kept(tmp_path / "raw", start, target)
    noisy = nn.Sequential(encoder, Noisy())
    one, many = (ridge_linker(target, start=folder, queries=queries) for queries in (1, 10**6))
    for linker in (one, many):
        linked(linker, Pairs(noisy, pairs=30), noisy, 1)
    assert PENALTIES[one.chosen] > PENALTIES[many.chosen] == PENALTIES[start.chosen]


def test_with_a_start_ridge_solves_for_the_change(target: str, tmp_path: Path) -> None:
    """The defence scales every channel otherwise, so that the start is wrong, and zero is as well."""
    encoder = load_artifact(target, Split).encoder
    start = ridge_linker(target)
    linked(start, Pairs(encoder), encoder, 1)
    after = ridge_linker(target, start=kept(tmp_path / "raw", start, target))
    scaled = nn.Sequential(encoder, Scaled())
    linked(after, Pairs(scaled), scaled, 1)
    x, y = after._all_pairs(after.trainer.datamodule.train)
    found = [
        begun + weight
        for begun, bias in zip(start.weights, start.biases, strict=True)
        for weight, _ in ridge(x, y - x @ begun.T - bias, PENALTIES)
    ]
    assert any(torch.allclose(after.map.weight, weight, atol=1e-5) for weight in found)


def test_noise_is_linked_by_the_penalty_that_suits_it(target: str, tmp_path: Path) -> None:
    """They want a heavier one than raw features do: by that of the raw linker noise looked safe."""
    encoder = load_artifact(target, Split).encoder
    start = ridge_linker(target)
    linked(start, Pairs(encoder), encoder, 1)
    after, noisy = (
        ridge_linker(target, start=kept(tmp_path / "raw", start, target)),
        nn.Sequential(encoder, Noisy()),
    )
    few = Pairs(noisy, pairs=30)
    linked(after, few, noisy, 1)
    (x, y), (seen, stand) = (after._all_pairs(part) for part in (few.train, few.val))

    def near(weight: Tensor, bias: Tensor) -> float:
        return F.cosine_similarity(F.linear(seen, weight, bias), stand).mean().item()

    begun = start.map.weight, start.map.bias
    changed = [(begun[0] + weight, begun[1] + bias) for weight, bias in ridge(x, y - start.map(x), PENALTIES)]
    with torch.no_grad():
        assert near(after.map.weight, after.map.bias) > max(near(*one) for one in (begun, *changed)) + 0.01


@pytest.mark.parametrize(("make", "epochs"), [(ridge_linker, 1), (network_linker, 40)])
def test_withheld_channels_are_no_evidence_of_who_it_is(target: str, make, epochs: int) -> None:
    """Zeros are far from any face: taken for what the sender saw, they hid people whom the rest names."""
    encoder = load_artifact(target, Split).encoder
    linker = make(target)
    filled = linked(linker, Pairs(encoder), nn.Sequential(encoder, Dropped()), epochs)
    images, who = photographs(STRANGERS, seed=9)
    linker.fill = Fill(tuple(linker.fill.mean.shape))  # to which nothing is unusual
    with torch.no_grad():
        found = linker.embed(Dropped()(encoder(images[::PHOTOGRAPHS])))
        known = F.normalize(linker.oracle.on(torch.device("cpu")).embed(images[1::PHOTOGRAPHS]))
    by_zeros = ((found @ known.T).argmax(dim=1) == who[::PHOTOGRAPHS]).double().mean().item()
    assert filled >= by_zeros + 0.2


def test_what_is_usual_to_a_linker_of_raw_features_stays_so(target: str, tmp_path: Path) -> None:
    """Else it is learnt anew from answers of a defence that withholds channels, in which zeros are usual."""
    encoder = load_artifact(target, Split).encoder
    start = ridge_linker(target)
    linked(start, Pairs(encoder), encoder, 1)
    after = ridge_linker(target, start=kept(tmp_path / "raw", start, target))
    linked(after, Pairs(nn.Sequential(encoder, Dropped()), pairs=30), encoder, 1)
    assert start.fill.has_learnt
    torch.testing.assert_close(after.fill.state_dict(), start.fill.state_dict(), rtol=0, atol=0)


def test_pairs_that_fill_no_batch_teach_as_well(target: str) -> None:
    """Of 59 pairs a batch has 30: an attacker who has paid for the others would be called weaker."""
    encoder = load_artifact(target, Split).encoder
    linker, data = ridge_linker(target), Pairs(encoder, pairs=59)
    linked(linker, data, encoder, 1)
    known = linker.oracle.on(torch.device("cpu")).embed(data.train.pictures)
    x, y = data.train.features.flatten(1), F.normalize(known)
    found = [weight for weight, _ in ridge(x, y - y.mean(dim=0), PENALTIES)]
    assert any(torch.allclose(linker.map.weight, weight, atol=1e-4) for weight in found)


def test_an_image_of_ones_own_is_learnt_from_mirrored_too(target: str) -> None:
    """Its features cost the attacker nothing; those of an answered query are of the image as it was sent."""
    encoder = load_artifact(target, Split).encoder
    data, answered = Pairs(encoder), Pairs(encoder)
    data.train.features = None
    linker, plain = ridge_linker(target), ridge_linker(target, mirror=False)
    images = answered.train.pictures
    y = F.normalize(linker.oracle.on(torch.device("cpu")).embed(images))
    y = y - y.mean(dim=0)
    with torch.no_grad():
        both = torch.cat([encoder(images), encoder(images.flip(3))]).flatten(1)
    for after, part, x, stand in (
        (linker, data, both, y.repeat(2, 1)),
        (plain, data, both[: len(y)], y),
        (ridge_linker(target), answered, both[: len(y)], y),
    ):
        linked(after, part, encoder, 1)
        assert after.pairs == len(x)
        for weight, (expected, _) in zip(after.weights, ridge(x, stand, PENALTIES), strict=True):
            torch.testing.assert_close(weight, expected, atol=1e-4, rtol=1e-4)


def test_who_goes_on_with_images_of_his_own_mirrors_them_too(target: str, tmp_path: Path) -> None:
    """Nothing is added to their features, so the start is that of its own penalty."""
    encoder = load_artifact(target, Split).encoder
    data = Pairs(encoder)
    data.train.features = None
    start = ridge_linker(target)
    linked(start, data, encoder, 1)
    after = ridge_linker(target, start=kept(tmp_path / "raw", start, target))
    linked(after, data, encoder, 1)
    assert (after.pairs, after.chosen) == (start.pairs, start.chosen)


def test_more_epochs_change_nothing_that_is_solved(target: str) -> None:
    """Each would otherwise be fitted to what the one before left over."""
    encoder = load_artifact(target, Split).encoder
    once, twice = ridge_linker(target), ridge_linker(target)
    for linker, epochs in ((once, 1), (twice, 2)):
        linked(linker, Pairs(encoder), encoder, epochs)
    torch.testing.assert_close(twice.map.state_dict(), once.map.state_dict())


def test_private_people_teach_no_linker(target: str) -> None:
    data = Pairs(load_artifact(target, Split).encoder)
    data.fit_role = "private_train"
    with pytest.raises(ValueError, match="set fit_role to public, not private_train"):
        Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(ridge_linker(target), datamodule=data)


def test_a_start_that_reads_something_else_is_named(target: str, tmp_path: Path) -> None:
    folder = kept(tmp_path / "hidden", ridge_linker(target, layers={"hidden": 1.0}), target)
    with pytest.raises(ValueError, match=r"hidden.*start from a linker of the same layers"):
        ridge_linker(target, start=folder)


def test_a_start_with_a_start_is_named(target: str, tmp_path: Path) -> None:
    encoder = load_artifact(target, Split).encoder
    start = ridge_linker(target)
    linked(start, Pairs(encoder), encoder, 1)
    first = kept(tmp_path / "raw", start, target)
    config = {"encoder": target, "oracle": str(tmp_path / "colours"), "image_size": SIZE, "start": first}
    folder = artifact(tmp_path / "second", ridge_linker(target, start=first), **config)
    with pytest.raises(ValueError, match="has a start itself: name that one"):
        ridge_linker(target, start=folder)


def test_a_start_that_leads_to_another_oracle_is_named(target: str, tmp_path: Path) -> None:
    """Otherwise its map would be taken for one into embeddings whose directions mean something else."""

    class Others(Colours):
        pass

    folder = kept(tmp_path / "raw", ridge_linker(target), target)
    with pytest.raises(ValueError, match=r"another Colours.*this Others.*same oracle"):
        RidgeLinker(target, Others(), SIZE, start=folder)


def test_photographs_are_embedded_once_for_all_linkers(target: str) -> None:
    """Otherwise a study of many defences spends hours on the embeddings of the same public photographs."""
    encoder, shown = load_artifact(target, Split).encoder, []

    class Counted(Colours):
        def embed(self, images: Tensor) -> Tensor:
            shown.append(len(images))
            return super().embed(images)

    linkers = [RidgeLinker(target, Counted(), SIZE) for _ in range(2)]
    counts = []
    for linker in linkers:
        shown.clear()
        linked(linker, Pairs(encoder), encoder, 1)
        counts.append(sum(shown))
    assert counts[0] - counts[1] == 360, "all but those by which the oracle is known"
    torch.testing.assert_close(linkers[1].map.state_dict(), linkers[0].map.state_dict())


def test_training_ends_when_people_held_out_gain_nothing_and_keeps_the_best(target: str) -> None:
    encoder = load_artifact(target, Split).encoder
    linker, data = network_linker(target), Pairs(encoder, permuted=True)
    linked(linker, data, encoder, 100)
    assert linker.trainer.current_epoch < 100
    pairs = [linker._pairs(batch) for batch in data.val_dataloader()]
    with torch.no_grad():
        cosines = [F.cosine_similarity(linker.network(read), stand).mean() for read, stand in pairs]
        last = [F.cosine_similarity(linker.trained.eval()(read), stand).mean() for read, stand in pairs]
    torch.testing.assert_close(torch.stack(cosines).mean(), linker.best_cosine)
    assert torch.stack(last).mean() < linker.best_cosine
