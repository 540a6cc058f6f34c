"""LowKey: perturbations that move a face away from its owner, and survive smoothing.

Cherepanova et al., "LowKey: Leveraging Adversarial Attacks to Protect Social Media Users from Facial
Recognition", ICLR 2021. Its alignment step is left out: the images here are aligned already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from facecrafter.attacks.reconstruction import Progress
from facecrafter.image_space.embedding import Embedding

Distance = Callable[[Tensor, Tensor], Tensor]
"""Images (N, 3, H, W) twice -> (N,)."""

STEP, START = 0.0025, 0.005
_PERCEPTUAL_WEIGHT = 0.05
_WINDOW, _SIGMA = [7, 7], [3.0, 3.0]


def perturb(
    images: Tensor,
    embeddings: Sequence[Embedding],
    perceptual: Distance | None,
    iterations: int,
    rng: torch.Generator,
    progress: Progress | None = None,
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] -> perturbed ones in [0, 1], at most START + iterations·STEP away.

    Signed steps uphill on `gain`, from a uniform start within ±START.

    Args:
        perceptual: what keeps x' near x, LPIPS in the paper; None: nothing but the number of steps.
        progress: called after every iteration.
    """
    drawn = torch.rand(images.shape, generator=rng, device=rng.device).to(images)
    perturbed = (images + START * (2 * drawn - 1)).clamp(0, 1)
    anchors = [embed(images).detach() for embed in embeddings]
    for iteration in range(iterations):
        perturbed.requires_grad_()
        value = gain(perturbed, images, embeddings, anchors, perceptual)
        (gradient,) = torch.autograd.grad(value.sum(), perturbed)
        perturbed = (perturbed.detach() + STEP * gradient.sign()).clamp(0, 1)
        if progress:
            progress(iteration + 1, iterations)
    return perturbed


def gain(
    perturbed: Tensor,
    images: Tensor,
    embeddings: Sequence[Embedding],
    anchors: Sequence[Tensor],
    perceptual: Distance | None,
) -> Tensor:
    """What LowKey climbs, per image (N,).

    The mean over the networks f, and over x' as it is and smoothed (Gaussian of 7 x 7 pixels, σ = 3), of
    mean((f(x') − f(x))² / ‖f(x)‖), minus 0.05 of the perceptual distance of x' from x; `anchors` hold f(x).
    """
    views = (perturbed, gaussian_blur(perturbed, _WINDOW, _SIGMA))
    moved = [
        (embed(view) - anchor).square().mean(dim=1) / anchor.norm(dim=1)
        for embed, anchor in zip(embeddings, anchors, strict=True)
        for view in views
    ]
    moved_on_average = torch.stack(moved).mean(dim=0)
    if perceptual is None:
        return moved_on_average
    return moved_on_average - _PERCEPTUAL_WEIGHT * perceptual(perturbed, images)
