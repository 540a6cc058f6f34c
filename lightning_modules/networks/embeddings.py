"""What an oracle makes of photographs: worked out once, and kept on disk for whoever needs it next."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from facecrafter.batches import BATCH, Images, of_photographs
from facecrafter.files import write_whole
from facecrafter.store import content_hash, encoder_hash
from lightning_modules.networks.oracle import IdentityOracle


def clean_embeddings(
    oracle: IdentityOracle, images: Images, n: int, folder: Path, device: torch.device
) -> Tensor:
    """Embeddings (N, E) of n photographs, read from `folder` if they have been there before.

    Whoever links features learns from the same photographs, and all attacks of a study are judged against the
    same: to embed them takes longer than anything else there. The file is for its owner alone.

    Args:
        oracle: on `device`.
        images: positions (n,) -> photographs (n, 3, H, W) in [0, 1].
        n: N.
        folder: of what is kept.
        device: computes.
    """
    file = folder / f"embeddings-{_key(oracle, images, n, device)}.safetensors"
    found = _read(file)
    if found is None:
        found = of_photographs(oracle.embed, images, n, device)
        write_whole(file, save({"embeddings": found.contiguous()}))
    return found


def _key(oracle: IdentityOracle, images: Images, n: int, device: torch.device) -> str:
    """Hash of the photographs, of the oracle's weights, and of what it makes of the first few: arguments,
    code and machine, whatever else the embeddings depend on, show there."""
    digest = hashlib.sha256(encoder_hash(oracle).encode())
    for positions in torch.arange(n).split(BATCH):
        digest.update(content_hash({"images": images(positions)}).encode())
    # A few answers stand for all that hashes of weights cannot tell, such as another face box.
    first = of_photographs(oracle.embed, images, min(n, BATCH), device)
    digest.update(content_hash({"first": first}).encode())
    return digest.hexdigest()[:16]


def _read(file: Path) -> Tensor | None:
    """None if there is no such file, or not a whole one."""
    try:
        return load(file.read_bytes())["embeddings"]
    except (FileNotFoundError, SafetensorError):
        return None
