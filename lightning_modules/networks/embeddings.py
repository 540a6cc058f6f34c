"""What an oracle makes of photographs: worked out once, and kept on disk for whoever needs it next."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from facecrafter.batches import BATCH, Images, of_photographs
from lightning_modules.networks.kept import kept, key_of
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
    # A few answers stand for all that weights cannot tell, such as another face box, other code or machine.
    first = of_photographs(oracle.embed, images, min(n, BATCH), device)
    file = folder / f"embeddings-{key_of(oracle, images, n, {'first': first})}.safetensors"
    return kept(file, lambda: {"embeddings": of_photographs(oracle.embed, images, n, device)})["embeddings"]
