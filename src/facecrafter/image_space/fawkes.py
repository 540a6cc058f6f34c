"""Fawkes: cloaks that move a face away from its owner in the eyes of identity networks.

Shan et al., "Fawkes: Protecting Privacy against Unauthorized Deep Learning Models", USENIX Security 2020, as
its version 1 runs: untargeted, in tanh space, every image on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter.attacks.reconstruction import Progress
from facecrafter.image_space.embedding import Embedding
from facecrafter.metrics.image import ssim

BUDGET = 15 / 255
"""No pixel value changes by more."""

_PENALTY = 1e6  # const, of DSSIM beyond the threshold
_TANH_SCALE = 2 - 1e-6  # keeps black and white pixels at finite places
_LARGEST_WEIGHT = 129.0
_START, _FIRST_STEP = 1e-4, 0.01


@dataclass(frozen=True)
class Mode:
    """How far a cloak may go.

    Args:
        threshold: th, the DSSIM = (1 − SSIM)/2 at which the penalty begins; 1.1·th is the most.
        steps: of Adadelta.
        learning_rate: of Adadelta.
        embeddings: identity networks that are misled together.
    """

    threshold: float
    steps: int
    learning_rate: float
    embeddings: int


MODES = {
    "low": Mode(threshold=0.004, steps=40, learning_rate=25.0, embeddings=1),
    "mid": Mode(threshold=0.012, steps=75, learning_rate=20.0, embeddings=2),
    "high": Mode(threshold=0.017, steps=150, learning_rate=15.0, embeddings=2),
}


def cloak(
    images: Tensor,
    embeddings: Sequence[Embedding],
    mode: Mode,
    rng: torch.Generator,
    progress: Progress | None = None,
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] -> cloaked ones, within `BUDGET` of them and in [0, 1].

    Minimises const·max(DSSIM − th, 0)² − w·d per image, d the squared distance between the identity
    embeddings of the cloaked and the clean image, each scaled to length one, summed over `embeddings`. An
    image keeps the largest d that it had with DSSIM ≤ 1.1·th. SSIM needs images of at least 11 pixels.

    Args:
        rng: draws where the search starts: at the image itself d has no gradient.
        progress: called after every step.
    """
    places = torch.atanh((images - 0.5) * _TANH_SCALE)
    drawn = torch.rand(images.shape, generator=rng, device=rng.device).to(images)
    modifier = (_START * (2 * drawn - 1)).requires_grad_()
    optimizer = torch.optim.Adadelta([modifier], mode.learning_rate, rho=0.95, eps=1e-7)
    anchors = [F.normalize(embed(images)).detach() for embed in embeddings]
    best, farthest = images.clone(), images.new_zeros(len(images))
    weights = Weights(images.new_ones(len(images)), images.new_ones(len(images)))
    for step in range(mode.steps):
        cloaked = _within_budget(torch.tanh(places + modifier) / _TANH_SCALE + 0.5, images)
        distance = _moved(cloaked, embeddings, anchors)
        dissimilarity = (1 - ssim(cloaked, images)) / 2
        loss = _PENALTY * (dissimilarity - mode.threshold).relu().square() - weights.weight * distance
        (modifier.grad,) = torch.autograd.grad(loss.sum(), modifier)
        optimizer.step()
        if step == 0:  # the first gradient is too small for Adadelta to follow
            modifier.data -= _FIRST_STEP * modifier.grad.sign()
        better = (dissimilarity <= 1.1 * mode.threshold) & (distance > farthest)
        best = torch.where(better[:, None, None, None], cloaked.detach(), best)
        farthest = torch.where(better, distance.detach(), farthest)
        weights = weights.after(dissimilarity.detach() / mode.threshold)
        if progress:
            progress(step + 1, mode.steps)
    return best


class Weights(NamedTuple):
    """w (N,) of the distance, and where each image was last: 1 below the threshold, −1 above, 0 at it."""

    weight: Tensor
    side: Tensor

    def after(self, ratio: Tensor) -> Weights:
        """What follows a step with DSSIM/th = `ratio` (N,): w doubles below 0.9, halves above 1.1.

        It returns to one in between, on a change of sides, and where it has grown past 129-fold.
        """
        side = (ratio <= 0.9).to(ratio) - (ratio >= 1.1).to(ratio)
        going_on = (side != 0) & (side * self.side >= 0) & (self.weight**side <= _LARGEST_WEIGHT)
        return Weights(torch.where(going_on, self.weight * 2**side, 1.0), side)


def _within_budget(cloaked: Tensor, images: Tensor) -> Tensor:
    return cloaked.clamp((images - BUDGET).clamp_min(0), (images + BUDGET).clamp_max(1))


def _moved(cloaked: Tensor, embeddings: Sequence[Embedding], anchors: Sequence[Tensor]) -> Tensor:
    """d (N,)."""
    squares = [
        (F.normalize(embed(cloaked)) - anchor).square().sum(dim=1)
        for embed, anchor in zip(embeddings, anchors, strict=True)
    ]
    return torch.stack(squares).sum(dim=0)
