"""What leaks of the private people, and what an attacker can afford to query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import SyntheticFaces


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def faces(cache: str, **changes) -> SyntheticFaces:
    people = {"n_identities": 10, "images_per_identity": 25, "private_identities": 4}
    sizes = {"image_size": 32, "batch_size": 8, "manifest_batch_size": 3}
    module = SyntheticFaces(**(people | sizes | {"cache_dir": cache} | changes))
    module.prepare_data()
    module.setup("fit")
    return module


def trained_rows(module: SyntheticFaces) -> set[int]:
    return set(module.training_faces("public").rows.tolist())


def test_a_share_of_every_private_person_joins_the_public_images(cache: str) -> None:
    """20 private_train pictures each: a tenth are 2; however small the share, everybody loses one."""
    for share, each in ((0.1, 2), (0.001, 1), (1.0, 20)):
        module = faces(cache, private_exposure=share)
        leaked = np.array(sorted(trained_rows(module) - set(module.splits.rows("public").tolist())))
        assert set(module.splits.role[leaked]) == {"private_train"}
        people, counts = np.unique(module.splits.identity[leaked].astype(str), return_counts=True)
        assert len(people) == 4
        assert set(counts.tolist()) == {each}


def test_nothing_that_is_attacked_ever_leaks(cache: str) -> None:
    module = faces(cache, private_exposure=1.0)
    assert not trained_rows(module) & set(module.splits.rows("private_test").tolist())


def test_training_sees_the_leak_and_nothing_else_changes(cache: str) -> None:
    leaking, tight = faces(cache, private_exposure=0.5, batch_size=4), faces(cache, batch_size=4)
    seen = torch.cat([batch["row"] for batch in leaking.train_dataloader()])
    assert set(seen.tolist()) & set(tight.splits.rows("private_train").tolist())
    assert list(leaking.splits.role) == list(tight.splits.role)
    for role in ("public", "private_train", "private_test"):
        assert torch.equal(leaking.faces(role).rows, tight.faces(role).rows)
    for batch, other in zip(leaking.val_dataloader(), tight.val_dataloader(), strict=True):
        assert torch.equal(batch["row"], other["row"])


def test_leaked_people_do_not_pass_for_public_ones(cache: str) -> None:
    module = faces(cache, private_exposure=0.2)
    dataset = module.training_faces("public")
    private = torch.isin(dataset.rows, torch.from_numpy(module.splits.rows("private_train")))
    public_people = module.faces("public").identities.unique().tolist()
    assert set(dataset.identities[~private].tolist()) == set(public_people)
    assert set(dataset.identities[private].tolist()) == {6, 7, 8, 9}, "numbered on from the six public people"


def test_leaks_are_larger_not_others_when_the_share_grows(cache: str) -> None:
    small, large = (trained_rows(faces(cache, private_exposure=share)) for share in (0.1, 0.3))
    assert small < large


def test_without_exposure_and_limit_the_fingerprint_is_the_one_it_was(cache: str) -> None:
    plain = faces(cache).fingerprint()
    assert faces(cache, private_exposure=0.0, predict_limit=None).fingerprint() == plain
    others = [faces(cache, **changes).fingerprint() for changes in (
        {"private_exposure": 0.1}, {"private_exposure": 0.2}, {"predict_limit": 3}, {"predict_limit": 4},
        {"predict_skip": 1},
    )]  # fmt: skip
    assert len({plain, *others}) == 6


def test_exposure_where_no_public_image_is_trained_with_is_refused(cache: str) -> None:
    with pytest.raises(ValueError, match="private_exposure adds to the public images"):
        faces(cache, private_exposure=0.1, fit_role="private_train")


@pytest.mark.parametrize(
    "changes",
    [{"private_exposure": -0.1}, {"private_exposure": 1.1}, {"predict_limit": 0}, {"predict_skip": -1}],
)
def test_numbers_out_of_range_are_refused(cache: str, changes: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        faces(cache, **changes)


def test_a_limit_protects_some_of_the_role_the_same_ones_every_time(cache: str) -> None:
    module = faces(cache, predict_role="public", predict_limit=10)
    rows = torch.cat([item["row"] for item in module.predict_dataloader()])
    assert len(rows.unique()) == 10
    assert set(rows.tolist()) <= set(module.splits.rows("public").tolist())
    again = faces(cache, predict_role="public", predict_limit=10)
    assert torch.equal(torch.cat([item["row"] for item in again.predict_dataloader()]), rows)
    for item in module.predict_dataloader():
        positions = torch.searchsorted(module.faces("public").rows, item["row"])
        assert torch.equal(item["image"], module.faces("public").images(positions))


def test_what_is_skipped_are_those_that_a_limit_takes(cache: str) -> None:
    """A choice made on some would otherwise be reported on the same."""

    def protected(**which: int) -> set[int]:
        return set(faces(cache, predict_role="public", **which).protected_faces().rows.tolist())

    everybody = protected()
    chosen_on, reported_on = protected(predict_limit=10), protected(predict_skip=10)
    assert chosen_on | reported_on == everybody
    assert not chosen_on & reported_on
    assert protected(predict_skip=10, predict_limit=5) < reported_on
    with pytest.raises(ValueError, match=f"passes over all {len(everybody)} of public"):
        protected(predict_skip=len(everybody))
