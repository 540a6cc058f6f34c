"""A sample of a data set has the labels and the people's numbers of all, and few pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from fake_faces import fake_folder

from datamodules import FolderFaces, SyntheticFaces
from datamodules.sample import REPEATS, SampleFaces


def whole(**init_args: object) -> SyntheticFaces:
    sizes = {"n_identities": 60, "images_per_identity": 10, "private_identities": 30, "image_size": 32}
    return SyntheticFaces(**{**sizes, **init_args})  # type: ignore[arg-type]


def test_people_keep_their_numbers_and_pictures_their_labels(tmp_path: Path) -> None:
    """A classifier with an output too few would pass a trial with people who are numbered anew."""
    data = whole(cache_dir=str(tmp_path / "all"))
    data.prepare_data()
    data.setup("fit")
    sample = SampleFaces(whole(), pictures=16, cache_dir=str(tmp_path / "few"))
    sample.setup("fit")
    assert sample.n_private_identities == 30
    assert sample.attribute_names == data.attribute_names
    for role in ("public", "public_val", "private_train", "private_test"):
        mine, all_of_them = sample.faces(role), data.faces(role)
        assert 0 < len(mine) <= 30
        assert sample.full_size(role) == len(all_of_them)
        names = dict(zip(data.splits.image[all_of_them.rows], range(len(all_of_them)), strict=True))
        places = [names[name] for name in sample.splits.image[mine.rows]]
        assert torch.equal(mine.identities, all_of_them.identities[places])
        assert torch.equal(mine.attributes, all_of_them.attributes[places])
        assert torch.equal(mine.images(range(len(mine))), all_of_them.images(places))
    private = sample.faces("private_test").identities
    assert (private.min(), private.max()) == (0, 29), "the ones that are lost first"
    assert len(sample.faces("private_train").identities.unique()) == 30, "a judge knows everybody"


def test_every_stage_sees_the_same_pictures(tmp_path: Path) -> None:
    """One stage's rows would else be other people's to the next."""
    first = SampleFaces(whole(fit_role="private_train", batch_size=4), 16, str(tmp_path))
    second = SampleFaces(whole(predict_role="public", predict_limit=5), 16, str(tmp_path))
    for sample in (first, second):
        sample.setup("predict")
    assert list(first.splits.image) == list(second.splits.image)
    assert len(second.protected_faces()) == second.sampled_protected() == 5


def test_a_whole_batch_can_be_made(tmp_path: Path) -> None:
    sample = SampleFaces(whole(batch_size=50), 16, str(tmp_path))
    sample.setup("fit")
    batches = list(sample.train_dataloader())
    assert len(batches) == REPEATS
    assert {len(batch["image"]) for batch in batches} == {50}


def test_people_with_one_picture_each_are_as_many_pictures(tmp_path: Path) -> None:
    """As LFW's public people have: too few pairs for an attacker's batch would refuse a sound study."""
    labels = fake_folder(tmp_path, identities=240, images=2) / "labels.csv"
    header, *rows = labels.read_text().splitlines()
    some = [row for row in rows if "/0.png" in row or int(row.split("/")[0].removeprefix("person ")) < 20]
    labels.write_text("\n".join([header, *some]) + "\n")
    data = FolderFaces(str(tmp_path), str(labels), image_size=32, private_identities=20, min_images=2)
    sample = SampleFaces(data, pictures=64, cache_dir=str(tmp_path / "cache"))
    sample.setup("predict")
    assert 1.35 * 64 <= len(sample.faces("public")) <= 2 * 1.35 * 64


def test_few_people_give_more_pictures_each(tmp_path: Path) -> None:
    """Else a search on public people had none to judge beside those that they are known by."""
    sample = SampleFaces(whole(), pictures=16, cache_dir=str(tmp_path))
    sample.setup("predict")
    people, pictures = sample.faces("public_val").identities.unique(return_counts=True)
    assert len(people) == 3
    assert pictures.min() >= 5
