"""What takes long to work out from photographs, kept on disk for whoever needs it next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from facecrafter.batches import BATCH, Images
from facecrafter.files import write_whole
from facecrafter.store import content_hash, encoder_hash


def kept(file: Path, work_out: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in `file`; worked out and written there, for its owner alone, if it is not there whole."""
    try:
        return load(file.read_bytes())
    except (FileNotFoundError, SafetensorError):
        found = work_out()
        write_whole(file, save({name: tensor.contiguous() for name, tensor in found.items()}))
        return found


def key_of(network: nn.Module, images: Images, n: int, told: dict[str, Tensor]) -> str:
    """Hash of n photographs, of the weights of the network that reads them, and of what else tells apart what
    is kept: what it makes of the first few stands for arguments, code and machine."""
    digest = hashlib.sha256(encoder_hash(network).encode())
    for positions in torch.arange(n).split(BATCH):
        digest.update(content_hash({"images": images(positions)}).encode())
    digest.update(content_hash(told).encode())
    return digest.hexdigest()[:16]
