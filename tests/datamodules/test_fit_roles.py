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


def trainer(epoch: int, reload: int = 1, ranks: int = 1) -> SimpleNamespace:
    return SimpleNamespace(world_size=ranks, current_epoch=epoch, reload_dataloaders_every_n_epochs=reload)


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
        shuffle = EpochShuffle(50, seed)
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


def test_every_rank_must_fill_a_batch(cache: Path) -> None:
    """Otherwise each would drop its only batch, and the fit would end without having trained."""
    module = faces(cache, fit_role="private_train", batch_size=12)
    module.trainer = trainer(0, ranks=2)
    with pytest.raises(ValueError, match="8 images of private_train that each of 2 processes has"):
        module.setup("fit")
