"""Pairs of protected feature and image: every image with its own feature, and none that is private."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from datamodules import ProtectedPairs, SyntheticFaces
from datamodules.protected import StoredFeatures
from facecrafter.store import TensorStore


def faces(cache: Path, **changes) -> SyntheticFaces:
    people = {"n_identities": 12, "images_per_identity": 5, "private_identities": 4}
    sizes = {"image_size": 32, "batch_size": 4, "manifest_batch_size": 7, "predict_role": "public"}
    return SyntheticFaces(**(people | sizes | {"cache_dir": str(cache)} | changes))


def features_of(rows: Tensor) -> Tensor:
    """A feature that says which row it is of."""
    return rows[:, None, None, None] + torch.linspace(0, 0.5, 12).reshape(3, 2, 2)


@pytest.fixture
def data(tmp_path: Path) -> SyntheticFaces:
    module = faces(tmp_path / "cache")
    module.prepare_data()
    module.setup("predict")
    return module


def protect(data: SyntheticFaces, folder: Path, **changes) -> TensorStore:
    """A store as a fit writes it for `predict_role`."""
    batches = list(data.predict_dataloader())
    meta = {"kind": "features", "shape": [3, 2, 2], "dtype": "float32", "encoder": "e" * 64}
    store = TensorStore.create(folder, {**meta, "batches": len(batches), **changes})
    for item in batches:
        store.write(item["number"], row=item["row"], features=features_of(item["row"]))
    return store


@pytest.fixture
def store(data: SyntheticFaces, tmp_path: Path) -> TensorStore:
    return protect(data, tmp_path / "features")


def pairs(data: SyntheticFaces, store: TensorStore, **options) -> ProtectedPairs:
    module = ProtectedPairs(data, str(store.path), **options)
    module.prepare_data()
    module.setup("fit")
    return module


def test_every_image_comes_with_its_own_feature_and_labels(data: SyntheticFaces, store: TensorStore) -> None:
    module, public = pairs(data, store), data.faces("public")
    for batch in (*module.train_dataloader(), *module.val_dataloader()):
        assert set(batch) == {"image", "features", "row", "attributes", "identity"}
        assert torch.equal(batch["features"], features_of(batch["row"]))
        positions = torch.searchsorted(public.rows, batch["row"])
        assert torch.equal(batch["image"], public.images(positions))
        assert torch.equal(batch["identity"], public.identities[positions])


def test_held_out_people_are_trained_with_never_and_validated_with_always(
    data: SyntheticFaces, store: TensorStore
) -> None:
    module = pairs(data, store, val_fraction=0.3)
    held_out = torch.cat([batch["identity"] for batch in module.val_dataloader()]).unique()
    rows = torch.cat([batch["row"] for batch in module.val_dataloader()])
    assert len(held_out) == 2, "0.3 of the 7 public people"
    assert len(rows) == 2 * 5
    trained = [batch["identity"] for batch in module.train_dataloader()]
    assert not set(torch.cat(trained).tolist()) & set(held_out.tolist())
    assert set(torch.cat(trained).tolist()) == set(data.faces("public").identities.tolist()) - set(
        held_out.tolist()
    )


def test_every_epoch_has_an_order_of_its_own(data: SyntheticFaces, store: TensorStore) -> None:
    loader = pairs(data, store).train_dataloader()
    orders = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        orders.append(torch.cat([batch["row"] for batch in loader]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != sorted(orders[0])
    assert all(len(batch["row"]) == 4 for batch in loader)


def test_a_store_of_some_public_images_will_do(data: SyntheticFaces, tmp_path: Path) -> None:
    data.predict_limit = 12
    module = pairs(data, protect(data, tmp_path / "some"))
    assert len(module.train) + len(module.val) == 12


def test_fewer_pairs_are_among_more_and_are_what_fewer_queries_would_have_given(
    data: SyntheticFaces, store: TensorStore, tmp_path: Path
) -> None:
    """Else a curve over their number would compare other pictures and other people."""

    def rows(module: ProtectedPairs) -> tuple[set[int], set[int]]:
        return set(module.train.rows.tolist()), set(module.val.rows.tolist())

    found = {number: rows(pairs(data, store, pairs=number)) for number in (14, 22, None)}
    for number in (14, 22):
        assert sum(map(len, found[number])) == number
    for few, more in ((14, 22), (22, None)):
        assert all(one < other for one, other in zip(found[few], found[more], strict=True))
    data.predict_limit = 14
    asked = protect(data, tmp_path / "asked").load("row")["row"]
    assert set.union(*found[14]) == set(asked.tolist())


def test_numbers_of_pairs_that_make_no_part_are_refused(data: SyntheticFaces, store: TensorStore) -> None:
    with pytest.raises(ValueError, match=r"pairs: 35 is not fewer than the 35 in .*: leave it out for all"):
        pairs(data, store, pairs=35)
    data.batch_size = 1
    with pytest.raises(ValueError, match=r"none of the 1 pairs of .* shows one of the people held out"):
        pairs(data, store, pairs=1)
    with pytest.raises(ValueError, match="pairs must be at least 1, not 0"):
        pairs(data, store, pairs=0)


def test_private_images_are_no_attackers_training_data(data: SyntheticFaces, tmp_path: Path) -> None:
    """Pairs of private images would make every defence look broken."""
    data.predict_role = "private_test"
    with pytest.raises(ValueError, match=r"holds 4 images that are not public .* predict_role: public"):
        pairs(data, protect(data, tmp_path / "private"))


def test_a_damaged_or_unfinished_store_stops_before_training(
    data: SyntheticFaces, store: TensorStore
) -> None:
    content = bytearray(store.file(1).read_bytes())
    content[-1] ^= 1
    store.file(1).write_bytes(content)
    with pytest.raises(ValueError, match=r"000001\.safetensors is damaged"):
        pairs(data, store)
    store.file(1).unlink()
    with pytest.raises(ValueError, match=r"is unfinished: batches \[1\]"):
        pairs(data, store)


def test_too_few_pairs_for_a_batch_or_a_holdout_are_refused(
    data: SyntheticFaces, store: TensorStore, tmp_path: Path
) -> None:
    data.batch_size = 64
    with pytest.raises(ValueError, match="batch_size 64 exceeds"):
        pairs(data, store)
    data.predict_limit = 1
    with pytest.raises(ValueError, match="shows 1 people"):
        pairs(data, protect(data, tmp_path / "one"))
    with pytest.raises(ValueError, match="val_fraction must lie between 0 and 1"):
        ProtectedPairs(data, str(store.path), val_fraction=1.0)


def test_workers_give_the_same_pairs(data: SyntheticFaces, store: TensorStore) -> None:
    alone = list(pairs(data, store).val_dataloader())
    data.num_workers = 2
    for one, other in zip(alone, pairs(data, store).val_dataloader(), strict=True):
        assert torch.equal(one["features"], other["features"])


def test_no_feature_is_kept_in_memory(tmp_path: Path) -> None:
    """Of a store of 25 MB three numbers per row are kept: the row, and where it is."""
    meta = {"kind": "features", "shape": [64, 16, 16], "dtype": "float32", "encoder": "e" * 64, "batches": 25}
    store = TensorStore.create(tmp_path / "large", meta)
    for number in range(25):
        rows = torch.arange(16 * number, 16 * number + 16)
        store.write(number, row=rows, features=rows[:, None, None, None] + torch.zeros(16, 64, 16, 16))
    features = StoredFeatures(store)
    assert features(torch.tensor([399, 0, 17]))[:, 0, 0, 0].tolist() == [399, 0, 17]
    held = sum(t.numel() * t.element_size() for t in vars(features).values() if isinstance(t, Tensor))
    assert held == 400 * 3 * 8


def test_the_encoder_is_named_and_the_fingerprint_follows_the_faces(
    data: SyntheticFaces, store: TensorStore, tmp_path: Path
) -> None:
    one = ProtectedPairs(data, str(store.path))
    assert one.encoder_hash == "e" * 64
    assert one.fingerprint() == ProtectedPairs(data, str(tmp_path / "elsewhere")).fingerprint()
    other = faces(tmp_path / "cache", seed=1)
    assert one.fingerprint() != ProtectedPairs(other, str(store.path)).fingerprint()
    assert one.fingerprint() != ProtectedPairs(data, str(store.path), val_fraction=0.2).fingerprint()
    assert one.fingerprint() != ProtectedPairs(data, str(store.path), pairs=9).fingerprint()


def test_a_configuration_wraps_any_faces(store: TensorStore, tmp_path: Path) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(ProtectedPairs, "data")
    inner = {"class_path": "datamodules.SyntheticFaces", "init_args": {"n_identities": 12, "seed": 3}}
    config = {"class_path": "datamodules.ProtectedPairs"}
    config["init_args"] = {"data": inner, "features": str(store.path)}
    module = parser.instantiate(parser.parse_object({"data": config})).data
    assert isinstance(module, ProtectedPairs)
    assert module.data.seed == 3
