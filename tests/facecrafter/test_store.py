from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facecrafter.store import TensorStore, content_hash, encoder_hash

META = {"kind": "features", "shape": (2, 3, 3), "dtype": "float32", "encoder": "e" * 64, "batches": 3}


def batch(rows: list[int]) -> dict[str, Tensor]:
    row = torch.tensor(rows)
    return {"row": row, "features": row.float()[:, None, None, None].expand(-1, 2, 3, 3) + 0.5}


@pytest.fixture
def store(tmp_path: Path) -> TensorStore:
    return TensorStore.create(tmp_path / "features", META)


def test_batches_come_back_bit_for_bit_in_row_order(store: TensorStore) -> None:
    for number, rows in enumerate([[7, 3], [1], [9, 0]]):
        store.write(number, **batch(rows))
    assert store.count() == 5
    loaded = TensorStore.open(store.path).load("row", "features")
    assert loaded["row"].tolist() == [0, 1, 3, 7, 9]
    assert torch.equal(loaded["features"], batch([0, 1, 3, 7, 9])["features"])


def test_other_dtypes_survive(tmp_path: Path) -> None:
    store = TensorStore.create(tmp_path, {**META, "shape": [4], "dtype": "bfloat16", "batches": 1})
    features = torch.randn(2, 4).bfloat16()
    store.write(0, row=torch.arange(2), features=features, losses=torch.tensor([1.0, 2.0]))
    assert torch.equal(store.read(0)["features"], features)
    assert store.load("losses")["losses"].tolist() == [1.0, 2.0]


def test_a_restart_finds_what_is_missing(store: TensorStore) -> None:
    store.write(1, **batch([4]))
    again = TensorStore.create(store.path, META)
    assert again.numbers() == {1}
    assert again.missing() == [0, 2]
    with pytest.raises(ValueError, match="unfinished"):
        again.count()
    with pytest.raises(ValueError, match=r"unfinished: batches \[0, 2\] of 3"):
        again.load("features")


@pytest.mark.parametrize("position", [0, 8, 40, -40, -1])
def test_a_flipped_byte_is_found_and_only_that_batch_is_redone(store: TensorStore, position: int) -> None:
    store.write(0, **batch([1, 2]))
    file = store.file(0)
    content = bytearray(file.read_bytes())
    content[position] ^= 0x01
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"000000\.safetensors.*delete it and run"):
        store.read(0)


@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_truncated_batch_is_found(store: TensorStore, size: int) -> None:
    store.write(0, **batch([1, 2]))
    store.file(0).write_bytes(store.file(0).read_bytes()[:size])
    with pytest.raises(ValueError, match=r"000000\.safetensors is damaged"):
        store.read(0)


def test_a_kill_between_write_and_rename_leaves_no_half_batch(
    store: TensorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # nobody is left who could tidy up
        with pytest.raises(KeyboardInterrupt):
            store.write(0, **batch([1]))
    assert store.numbers() == set()
    assert len(list(store.path.glob("*.tmp"))) == 1
    store.write(0, **batch([1]))
    assert store.numbers() == {0}
    assert not list(store.path.glob("*.tmp")), "what the killed run left over is gone"


def test_two_ranks_may_create_one_store_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one temporary name, the slower rank would find its file renamed away by the faster one."""
    replace = Path.replace
    states = []

    def overtaken(source: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 1)
            states.append(TensorStore.create(tmp_path, META).meta)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    states.append(TensorStore.create(tmp_path, META).meta)
    assert states[0] == states[1] == TensorStore.open(tmp_path).meta
    assert [file.name for file in tmp_path.iterdir()] == ["meta.json"]


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (3, {}, "outside 0..2"),
        (-1, {}, "outside 0..2"),
        (0, {"features": torch.zeros(2, 2, 3, 4)}, r"\[2, 3, 4\].*meta\.json says float32 \[2, 3, 3\]"),
        (0, {"features": torch.zeros(2, 2, 3, 3, dtype=torch.float64)}, "float64"),
        (0, {"features": torch.full((2, 2, 3, 3), torch.nan)}, "not finite"),
        (0, {"row": torch.zeros(2)}, "row must be int64"),
        (0, {"row": torch.zeros(3, dtype=torch.int64)}, "does not go with 3 rows"),
        (0, {"losses": torch.tensor(1.0)}, "losses"),
    ],
)
def test_a_batch_that_disagrees_with_the_store_is_refused(
    store: TensorStore, number: int, change: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        store.write(number, **{**batch([1, 2]), **change})
    assert store.numbers() == set()


def test_a_batch_of_another_store_is_refused_on_reading(store: TensorStore, tmp_path: Path) -> None:
    other = TensorStore.create(tmp_path / "other", {**META, "shape": [5]})
    other.write(0, row=torch.arange(2), features=torch.zeros(2, 5))
    store.file(0).write_bytes(other.file(0).read_bytes())
    with pytest.raises(ValueError, match=r"meta\.json says"):
        store.read(0)


def test_a_row_stored_twice_is_refused(store: TensorStore) -> None:
    for number in range(3):
        store.write(number, **batch([number, 5]))
    with pytest.raises(ValueError, match="holds a row twice"):
        store.load("features")


def test_a_store_of_another_run_is_refused(store: TensorStore) -> None:
    with pytest.raises(ValueError, match=r"encoder is 'eee.*'fff"):
        TensorStore.create(store.path, {**META, "encoder": "f" * 64})


def test_missing_or_damaged_meta_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no store at"):
        TensorStore.open(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        TensorStore.open(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(ValueError, match="lacks"):
        TensorStore.open(tmp_path)


def test_an_encoders_name_is_its_weights() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    name = encoder_hash(encoder)
    assert name == encoder_hash(encoder.to(memory_format=torch.channels_last))
    encoder[1].running_mean += 1
    assert name != encoder_hash(encoder), "running statistics change the features, so they change the name"


def test_content_hash_tells_shapes_and_dtypes_apart() -> None:
    zeros = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(2, dtype=torch.float64)]
    assert len({content_hash({"x": tensor}) for tensor in zeros}) == 3
