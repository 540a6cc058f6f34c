"""What takes long to work out from photographs, kept on disk for whoever needs it next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from facecrafter.batches import BATCH, Images
from facecrafter.files import write_whole
from facecrafter.store import content_hash


def kept(file: Path, work_out: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in `file`; worked out and written there, for its owner alone, if it is not there whole."""
    try:
        return load(file.read_bytes())
    except (FileNotFoundError, SafetensorError):
        found = work_out()
        write_whole(file, save({name: tensor.contiguous() for name, tensor in found.items()}))
        return found


def key_of(parts: dict[str, Tensor], images: Images, n: int) -> str:
    """Hash of n photographs and of whatever else tells apart what is kept of them."""
    digest = hashlib.sha256(content_hash(parts).encode())
    for positions in torch.arange(n).split(BATCH):
        digest.update(content_hash({"images": images(positions)}).encode())
    return digest.hexdigest()[:16]
