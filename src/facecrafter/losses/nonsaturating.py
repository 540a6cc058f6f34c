"""The game of StyleGAN2: the non-saturating logistic loss and its two regularisers.

Goodfellow et al. 2014; Mescheder et al. 2018 (R1); Karras et al. 2020, section 3.2 (path lengths).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter import ranks


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−log σ(real) − log(1 − σ(fake)), each averaged: logits (N,), (M,) -> scalar."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """−log σ(fake), averaged: logits (N,) -> scalar."""
    return F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """‖∇D(x)‖², averaged over the faces x: scalar, differentiable in D's weights.

    Args:
        logits: D(x) (N,).
        images: the faces (N, 3, H, W) they were computed from, which must require a gradient.
    """
    # The sum of logits gives all slopes in one pass; D's minibatch deviation makes
    # each of them depend on the group's other faces too.
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return slope.square().flatten(1).sum(dim=1).mean()


def path_lengths(images: Tensor, ws: Tensor) -> Tensor:
    """‖Jᵀy‖ of every image, y ~ N(0, I / HW): (N,), differentiable in G's weights.

    How far the image moves in a random direction for a step of the style; the root of the mean square over
    the layers' styles.

    Args:
        images: (N, 3, H, W), computed from `ws`.
        ws: (N, layers, d), requiring a gradient.
    """
    height, width = images.shape[2:]
    directions = ranks.randn_like(images) / (height * width) ** 0.5
    # Jᵀy as the gradient of ⟨G(w), y⟩: J itself is never formed.
    (pulled,) = torch.autograd.grad((images * directions).sum(), ws, create_graph=True)
    return pulled.square().sum(dim=2).mean(dim=1).sqrt()
