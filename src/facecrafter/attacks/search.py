"""What attacks through a prior share: the search for latents, and the check of what they are given."""

from __future__ import annotations

from torch import Tensor

from facecrafter.attacks.reconstruction import Progress, Reconstruction
from facecrafter.crafter.inversion import AttackerModel, Inversion, invert


def search_latents(
    model: AttackerModel,
    features: Tensor,
    starts: Tensor,
    iterations: int,
    steps: int,
    progress: Progress | None = None,
) -> Inversion:
    """Inverts every feature (N, C, h, w) from each of its starts (N, R, d); the result is flat, N·R long.

    Raises:
        ValueError: the features do not have the shape of the encoder's output on an image of the prior.
    """
    place_model(model, features)
    # The restarts of an image stand one behind the other, as `restarts_apart` reads them.
    targets = features.repeat_interleave(starts.shape[1], dim=0)
    return invert(model, targets, starts.flatten(0, 1).to(features), iterations, steps, progress=progress)


def place_model(model: AttackerModel, features: Tensor) -> None:
    """Moves the attacker's networks to where the features are, and sees that they speak of such features.

    Raises:
        ValueError: the features do not have the shape of the encoder's output on an image of the prior.
    """
    model.to(features.device)
    check_shape(features, model(features.new_zeros(1, model.latent_dim)).features)


def restarts_apart(images: Tensor, losses: Tensor, restarts: int) -> Reconstruction:
    """Flat images (N·R, 3, H, W) and losses (N·R,) as the reconstruction of N features in R restarts."""
    images = images.detach().reshape(-1, restarts, *images.shape[1:])
    return Reconstruction(images.float(), losses.detach().reshape(-1, restarts).float())


def check_shape(features: Tensor, expected: Tensor) -> None:
    """Refuse features that the encoder cannot have made.

    Raises:
        ValueError: naming both shapes.
    """
    if features.shape[1:] != expected.shape[1:]:
        raise ValueError(
            f"the features are {tuple(features.shape[1:])} per image, but the encoder makes "
            f"{tuple(expected.shape[1:])} of the attacker's images; use the encoder and size they came from"
        )
