"""Whom a face is crafted towards: prior faces of every image's own, beside the average of the batch."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import torch
from torch import Tensor

from facecrafter.crafter.utility import Cost


def keyed_latents(secret: str, images: Tensor, latent_dim: int) -> Tensor:
    """z_r (N, d), standard normal, drawn for each image (N, 3, H, W) in [0, 1] from it and the secret alone.

    The seed is HMAC-SHA256 of the image's eight-bit pixels. So an image has the same z_r in every batch and
    query, and without the secret z_r says nothing about it. Another photograph of the same face has another.
    """
    # Eight bits, as files hold them: a rounding error in a float must not give the image another z_r.
    pixels = (images.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return torch.stack([_drawn(secret, own.numpy().tobytes(), latent_dim) for own in pixels]).to(images)


def _drawn(secret: str, content: bytes, latent_dim: int) -> Tensor:
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    # Of a seed PyTorch's generator keeps 32 bits, whose latents can all be tried; Philox has a key of 128.
    rng = np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], "<u8")))
    return torch.from_numpy(rng.standard_normal(latent_dim))


class KeyedFaces:
    """L_p = −D(x̂) + κ·‖x̂ − x_r‖² / n per image: each is drawn to a prior face of its own, x_r = G(z_r).

    x̂ is what an inner attacker makes of F, n counts its elements; for an attacker with a decoder x_r is what
    the decoder makes of that face's feature. z_r comes from `keyed_latents`. The batch alone gives an image
    the nearest average-looking face, which is a function of the image that a decoder can learn; an
    independent z_r is what the analysis of the paper assumes.

    Args:
        secret: whoever has it can compute z_r of an image in hand. It is written into the configuration of
            the defence, so it must not leave the device with it.
        pull: κ. The critic's gradient has a norm of about 1, that of the pull 2κ·‖x̂ − x_r‖/n.

    Raises:
        ValueError: there is no secret, or the pull is not positive.
    """

    def __init__(self, secret: str, pull: float = 100.0) -> None:
        if not secret or pull <= 0:
            raise ValueError(f"KeyedFaces needs a secret that is not empty and a positive pull, not {pull}")
        self.secret, self.pull = secret, pull

    def latents(self, images: Tensor, latent_dim: int) -> Tensor:
        """z_r (N, d) of the images (N, 3, H, W)."""
        return keyed_latents(self.secret, images, latent_dim)

    def __call__(self, seen: Tensor, wanted: Tensor) -> Cost:
        """κ·‖x̂ − x_r‖²/n, with its gradient in x̂; seen x̂ and wanted x_r are (N, 3, H, W)."""
        shift = seen - wanted
        loss = self.pull * shift.square().flatten(1).mean(dim=1)
        return Cost(loss, 2 * self.pull * shift / shift[0].numel())
