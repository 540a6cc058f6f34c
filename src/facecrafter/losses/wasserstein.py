"""The critic's side of a Wasserstein game, shared by prior and Crafter.

Arjovsky et al. 2017; Gulrajani et al. 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter import ranks


def earth_mover(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """mean D(real) − mean D(fake): the distance between the two distributions as the critic sees it (Eq. 1).

    real and fake are images (N, 3, H, W) in [0, 1]; the critic ascends it.
    """
    # One pass for both: the critic's norm is over each image alone, so neither side sees the other.
    scores = critic(torch.cat([real, fake])).float()
    distance: Tensor = scores[: len(real)].mean() - scores[len(real) :].mean()
    return distance


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """g_p = mean (‖∇D(x̂)‖₂ − 1)² at points x̂ drawn uniformly between the pairs real[i], fake[i] (section II).

    Differentiable in the critic's weights. real and fake must hold the same number of images.
    """
    share = ranks.rand(len(real), 1, 1, 1, generator=rng, device=rng.device).to(real)
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    # The gradient of the sum holds each image's own ∇D, as no score depends on another image.
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (slope.float().flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
