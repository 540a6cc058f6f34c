"""What of a feature leaves the device: all of it, what a prior expresses, or what the cloud reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facecrafter.crafter.erasure import Eraser
from facecrafter.crafter.inversion import AttackerModel, Response, invert
from facecrafter.crafter.layers import public_layer
from facecrafter.crafter.restoring import restored
from facecrafter.nets.through_head import LOGITS


@dataclass
class Crafted:
    """What a release is made from.

    Attributes:
        raw: Enc(x) (N, C, h, w).
        features: F, what crafting made of it; Enc(x) where nothing was crafted.
        z: latents (N, d) near the best responses of F.
        model: φ.
        head: f, the public head behind the split, where it is known.
        eraser: r, which takes out of a feature what tells people apart, where there is one.
        strangers: z_r (N, d), of prior faces that have nothing to do with these, where there are such.
    """

    raw: Tensor
    features: Tensor
    z: Tensor
    model: AttackerModel
    head: nn.Module | None = None
    eraser: Eraser | None = None
    strangers: Tensor | None = None


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


class WithoutIdentity(Release):
    """F' = φ(z'), z' = argmin_z ‖r(F) − r(φ(z))‖² + w·‖φ(z) − r(φ(z))‖²: the prior's face that is nobody.

    r takes out of a feature what tells people apart (`facecrafter.crafter.erasure.Eraser`); z' agrees with F
    in what it leaves, with the mean person in what it takes. To take it out of φ(z*) would not do: a feature
    has many times more elements than z, and whoever knows φ and r finds z* from what is left, and with it
    all that was taken. So it is z that is moved.

    Args:
        weight: w: the larger, the less of the identity is left, and the less of the rest agrees.
        iterations: Levenberg-Marquardt iterations from z*.

    Raises:
        ValueError: the weight is not positive, or there is no iteration.
    """

    def __init__(self, weight: float = 3.0, iterations: int = 25) -> None:
        if weight <= 0 or iterations < 1:
            raise ValueError(f"weight={weight} must be positive and iterations={iterations} at least 1")
        self.weight, self.iterations = weight, iterations

    @torch.no_grad()
    def __call__(self, crafted: Crafted) -> Tensor:
        if crafted.eraser is None:
            raise ValueError(
                "WithoutIdentity needs what tells people apart: pass an IdentityEraser as `eraser`"
            )
        eraser = crafted.eraser.to(crafted.features.device)

        def parted(z: Tensor) -> Response:
            at = crafted.model(z)
            features, derivative = eraser.parted(at.features, self.weight**0.5)
            return at._replace(features=features, d_phi=derivative @ at.d_phi)

        kept = eraser(crafted.features)
        nobody = torch.cat([kept, torch.zeros_like(kept)], dim=1)
        moved = invert(parted, nobody, crafted.z, self.iterations).z
        return _expressed(crafted.model, moved)


class Stranger(Release):
    """F' = φ(z_r), the feature of a prior face that was drawn without a look at this one.

    By itself it is worth nothing; `DownToFloor` makes of it a release that holds one layer of the head alone.
    """

    def __call__(self, crafted: Crafted) -> Tensor:
        if crafted.strangers is None:
            raise ValueError("Stranger needs latents that were drawn without a look at the faces")
        return _expressed(crafted.model, crafted.strangers)


class DownToFloor(Release):
    """F' = S + δ, with the correction δ that brings h(F') to h(Enc(x)), for a layer h of the public head.

    δ is what Gauss-Newton's steps, or Adam's where h makes more than a few numbers, make of
    ‖h(S + δ) − h(Enc(x))‖² from δ = 0 (`facecrafter.crafter.restoring`), S = φ(z) or another release.
    Enc(x) enters δ through h alone, so whatever an attacker does, F' tells no more of the face than
    h(Enc(x)) and S. Where S is drawn without a look at the face (`Stranger`), that leaves what the cloud
    itself is given at h: *the floor* of any release from which h is to be read. After crafting z is the
    crafted face's.

    Args:
        layer: h, see `facecrafter.crafter.layers.public_layer`: the dial between a release that serves the
            one task of the head (`logits`) and one that serves any task (`0`, the next block).
        steps: of Adam on δ, where h makes many numbers.
        learning_rate: of Adam, in units of a feature's element.
        of: the release S; None means φ(z).

    Raises:
        ValueError: there is no step, or the learning rate is not positive.
    """

    VERSION = 3

    def __init__(
        self, layer: str = LOGITS, steps: int = 200, learning_rate: float = 0.05, of: Release | None = None
    ) -> None:
        if steps < 1 or learning_rate <= 0:
            raise ValueError(f"steps={steps} must be at least 1 and learning_rate={learning_rate} positive")
        self.layer, self.steps, self.learning_rate, self.of = layer, steps, learning_rate, of

    def __call__(self, crafted: Crafted) -> Tensor:
        if crafted.head is None:
            raise ValueError("DownToFloor needs the public head f behind the split: pass it as `head`")
        layer = public_layer(crafted.head, self.layer).to(crafted.raw.device)
        with torch.no_grad():
            wanted = self._wanted(layer(self._answered(crafted)))
            start = self.of(crafted) if self.of else _expressed(crafted.model, crafted.z)
        return restored(layer, wanted, start, self.steps, self.learning_rate)

    def _answered(self, crafted: Crafted) -> Tensor:
        """The feature whose h is kept (N, C, h, w)."""
        return crafted.raw

    def _wanted(self, read: Tensor) -> Tensor:
        """What h is to read of F', where it reads this (N, ...) of the feature whose h is kept."""
        return read


class DownToKept(DownToFloor):
    """F' = φ(z) + δ with h(F') = r(h(Enc(x))): of f's answers what r keeps, and nothing else of the face.

    Nothing is crafted: the closed form beside `DownToCrafted`, whose dial is how much r keeps.

    Args:
        keep: r, f's answers (N, A) -> (N, A): `facecrafter.crafter.reduced_rank.ReducedRank`,
            `facecrafter.crafter.codebook.Codebook` or another.
    """

    VERSION = 1

    def __init__(self, keep: nn.Module) -> None:
        super().__init__()
        self.keep = keep

    def _wanted(self, read: Tensor) -> Tensor:
        wanted: Tensor = self.keep.to(read.device)(read)
        return wanted


class DownToCrafted(DownToFloor):
    """F' = S + δ with h(F') = h(F): what crafting took out of the answers is not given back.

    Of a `Stranger`, F' tells no more of the face than h(F) does, and crafting may go on until that tells
    little enough: its β is the dial between the answers and the people whom they name.
    """

    def _answered(self, crafted: Crafted) -> Tensor:
        return crafted.features


def _expressed(model: AttackerModel, z: Tensor) -> Tensor:
    """φ(z) by the networks themselves: the attacker's Jacobian products may be of a lower precision."""
    with torch.no_grad():
        features: Tensor = model.encoder(model.generator(z))
    return features
