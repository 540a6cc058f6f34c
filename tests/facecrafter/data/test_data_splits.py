"""Splits by identity: what an attacker trains on must never be what is protected."""

from __future__ import annotations

import stat
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facecrafter.data.checks import drop_copies, find_copies, read_splits, refuse_copies
from facecrafter.data.splits import ROLES, SplitRule, Splits, split
from facecrafter.data.table import FaceTable, text

COUNTS = st.lists(st.integers(1, 9), min_size=6, max_size=20)
SEEDS = st.integers(0, 2**31)


def table_of(counts: list[int], order: np.ndarray | None = None) -> FaceTable:
    names = [f"{person}/{number}.jpg" for person, count in enumerate(counts) for number in range(count)]
    order = np.arange(len(names)) if order is None else order
    names = [names[position] for position in order]
    flags = np.array([[len(name) % 2] for name in names], np.uint8)
    return FaceTable.of("test", names, [name.split("/")[0] for name in names], flags, ["odd"])


def rule(**changes: object) -> SplitRule:
    return replace(SplitRule(2, 2, 4.0, 0.2, None, 0), **changes)


def able(counts: list[int]) -> bool:
    return sum(count >= 2 for count in counts) >= 2


@settings(deadline=None, max_examples=60)
@given(COUNTS.filter(able), SEEDS, st.floats(0.01, 0.99))
def test_every_picture_has_one_role_and_no_identity_two_sides(
    counts: list[int], seed: int, fraction: float
) -> None:
    table = table_of(counts)
    splits = split(table, rule(seed=seed, val_fraction=fraction))
    assert list(splits.image) == list(table.image)  # without a limit, nothing is left out
    people = {role: set(splits.identity[splits.rows(role)]) for role in ROLES}
    assert people["private_train"] == people["private_test"]
    assert len(people["private_train"]) == 2
    sides = [people["public"], people["public_val"], people["private_train"]]
    assert sum(map(len, sides)) == len(set.union(*sides)) == len(counts)
    assert all(sides)


@settings(deadline=None, max_examples=60)
@given(COUNTS.filter(able), SEEDS, st.floats(0.2, 9))
def test_ratio_holds_within_each_private_identity(counts: list[int], seed: int, ratio: float) -> None:
    splits = split(table_of(counts), rule(seed=seed, train_test_ratio=ratio))
    for person in set(splits.identity[splits.rows("private_test")]):
        roles = splits.role[splits.identity == person]
        training, wanted = int((roles == "private_train").sum()), len(roles) * ratio / (1 + ratio)
        assert 1 <= training < len(roles)
        assert abs(training - wanted) <= 0.5 or training in (1, len(roles) - 1)


@settings(deadline=None, max_examples=40)
@given(COUNTS.filter(able), SEEDS, st.randoms(use_true_random=False))
def test_same_seed_gives_same_split_whatever_the_listing_order(
    counts: list[int], seed: int, random: object
) -> None:
    order = np.arange(sum(counts))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = split(table_of(counts), rule(seed=seed)), split(table_of(counts, order), rule(seed=seed))
    assert list(one.image) == list(other.image)
    assert list(one.role) == list(other.role)


def test_seeds_choose_other_people() -> None:
    table = table_of([3] * 40)
    drawn = [split(table, rule(seed=seed)) for seed in range(8)]
    chosen = {tuple(sorted(set(splits.identity[splits.rows("private_test")]))) for splits in drawn}
    assert len(chosen) > 4


@settings(deadline=None, max_examples=40)
@given(COUNTS.filter(able), st.integers(10, 60))
def test_public_limit_keeps_whole_people(counts: list[int], limit: int) -> None:
    table = table_of(counts)
    assume(limit >= sum(sorted(counts)[-2:]))  # whichever two people come first, they fit
    splits = split(table, rule(public_limit=limit))
    public = splits.rows("public", "public_val")
    assert len(public) <= limit
    for person in set(splits.identity[public]):
        assert (splits.identity == person).sum() == (table.identity == person).sum()


def test_few_images_do_not_make_a_person_private() -> None:
    splits = split(table_of([1, 1, 1, 4, 4, 2]), rule(min_images=4))
    assert set(splits.identity[splits.rows("private_test")]) == {"3", "4"}


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ([1, 1, 1, 5], {}, "1 identities have at least 2 pictures"),
        ([5, 5, 5], {}, "leave 1 public"),
        ([5, 5, 5, 5], {"private_identities": None}, "leave 0 public"),
        ([5] * 6, {"public_limit": 9}, "public_limit 9"),
        ([5] * 6, {"min_images": 1}, "min_images"),
        ([5] * 6, {"val_fraction": 1.0}, "val_fraction"),
        ([5] * 6, {"train_test_ratio": 0.0}, "train_test_ratio"),
        ([5] * 6, {"private_identities": 0}, "private_identities"),
    ],
)
def test_impossible_splits_name_the_argument(
    counts: list[int], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        split(table_of(counts), rule(**changes))


@pytest.fixture
def splits() -> Splits:
    drawn = split(table_of([4] * 6), rule())
    return replace(drawn, sha256=text([f"{row:064x}" for row in range(len(drawn))]))


def test_splits_file_round_trip_is_for_its_owner_alone(splits: Splits, tmp_path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("old")
    path.chmod(0o644)
    splits.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = read_splits(path, table_of([4] * 6))
    for column in ("image", "identity", "role", "sha256"):
        assert list(getattr(again, column)) == list(getattr(splits, column))


def test_splits_file_keeps_its_row_numbers(tmp_path, splits: Splits) -> None:
    reversed_rows = splits.take(np.arange(len(splits))[::-1].copy())
    reversed_rows.write(tmp_path / "splits.csv")
    assert list(read_splits(tmp_path / "splits.csv", table_of([4] * 6)).image) == list(reversed_rows.image)


def edited(splits: Splits, row: int, **cells: str) -> Splits:
    columns = {}
    for name, value in cells.items():
        columns[name] = getattr(splits, name).copy()
        columns[name][row] = value
    return replace(splits, **columns)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"image": "nobody.jpg"}, "'nobody.jpg' is not among"),
        ({"identity": "someone"}, "not 'someone'"),
        ({"role": "secret"}, "'secret' is not one of"),
    ],
)
def test_a_wrong_line_in_a_splits_file_is_named(splits: Splits, tmp_path, cells, message) -> None:
    edited(splits, 3, **cells).write(tmp_path / "splits.csv")
    with pytest.raises(ValueError, match=message) as error:
        read_splits(tmp_path / "splits.csv", table_of([4] * 6))
    assert "line 5" in str(error.value)


def test_an_identity_on_two_sides_is_refused(splits: Splits, tmp_path) -> None:
    edited(splits, int(splits.rows("private_test")[0]), role="public").write(tmp_path / "splits.csv")
    with pytest.raises(ValueError, match=r"on two sides"):
        read_splits(tmp_path / "splits.csv", table_of([4] * 6))


def test_a_private_identity_without_test_pictures_is_refused(splits: Splits, tmp_path) -> None:
    person = splits.identity[splits.rows("private_test")[0]]
    for row in np.flatnonzero(splits.identity == person):
        splits = edited(splits, int(row), role="private_train")
    splits.write(tmp_path / "splits.csv")
    with pytest.raises(ValueError, match=f"'{person}' has no picture in private_test"):
        read_splits(tmp_path / "splits.csv", table_of([4] * 6))


def test_a_repeated_line_or_missing_column_in_a_splits_file_is_refused(splits: Splits, tmp_path) -> None:
    path = tmp_path / "splits.csv"
    splits.write(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(ValueError, match=r"more than once"):
        read_splits(path, table_of([4] * 6))
    path.write_text("image,identity\na,b\n")
    with pytest.raises(ValueError, match=r"'role'"):
        read_splits(path, table_of([4] * 6))


def test_a_splits_file_written_for_other_bytes_is_refused(splits: Splits) -> None:
    hashes = list(splits.sha256)
    hashes[2] = "f" * 64
    with pytest.raises(ValueError, match=splits.image[2]):
        splits.with_hashes(hashes)


def copied(splits: Splits, one: int, other: int) -> Splits:
    """Two pictures with the same pixels; the hashes of files stand for those of pixels here."""
    return edited(splits, other, sha256=splits.sha256[one])


def dropped_of(found: Splits) -> list[str]:
    return drop_copies(found, found.sha256)[1]


def rows_of_two_people(splits: Splits) -> tuple[int, int]:
    train = splits.rows("private_train")
    return int(train[0]), int(next(row for row in train if splits.identity[row] != splits.identity[train[0]]))


def test_same_pixels_in_public_and_private_cost_the_public_copy(splits: Splits) -> None:
    private, public = int(splits.rows("private_test")[0]), int(splits.rows("public")[0])
    found = copied(splits, private, public)
    with pytest.raises(
        ValueError,
        match=rf"{splits.image[min(private, public)]} .* and {splits.image[max(private, public)]} ",
    ):
        refuse_copies(found, found.sha256)
    keep, dropped = drop_copies(found, found.sha256)
    assert dropped == [splits.image[public]]
    assert set(keep) == set(range(len(splits))) - {public}


def test_same_pixels_in_training_and_test_cost_the_test_copy(splits: Splits) -> None:
    train, test = int(splits.rows("private_train")[0]), int(splits.rows("private_test")[0])
    assert dropped_of(copied(splits, train, test)) == [splits.image[test]]


def test_a_picture_of_two_private_people_is_no_evidence_of_either(splits: Splits) -> None:
    one, other = rows_of_two_people(splits)
    assert set(dropped_of(copied(splits, one, other))) == {splits.image[one], splits.image[other]}


def test_copies_within_one_role_of_one_person_leak_nothing(splits: Splits) -> None:
    public = splits.rows("public")
    found = copied(splits, int(public[0]), int(public[1]))
    assert find_copies(found, found.sha256) == []
    refuse_copies(found, found.sha256)


def test_a_picture_of_two_public_people_is_no_evidence_of_either(splits: Splits) -> None:
    """A network that learns public identities would learn that two people look the same."""
    public = splits.rows("public")
    one, other = (
        int(public[0]),
        int(next(r for r in public if splits.identity[r] != splits.identity[public[0]])),
    )
    found = copied(splits, one, other)
    with pytest.raises(ValueError, match=r"shows two people, 1 times"):
        refuse_copies(found, found.sha256)
    assert set(dropped_of(found)) == {splits.image[one], splits.image[other]}


def test_a_splits_file_from_a_spreadsheet_is_read(splits: Splits, tmp_path) -> None:
    path = tmp_path / "splits.csv"
    splits.write(path)
    lines = path.read_text().splitlines()
    path.write_text("\ufeff" + "\r\n".join(line.replace(",", ";") for line in lines) + "\r\n;;;\r\n\r\n")
    assert list(read_splits(path, table_of([4] * 6)).role) == list(splits.role)


def test_all_wrong_lines_of_a_splits_file_are_counted_and_the_closest_picture_named(
    splits: Splits, tmp_path
) -> None:
    path = tmp_path / "splits.csv"
    edited(edited(splits, 3, image="0/33.jpg"), 5, role="secret").write(path)
    with pytest.raises(
        ValueError, match=r"2 rows cannot be used: .*line 5: '0/33\.jpg' is not .*did you mean '0/3\.jpg'"
    ) as e:
        read_splits(path, table_of([4] * 6))
    assert "line 7: the role" in str(e.value)
