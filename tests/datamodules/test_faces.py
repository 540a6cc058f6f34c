"""The data modules: roles, batches, the cache and every check that must come before training."""

from __future__ import annotations

import csv
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from fake_faces import fake_celeba, fake_folder, fake_lfw, fake_vggface2
from jsonargparse import ArgumentParser
from PIL import Image

from datamodules import LFW, CelebA, FaceDataModule, FolderFaces, SyntheticFaces, VGGFace2
from datamodules.faces import default_cache_dir
from facecrafter.data.decode import decode
from facecrafter.data.splits import ROLES


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def synthetic(cache: str, **changes) -> SyntheticFaces:
    people = {"n_identities": 10, "images_per_identity": 5, "private_identities": 4}
    sizes = {"image_size": 32, "batch_size": 8, "manifest_batch_size": 3}
    return SyntheticFaces(**(people | sizes | {"cache_dir": cache} | changes))


def folder_arguments(root: Path, cache: str) -> dict:
    files = {"root": str(root), "labels": str(root / "labels.csv"), "cache_dir": cache}
    return files | {"private_identities": 3, "batch_size": 4}


def ready(module: FaceDataModule) -> FaceDataModule:
    module.prepare_data()
    module.setup("fit")
    return module


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FaceDataModule]:
    """A tiny instance of every data set, set up."""
    root = tmp_path_factory.mktemp("faces")
    cache = str(root / "cache")
    common = {"private_identities": 3, "batch_size": 4, "cache_dir": cache}
    vgg = fake_vggface2(root / "vgg", images=5)
    folder = fake_folder(root / "folder")
    modules = {
        "synthetic": synthetic(cache),
        "celeba": CelebA(str(fake_celeba(root / "celeba")), **common),
        "lfw": LFW(str(fake_lfw(root / "lfw")), min_images=3, **common),
        "vgg": VGGFace2(str(vgg), str(vgg / "MAAD_Face.csv"), **common),
        "folder": FolderFaces(str(folder), str(folder / "labels.csv"), **common),
    }
    return {name: ready(module) for name, module in modules.items()}


def test_every_data_set_gives_the_same_kind_of_batches(small: dict[str, FaceDataModule]) -> None:
    expected = {
        "synthetic": (32, 17),
        "celeba": (64, 40),
        "lfw": (128, 10),
        "vgg": (112, 5),
        "folder": (64, 2),
    }
    for name, module in small.items():
        size, attributes = expected[name]
        batch = next(iter(module.train_dataloader()))
        count = module.batch_size
        assert batch["image"].shape == (count, 3, size, size), name
        assert batch["image"].dtype == batch["attributes"].dtype == torch.float32
        assert 0 <= float(batch["image"].min()) < float(batch["image"].max()) <= 1
        assert batch["attributes"].shape == (count, attributes) == (count, len(module.attribute_names))
        assert set(batch["attributes"].unique().tolist()) <= {0.0, 1.0}
        assert batch["identity"].dtype == batch["row"].dtype == torch.int64
        assert int(batch["identity"].max()) < module.n_public_identities


def test_pixels_labels_and_people_belong_to_their_row(small: dict[str, FaceDataModule]) -> None:
    for module in small.values():
        stored = dict(zip(module.splits.image, module.pictures(module.splits), strict=True))
        table = module.read_table()
        labels = dict(zip(table.image, table.attributes, strict=True))
        for role in ROLES:
            faces = module.faces(role)
            batch = faces.__getitems__(range(len(faces)))
            for position, row in enumerate(batch["row"].tolist()):
                name = module.splits.image[row]
                assert (batch["image"][position].numpy() * 255).round().astype(np.uint8).tolist() == stored[
                    name
                ][0].tolist()
                assert batch["attributes"][position].tolist() == labels[name].tolist()
                assert module.splits.sha256[row] == stored[name][1]


def test_people_are_numbered_from_zero_within_their_side(cache: str) -> None:
    module = ready(synthetic(cache))
    private = [set(module.faces(role).identities.tolist()) for role in ("private_train", "private_test")]
    assert private == [set(range(4)), set(range(4))]
    public = [set(module.faces(role).identities.tolist()) for role in ("public", "public_val")]
    assert set.union(*public) == set(range(6))
    assert not set.intersection(*public)
    assert (module.n_private_identities, module.n_public_identities) == (4, 6)


def test_gallery_and_test_pictures_of_a_number_show_one_person(cache: str) -> None:
    module = ready(synthetic(cache))
    train, test = module.faces("private_train"), module.faces("private_test")
    for number in range(4):
        rows = [faces.rows[faces.identities == number].numpy() for faces in (train, test)]
        assert len(set(module.splits.identity[np.concatenate(rows)])) == 1


def test_training_shuffles_and_drops_the_remainder(cache: str) -> None:
    module = ready(synthetic(cache))
    batches = list(module.train_dataloader())
    assert [len(batch["row"]) for batch in batches] == [8] * (len(module.faces("public")) // 8)
    assert torch.cat([batch["row"] for batch in batches]).diff().min() < 0
    assert sum(len(batch["row"]) for batch in module.val_dataloader()) == len(module.faces("public_val"))
    assert synthetic(cache, fit_role="private_train").val_dataloader() == []


def test_manifest_batches_cover_the_role_and_skipped_ones_load_nothing(cache: str, monkeypatch) -> None:
    module = ready(synthetic(cache))
    loader = module.predict_dataloader()
    items = list(loader)
    assert [item["number"] for item in items] == list(range(2))
    assert (
        sorted(torch.cat([item["row"] for item in items]).tolist())
        == module.splits.rows("private_test").tolist()
    )
    faces = module.faces("private_test")
    for item in items:
        positions = [faces.rows.tolist().index(row) for row in item["row"].tolist()]
        assert torch.equal(item["image"], faces.images(positions))
    loader.dataset.skip = {0, 1}
    monkeypatch.setattr(type(faces), "images", lambda *_: pytest.fail("a skipped batch was loaded"))
    assert [item["image"] for item in loader] == [None, None]


def test_workers_give_what_one_process_gives(cache: str) -> None:
    one, two = ready(synthetic(cache)), ready(synthetic(cache, num_workers=2))
    for a, b in zip(one.predict_dataloader(), two.predict_dataloader(), strict=True):
        assert torch.equal(a["image"], b["image"])


def test_a_second_run_decodes_nothing(tmp_path: Path, cache: str, monkeypatch) -> None:
    root = str(fake_celeba(tmp_path / "celeba"))
    ready(CelebA(root, private_identities=3, batch_size=4, cache_dir=cache))
    monkeypatch.setattr("datamodules.photos.decode", lambda *_: pytest.fail("decoded again"))
    ready(CelebA(root, private_identities=3, batch_size=4, cache_dir=cache))


def test_a_changed_picture_or_crop_is_decoded_anew(tmp_path: Path, cache: str) -> None:
    root = fake_folder(tmp_path / "folder")
    arguments = folder_arguments(root, cache)
    before = ready(FolderFaces(**arguments))
    shutil.copy(root / "person 1/1.png", root / "person 0/0.png.new")
    (root / "person 1/0.png").rename(root / "person 0/0.png")
    (root / "person 0/0.png.new").rename(root / "person 1/0.png")
    after = ready(FolderFaces(**arguments, duplicates="drop"))
    assert set(before.splits.sha256) != set(after.splits.sha256)
    cropped = ready(FolderFaces(**arguments, duplicates="drop", crop=20))
    assert cropped._cache.path != after._cache.path


def test_fingerprint_needs_no_decoding_and_follows_the_data_alone(
    tmp_path: Path, cache: str, monkeypatch
) -> None:
    one, other = fake_celeba(tmp_path / "one"), fake_celeba(tmp_path / "other")
    monkeypatch.setattr("datamodules.photos.decode", lambda *_: pytest.fail("decoded"))

    def fingerprint(root: Path, **changes) -> str:
        return CelebA(str(root), **({"private_identities": 3, "cache_dir": cache} | changes)).fingerprint()

    assert fingerprint(one) == fingerprint(other) == fingerprint(one, cache_dir=str(tmp_path), num_workers=2)
    changes = (
        {"seed": 1}, {"crop": 100}, {"image_size": 32}, {"attributes": ["Male"]}, {"private_identities": 2},
        {"public_limit": 15}, {"train_test_ratio": 1.0}, {"fit_role": "private_train"},
    )  # fmt: skip
    assert len({fingerprint(one), *(fingerprint(one, **change) for change in changes)}) == len(changes) + 1
    labels = other / "list_attr_celeba.txt"
    labels.write_text(labels.read_text().replace(" 1", "-1", 1))
    assert fingerprint(other) != fingerprint(one)


def test_splits_file_is_written_for_the_owner_and_can_be_given_back(tmp_path: Path, cache: str) -> None:
    module = ready(synthetic(cache))
    path = tmp_path / "splits.csv"
    module.write_splits(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open() as file:
        assert next(csv.reader(file)) == ["image", "sha256", "identity", "role"]
    again = ready(synthetic(cache, splits=str(path), seed=0, private_identities=2))
    assert list(again.splits.role) == list(module.splits.role)
    with pytest.raises(ValueError, match="sha256 differs"):
        ready(synthetic(cache, splits=str(path), seed=5))


def test_public_copies_of_private_pictures_are_refused_or_dropped(tmp_path: Path, cache: str, caplog) -> None:
    root = fake_folder(tmp_path / "folder")
    arguments = folder_arguments(root, cache)
    plan = ready(FolderFaces(**arguments)).splits
    private, public = (plan.image[plan.rows(role)[0]] for role in ("private_test", "public"))
    shutil.copy(root / private, root / public)
    with pytest.raises(ValueError, match="same picture plays two roles") as error:
        FolderFaces(**arguments).prepare_data()
    assert private in str(error.value)
    assert public in str(error.value)
    dropped = ready(FolderFaces(**arguments, duplicates="drop"))
    assert public in caplog.text
    assert public not in dropped.splits.image
    # Rows are renumbered after the gap; pixels must follow.
    last = len(dropped.splits) - 1
    pixels = list(dropped.pictures(dropped.splits))[last][0]
    role = dropped.splits.role[last]
    position = dropped.faces(role).rows.tolist().index(last)
    assert (
        dropped.faces(role).images([position])[0] * 255
    ).round().byte().numpy().tolist() == pixels.tolist()


def test_the_same_pixels_in_other_bytes_are_copies_too(tmp_path: Path, cache: str) -> None:
    """Tools strip metadata, re-pack and append; what a network sees stays the same."""
    root = fake_folder(tmp_path / "folder")
    arguments = folder_arguments(root, cache)
    plan = ready(FolderFaces(**arguments)).splits
    private, public = (root / plan.image[plan.rows(role)[0]] for role in ("private_test", "public"))
    with Image.open(private) as picture:
        turned = picture.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        ways = [
            lambda: picture.save(public, "PNG", compress_level=1),
            lambda: picture.save(public, "TIFF"),
            lambda: picture.save(public, "WEBP", lossless=True),
            lambda: picture.convert("RGBA").save(public, "PNG"),
            lambda: turned.save(public, "PNG", exif=exif),
            lambda: public.write_bytes(private.read_bytes() + b"\n"),
        ]
        for way in ways:
            way()
            assert public.read_bytes() != private.read_bytes()
            with pytest.raises(ValueError, match="same picture plays two roles") as error:
                FolderFaces(**arguments).prepare_data()
            assert {name for name in plan.image if f"{name} (" in str(error.value)} == {
                str(path.relative_to(root)) for path in (private, public)
            }


def test_after_a_repair_only_the_repaired_picture_is_decoded(tmp_path: Path, cache: str, monkeypatch) -> None:
    root = fake_celeba(tmp_path / "celeba")
    folder = root / "img_align_celeba"
    whole = {name: (folder / name).read_bytes() for name in ("000002.jpg", "000007.jpg", "000011.jpg")}
    for name, content in whole.items():
        (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="3 of 40 pictures cannot be used") as error:
        CelebA(str(root), private_identities=3, cache_dir=cache).prepare_data()
    assert all(f"{folder / name}: cannot be read" in str(error.value) for name in whole)
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    decoded = []

    def counted(path: Path, *how: object):
        decoded.append(path.name)
        return decode(path, *how)

    monkeypatch.setattr("datamodules.photos.decode", counted)
    repaired = ready(CelebA(str(root), private_identities=3, batch_size=4, cache_dir=cache))
    assert sorted(decoded) == sorted(whole)
    fresh = ready(CelebA(str(root), private_identities=3, batch_size=4, cache_dir=f"{cache}-2"))
    assert repaired._cache.digests == fresh._cache.digests


def test_a_picture_that_another_took_the_place_of_is_decoded_anew(tmp_path: Path, cache: str) -> None:
    """With the same length and date, as copies that keep dates have them: the cache showed the other one."""
    root = fake_folder(tmp_path / "folder")
    arguments = folder_arguments(root, cache)
    one, other = root / "person 0/0.png", root / "person 1/0.png"
    for path in (one, other):
        Image.open(path).save(path, "BMP")
        os.utime(path, (1, 1))
    before = ready(FolderFaces(**arguments))
    one.rename(root / "aside")
    other.rename(one)
    (root / "aside").rename(other)
    after = ready(FolderFaces(**arguments))
    names = list(before.splits.image)
    swapped = list(before.splits.sha256)
    i, j = names.index("person 0/0.png"), names.index("person 1/0.png")
    swapped[i], swapped[j] = swapped[j], swapped[i]
    assert list(after.splits.sha256) == swapped


def test_a_link_to_the_pictures_and_to_the_labels_works(tmp_path: Path, cache: str) -> None:
    store = fake_celeba(tmp_path / "store")
    root = tmp_path / "data" / "celeba"
    root.mkdir(parents=True)
    for entry in store.iterdir():
        (root / entry.name).symlink_to(entry)
    module = ready(CelebA(str(root), private_identities=3, batch_size=4, cache_dir=cache))
    assert len(module.splits) == 40


def test_an_empty_setting_of_the_cache_is_none(monkeypatch) -> None:
    """It was the current folder."""
    monkeypatch.setenv("FACECRAFTER_CACHE", "")
    assert default_cache_dir() == Path.home() / ".cache" / "facecrafter"


def test_a_truncated_picture_stops_before_training(tmp_path: Path, cache: str) -> None:
    root = fake_celeba(tmp_path / "celeba")
    broken = root / "img_align_celeba/000007.jpg"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"000007\.jpg: cannot be read"):
        CelebA(str(root), private_identities=3, cache_dir=cache).prepare_data()


def test_too_few_pictures_for_a_batch_stop_before_training(cache: str) -> None:
    module = synthetic(cache, batch_size=500)
    module.prepare_data()
    with pytest.raises(ValueError, match="batch_size 500 exceeds the 25 images of public"):
        module.setup("fit")
    with pytest.raises(ValueError, match="batch_size 500"):
        module.setup("fit")
    module.setup("predict")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, "not 16"),
        ({"attributes": ["Smile"]}, "did you mean 'Smiling'"),
        ({"private_identities": 9}, "leave 1 public"),
        ({"images_per_identity": 1}, "0 identities have at least 2"),
    ],
)
def test_bad_arguments_are_named(cache: str, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic(cache, **changes).prepare_data()


def test_a_configuration_reaches_the_arguments_of_the_base(cache: str) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(FaceDataModule, "data")
    arguments = [
        "--data=datamodules.SyntheticFaces",
        "--data.n_identities=7",
        "--data.public_limit=50",
        "--data.seed=3",
    ]
    module = parser.instantiate_classes(parser.parse_args([*arguments, f"--data.cache_dir={cache}"])).data
    assert (module.n_identities, module.rule.public_limit, module.seed) == (7, 50, 3)


class Recorder(pl.LightningModule):
    """Counts what a Trainer hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[torch.Tensor] = []
        self.predicted: list[torch.Tensor] = []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, index):
        self.trained.append(batch["row"])
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, index):
        assert batch["image"].ndim == 4

    def predict_step(self, batch, index):
        self.predicted.append(batch["row"])


def test_a_trainer_fits_and_predicts(cache: str, tmp_path: Path) -> None:
    module, data = Recorder(), synthetic(cache)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        default_root_dir=tmp_path, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.predict(module, datamodule=data, return_predictions=False)
    assert len(torch.cat(module.trained).unique()) == 24
    assert sorted(torch.cat(module.predicted).tolist()) == data.splits.rows("private_test").tolist()
