"""What of a feature leaves the device: all of it, what the prior can express, or what the cloud reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facecrafter.crafter.inversion import AttackerModel, invert
from facecrafter.crafter.layers import LOGITS, public_layer


@dataclass
class Crafted:
    """What a release is made from.

    Attributes:
        raw: Enc(x) (N, C, h, w).
        features: F, what crafting made of it; Enc(x) where nothing was crafted.
        z: latents (N, d) near the best responses of F.
        model: φ.
        head: f, the public head behind the split, where it is known.
    """

    raw: Tensor
    features: Tensor
    z: Tensor
    model: AttackerModel
    head: nn.Module | None = None


class Release(ABC):
    """Makes of what was crafted the feature F' (N, C, h, w) that leaves the device."""

    @abstractmethod
    def __call__(self, crafted: Crafted) -> Tensor: ...


class OnManifold(Release):
    """F' = φ(z*) + α (F − φ(z*)), with the best response z* of F.

    The gradient that crafting follows lies in the span of φ's Jacobian, so that what the prior cannot express
    of a face, the residual F − φ(z*), is left as it was: attacks that look beyond the prior read it there. At
    α = 0 nothing of it is released, and an attacker learns of the face no more than z*.

    Args:
        alpha: α, the share of the residual that is released, in [0, 1]; at 1 F' is F.
        iterations: Levenberg-Marquardt iterations that bring z* to rest.

    Raises:
        ValueError: α lies elsewhere, or there is no iteration.
    """

    def __init__(self, alpha: float = 0.0, iterations: int = 15) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.alpha, self.iterations = alpha, iterations

    @torch.no_grad()
    def __call__(self, crafted: Crafted) -> Tensor:
        # From z, which has followed F all the way: a fresh search may end in another valley.
        best = invert(crafted.model, crafted.features, crafted.z, self.iterations).z
        expressed = _expressed(crafted.model, best)
        return expressed + self.alpha * (crafted.features - expressed)


class DownToFloor(Release):
    """F' = φ(z) + δ, with the correction δ that brings h(F') to h(Enc(x)), for a layer h of the public head.

    δ is what Adam makes of ‖h(φ(z) + δ) − h(Enc(x))‖² from δ = 0. Enc(x) enters through h alone, so
    whatever an attacker does, F' tells no more of the face than h(Enc(x)) and z. Where z is drawn without a
    look at the face, that leaves what the cloud itself is given at h: *the floor* of any release from which
    h is to be read. After crafting z is the crafted face's.

    Args:
        layer: h, see `facecrafter.crafter.layers.public_layer`: the dial between a release that serves the
            one task of the head (`logits`) and one that serves any task (`1`, the next block).
        steps: of Adam on δ.
        learning_rate: of Adam, in units of a feature's element.

    Raises:
        ValueError: there is no step, or the learning rate is not positive.
    """

    def __init__(self, layer: str = LOGITS, steps: int = 200, learning_rate: float = 0.05) -> None:
        if steps < 1 or learning_rate <= 0:
            raise ValueError(f"steps={steps} must be at least 1 and learning_rate={learning_rate} positive")
        self.layer, self.steps, self.learning_rate = layer, steps, learning_rate

    def __call__(self, crafted: Crafted) -> Tensor:
        if crafted.head is None:
            raise ValueError("DownToFloor needs the public head f behind the split: pass it as `head`")
        layer = public_layer(crafted.head, self.layer).to(crafted.raw.device)
        with torch.no_grad():
            wanted, point = layer(crafted.raw), _expressed(crafted.model, crafted.z)
        point.requires_grad_()
        optimizer = torch.optim.Adam([point], self.learning_rate)
        # Down to nothing at the end: steps of one length would leave h about as far off as one of them.
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            with torch.enable_grad():
                distance = (layer(point) - wanted).square().flatten(1).mean(dim=1)
                (point.grad,) = torch.autograd.grad(distance.sum(), point)
            optimizer.step()
            schedule.step()
        return point.detach()


def _expressed(model: AttackerModel, z: Tensor) -> Tensor:
    """φ(z) by the networks themselves: the attacker's Jacobian products may be of a lower precision."""
    with torch.no_grad():
        features: Tensor = model.encoder(model.generator(z))
    return features
