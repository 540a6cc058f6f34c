"""Who is trained with: one role or several in turn, in which order, and the imbalanced public set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from datamodules import SyntheticFaces
from datamodules.shuffling import EpochShuffle


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def faces(cache: Path, **changes) -> SyntheticFaces:
    people = {"n_identities": 10, "images_per_identity": 5, "private_identities": 4, "image_size": 32}
    module = SyntheticFaces(**(people | {"batch_size": 8, "cache_dir": str(cache)} | changes))
    module.prepare_data()
    return module


def trainer(epoch: int, reload: int = 1, ranks: int = 1, rank: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        world_size=ranks, global_rank=rank, current_epoch=epoch, reload_dataloaders_every_n_epochs=reload
    )


def rows(module: SyntheticFaces, epoch: int) -> list[int]:
    """Those that epoch `epoch` is trained with, in order."""
    module.trainer = trainer(epoch)
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [row for batch in loader for row in batch["row"].tolist()]


def test_several_roles_take_turns_epoch_by_epoch(cache: Path) -> None:
    module = faces(cache, fit_role=["public", "private_train"])
    module.trainer = trainer(0)
    module.setup("fit")
    for epoch, role in enumerate(["public", "private_train", "public", "private_train"]):
        assert set(rows(module, epoch)) <= set(module.splits.rows(role).tolist())
    assert len(module.val_dataloader().dataset) == len(module.splits.rows("public_val"))


def test_turns_without_reloading_are_refused(cache: Path) -> None:
    """Lightning would train every epoch with the first role."""
    module = faces(cache, fit_role=["public", "private_train"])
    module.trainer = trainer(0, reload=0)
    with pytest.raises(ValueError, match="reload_dataloaders_every_n_epochs to 1"):
        module.setup("fit")


def test_every_role_must_fill_a_batch(cache: Path) -> None:
    module = faces(cache, fit_role=["public", "private_train"], batch_size=20)
    module.trainer = trainer(0)
    with pytest.raises(ValueError, match="16 images of private_train"):
        module.setup("fit")


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    """A resumed run must not meet other images than the unbroken one, whatever was drawn before."""

    def order(seed: int, epoch: int) -> list[int]:
        shuffle = EpochShuffle(50, seed, batch_size=10)
        shuffle.set_epoch(epoch)
        torch.rand(epoch + 1)
        return list(shuffle)

    assert order(0, 3) == order(0, 3)
    assert sorted(order(0, 3)) == list(range(50))
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_public_images_without_the_attribute_are_left_out_of_training_alone(cache: Path) -> None:
    whole, module = faces(cache), faces(cache, public_attribute="Smiling", batch_size=1)
    for each in (whole, module):
        each.setup("fit")
    kept = module.splits.attributes[rows(module, 0), module.attribute_names.index("Smiling")]
    assert 0 < len(kept) < len(whole.faces("public"))
    assert (kept == 1).all()
    for role in ("public_val", "private_train", "private_test"):
        assert torch.equal(module.faces(role).rows, whole.faces(role).rows)
    assert sorted(torch.cat(module.manifest("public")).tolist()) == module.faces("public").rows.tolist()
    assert module.fingerprint() != whole.fingerprint()


def test_an_attribute_that_the_data_lacks_is_named(cache: Path) -> None:
    with pytest.raises(ValueError, match="'wings' is none of"):
        faces(cache, public_attribute="wings").setup("fit")


def test_ranks_share_the_batches_of_one(cache: Path) -> None:
    """The batch is what the configuration says: two devices must not train with twice as many images."""
    module = faces(cache, batch_size=6)
    module.trainer = trainer(0)
    module.setup("fit")
    alone = [batch["row"].tolist() for batch in module.train_dataloader()]
    parts = []
    for rank in range(3):
        module.trainer = trainer(0, ranks=3, rank=rank)
        parts.append([batch["row"].tolist() for batch in module.train_dataloader()])
    assert [first + second + third for first, second, third in zip(*parts, strict=True)] == alone
    assert {len(batch) for batch in parts[0]} == {2}


def test_ranks_that_cannot_share_evenly_are_refused(cache: Path) -> None:
    module = faces(cache, batch_size=10)
    module.trainer = trainer(0, ranks=4)
    with pytest.raises(ValueError, match=r"4 devices .* batch_size 10 .* set devices to one of 1, 2, 5, 10"):
        module.setup("fit")


def test_some_positions_stand_first_in_every_batch_of_all_ranks() -> None:
    """As one process orders a batch, so do several: else random numbers would meet other images."""
    alone = list(EpochShuffle(40, 0, 8, first=20))
    for start in range(0, 40, 8):
        kinds = [place >= 20 for place in alone[start : start + 8]]
        assert kinds == sorted(kinds)
    halves = [list(EpochShuffle(40, 0, 8, rank, 2, first=20)) for rank in (0, 1)]
    joined = [halves[rank][at : at + 4] for at in range(0, 20, 4) for rank in (0, 1)]
    assert [place for part in joined for place in part] == alone
