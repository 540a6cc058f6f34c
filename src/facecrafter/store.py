"""Features and reconstructions on disk: ``meta.json`` and one safetensors file per batch.

A batch appears under its final name only when all of it is on disk, so a process may be killed at any moment
and started again: what is there is whole, and what is missing is redone. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from facecrafter.documents import read_json
from facecrafter.files import write_whole

SCHEMA = 1
PAYLOAD = {"features": "features", "reconstructions": "images"}
MAX_BATCHES = 1_000_000
"""As many as there are numbers for files."""
REQUIRED = ("kind", "shape", "dtype", "encoder", "batches")


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes, whatever the order, device and memory layout."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}|{_dtype(tensor)}|{tuple(tensor.shape)}|".encode())
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def encoder_hash(module: nn.Module) -> str:
    """What names an encoder: the sha256 of its state dict (before any folding or change of precision)."""
    return content_hash(module.state_dict())


def check_encoder(store: TensorStore, encoder: str, owner: str, remedy: str) -> None:
    """Refuse to mix a store with the hash of an ``encoder`` that did not make it.

    Raises:
        ValueError: naming both; ``owner`` says whose the other encoder is.
    """
    if encoder != store.meta["encoder"]:
        raise ValueError(
            f"{store.path} was made by encoder {store.meta['encoder'][:12]}, but {owner} encoder "
            f"{encoder[:12]}; {remedy}"
        )


class TensorStore:
    """A folder of batches, each a dict of tensors that share their first dimension.

    Every batch holds ``row`` (N,) int64, the images' row numbers in ``splits.csv``, and the payload of its
    kind: ``features`` (N, C, h, w) in a store of features, ``images`` (N, R, 3, H, W) in a store of
    reconstructions. ``meta['shape']`` and ``meta['dtype']`` describe the payload of one image. Several
    processes may write to one store as long as no two write the same number.
    """

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        self.path = path
        self.meta = meta
        self.payload = PAYLOAD[meta["kind"]]

    @classmethod
    def create(cls, path: str | Path, meta: Mapping[str, Any]) -> TensorStore:
        """Opens the store at ``path`` for writing, making it if it is not there.

        Raises:
            ValueError: ``meta`` lacks a key, or a store made from another ``meta`` is already there.
        """
        path = Path(path)
        wanted = {"schema": SCHEMA, **json.loads(json.dumps(dict(meta)))}
        _check_meta(path, wanted)
        if (path / "meta.json").exists():
            store = cls.open(path)
            _check_same(path, store.meta, wanted)
            return store
        text = json.dumps(wanted, indent=2, sort_keys=True).encode()
        write_whole(path / "meta.json", text)
        return cls(path, wanted)

    @classmethod
    def open(cls, path: str | Path) -> TensorStore:
        """Opens an existing store.

        Raises:
            FileNotFoundError: there is no ``meta.json`` in ``path``.
            ValueError: ``meta.json`` is damaged or of another schema.
        """
        file = Path(path) / "meta.json"
        if not file.exists():
            raise FileNotFoundError(f"no store at {path}: {file} is missing; run the stage that writes it")
        meta = read_json(file, f"delete {path} and run again")
        if not isinstance(meta, dict):
            raise ValueError(f"{file} holds no JSON object; delete {path} and run again")
        _check_meta(Path(path), meta)
        return cls(Path(path), meta)

    def file(self, number: int) -> Path:
        """The file of one batch."""
        return self.path / f"{number:06d}.safetensors"

    def numbers(self) -> set[int]:
        """The batches on disk."""
        files = self.path.glob("*.safetensors")
        return {int(file.stem) for file in files if re.fullmatch(r"[0-9]{6}", file.stem)}

    def missing(self) -> list[int]:
        """The batches still to be written, in order."""
        return sorted(set(range(self.meta["batches"])) - self.numbers())

    def fingerprint(self) -> str:
        """What names the content: the sha256 over the batches' own hashes, read without reading the batches.

        Raises:
            ValueError: a batch is missing or its header is damaged.
        """
        self._check_complete()
        headers = "".join(_stored_hash(self.file(number)) for number in sorted(self.numbers()))
        return hashlib.sha256(headers.encode()).hexdigest()

    def count(self) -> int:
        """How many images it holds, read from the headers of its batches.

        Raises:
            ValueError: a batch is missing or its header is damaged.
        """
        self._check_complete()
        images = 0
        for number in self.numbers():
            with _opened(self.file(number)) as batch:
                images += batch.get_slice("row").get_shape()[0]
        return images

    def write(self, number: int, **tensors: Tensor) -> None:
        """Writes one batch; it is on disk when this returns, and not at all before.

        Raises:
            ValueError: the number, a shape or a dtype disagrees with ``meta``, or a value is not finite.
        """
        batch = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        self._check_batch(number, batch)
        for leftover in self.path.glob(f"{self.file(number).name}.*.tmp"):
            leftover.unlink()  # of a run that was killed in the middle of this batch
        header = {"sha256": content_hash(batch)}
        write_whole(self.file(number), save(batch, header))

    def read(self, number: int) -> dict[str, Tensor]:
        """Reads one batch and checks its bytes against the hash written with it.

        Raises:
            FileNotFoundError: the batch is not there.
            ValueError: the file is damaged, or disagrees with ``meta``.
        """
        file = self.file(number)
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing; run the stage that writes it again")
        batch = _load(file)
        if content_hash(batch) != _stored_hash(file):
            raise ValueError(f"{file} is damaged (its sha256 is not the one written with it); {_REMEDY}")
        self._check_batch(number, batch)
        return batch

    def load(self, *names: str) -> dict[str, Tensor]:
        """The named tensors of all batches, concatenated in ascending order of ``row``.

        Raises:
            ValueError: a batch is missing, lacks a tensor, or a row appears twice.
        """
        self._check_complete()
        batches = [self._select(number, {"row", *names}) for number in sorted(self.numbers())]
        row = torch.cat([batch["row"] for batch in batches])
        order = row.argsort()
        if (row[order].diff() == 0).any():
            raise ValueError(f"{self.path} holds a row twice; delete it and run again")
        return {name: torch.cat([batch[name] for batch in batches])[order] for name in names}

    def _check_complete(self) -> None:
        if missing := self.missing():
            raise ValueError(
                f"{self.path} is unfinished: batches {missing[:8]} of {self.meta['batches']} are missing; "
                "run the stage that writes it again"
            )

    def _select(self, number: int, names: set[str]) -> dict[str, Tensor]:
        batch = self.read(number)
        if absent := names - batch.keys():
            raise ValueError(f"{self.file(number)} has no tensor {sorted(absent)}; it has {sorted(batch)}")
        return {name: batch[name] for name in names}

    def _check_batch(self, number: int, batch: Mapping[str, Tensor]) -> None:
        where = self.file(number)
        if not 0 <= number < self.meta["batches"]:
            raise ValueError(f"{where}: batch {number} is outside 0..{self.meta['batches'] - 1}")
        row, payload = batch.get("row"), batch.get(self.payload)
        if row is None or payload is None:
            raise ValueError(f"{where}: a batch needs 'row' and '{self.payload}'; it has {sorted(batch)}")
        if row.dtype != torch.int64 or row.ndim != 1:
            raise ValueError(f"{where}: row must be int64 (N,), not {_dtype(row)} {tuple(row.shape)}")
        found = (list(payload.shape[1:]), _dtype(payload))
        if found != (self.meta["shape"], self.meta["dtype"]):
            raise ValueError(
                f"{where}: {self.payload} of one image is {found[1]} {found[0]}, but the store's meta.json "
                f"says {self.meta['dtype']} {self.meta['shape']}"
            )
        for name, tensor in batch.items():
            if tensor.ndim == 0 or len(tensor) != len(row):
                raise ValueError(f"{where}: {name} {tuple(tensor.shape)} does not go with {len(row)} rows")
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ValueError(f"{where}: {name} is not finite; nothing measured on it would mean anything")


_REMEDY = "delete it and run the stage that wrote it again: only this batch is redone"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_meta(path: Path, meta: Mapping[str, Any]) -> None:
    if absent := [key for key in REQUIRED if key not in meta]:
        raise ValueError(f"{path}: the store's meta lacks {absent}")
    if meta.get("schema") != SCHEMA:
        raise ValueError(f"{path} has schema {meta.get('schema')}, this version reads {SCHEMA}; run again")
    is_dtype = isinstance(getattr(torch, str(meta["dtype"]), None), torch.dtype)
    fits = {
        "kind": (meta["kind"] in list(PAYLOAD), f"one of {sorted(PAYLOAD)}"),
        "shape": (_is_shape(meta["shape"]), "a list of whole numbers"),
        "dtype": (is_dtype, "the name of a type of torch's"),
        "encoder": (isinstance(meta["encoder"], str), "a hash"),
        "batches": (_is_count(meta["batches"], MAX_BATCHES), f"a whole number up to {MAX_BATCHES:,}"),
    }
    for name, (is_fine, form) in fits.items():
        if not is_fine:
            found = str(meta[name])[:60]
            raise ValueError(f"{path}: the store's {name} is {found}, not {form}; delete it and run again")


def _is_count(value: Any, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) < 10 and all(_is_count(size, 2**31) for size in value)


_BY_HASH = {"files"}
"""What a store describes by a hash, which tells a reader nothing."""


def _check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            if key in _BY_HASH:
                raise ValueError(
                    f"{path} was written for other {key}: some were added, changed or taken away since; "
                    "choose another output folder or delete this one"
                )
            raise ValueError(
                f"{path} was written for another run: {key} is {found.get(key)!r} there and "
                f"{wanted.get(key)!r} now; choose another output folder or delete this one"
            )


def _load(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as handle:
            return {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - it is no dict
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); {_REMEDY}") from error


def _stored_hash(file: Path) -> str:
    """The hash written with a batch, empty if there is none."""
    with _opened(file) as batch:
        header: dict[str, str] = batch.metadata() or {}
        return header.get("sha256", "")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A batch's file, of which nothing but its header is read."""
    try:
        with safe_open(file, framework="pt") as batch:
            yield batch
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); {_REMEDY}") from error
