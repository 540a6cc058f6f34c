"""Inner attackers beside the search for a latent: what Crafter also defends against while it crafts.

An attacker sees x̂(F), and its L_p(F) depends on F through x̂ alone. The search for a latent, Algorithm 1's
own, has x̂ = G(z*(F)); those here look further than the prior. Each has a critic of its own, which tells its
images from what it makes of average faces: a decoder's are blurred, and a shared critic would see that alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facecrafter.crafter.implicit import ConjugateGradient, Solver, implicit_gradient
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, gauss_newton_step, invert
from facecrafter.nets.folding import fold_batchnorm


@dataclass
class Scene:
    """What inner attackers begin with, one batch of N images.

    Attributes:
        model: φ.
        raw: Enc(x) (N, C, h, w).
        z: its best responses (N, d).
        average: average faces (N, 3, H, W).
        wanted: faces that the images are drawn to (N, 3, H, W), or None.
        inner: how z follows F.
        decoder: features -> images, or None.
    """

    model: AttackerModel
    raw: Tensor
    z: Tensor
    average: Tensor
    wanted: Tensor | None
    inner: InnerProblem
    decoder: nn.Module | None


class Look(NamedTuple):
    """x̂ (N, 3, H, W), and the map from ∂L/∂x̂ to ∂L/∂F (N, C, h, w)."""

    images: Tensor
    gradient: Callable[[Tensor], Tensor]


class Opponent(ABC):
    """An attacker in hand of one batch.

    Attributes:
        average: average faces (N, 3, H, W) as it sees them.
        wanted: the faces that the images are drawn to, as it sees them, or None.
    """

    average: Tensor
    wanted: Tensor | None

    @abstractmethod
    def look(self, features: Tensor) -> Look:
        """What it sees of F (N, C, h, w)."""

    @abstractmethod
    def follow(self, features: Tensor) -> None:
        """Told where F has moved to; whoever keeps a response moves it along."""


class InnerAttacker(ABC):
    """An attacker whom the defender simulates."""

    @abstractmethod
    def __call__(self, scene: Scene) -> Opponent:
        """Takes up one batch."""


class OpenedLayers(InnerAttacker):
    """x̂ = G'(z*, u*), (z*, u*) = argmin ‖F − Enc(G'(z, u))‖²: the search goes on behind the latent.

    G' is G with its first linear map W·z + b widened to W·z + σ·u + b, one more unknown for every unit of
    the activation that it makes, as a progressive attack opens it. It is a network as G is, with d + m
    latents for m units: every Jacobian rule, the inner problem and the implicit gradient are as for z alone.

    Args:
        scale: σ, how far one unit of u moves the activation: a small one keeps G' near the prior's faces.
        first: Levenberg-Marquardt iterations from (z*, 0) at the start.
        solver: of the implicit gradient's linear system.
    """

    def __init__(self, scale: float = 0.3, first: int = 8, solver: Solver | None = None) -> None:
        if scale <= 0 or first < 1:
            raise ValueError(f"scale={scale} must be positive and first={first} at least 1")
        self.scale, self.first = scale, first
        self.solver = solver or ConjugateGradient()

    def __call__(self, scene: Scene) -> Opponent:
        model = scene.model
        wider = AttackerModel(model.encoder, widened(model.generator, self.scale), model.precision)
        # At u = 0 G' is G: the search begins at an image of the prior's.
        unopened = scene.z.new_zeros(len(scene.z), wider.latent_dim - model.latent_dim)
        start = torch.cat([scene.z, unopened], dim=1)
        z = invert(wider, scene.raw, start, self.first, scene.inner.steps).z
        return _Search(wider, z, scene, self.solver)


class _Search(Opponent):
    """A latent search of its own, z warm-started as that of Algorithm 1."""

    def __init__(self, model: AttackerModel, z: Tensor, scene: Scene, solver: Solver) -> None:
        self.model, self.z, self.inner, self.solver = model, z, scene.inner, solver
        self.average, self.wanted = scene.average, scene.wanted
        self._at = model(z)

    def look(self, features: Tensor) -> Look:
        self._at = at = self.model(self.z)
        return Look(
            at.images,
            lambda grad: implicit_gradient(at.d_phi, at.d_generator.vjp(grad), self.solver).gradient,
        )

    def follow(self, features: Tensor) -> None:
        residual = features - self._at.features
        self.z = self.z + gauss_newton_step(self._at.d_phi, residual, self.inner.damping, self.inner.steps)


class OwnDecoder(InnerAttacker):
    """x̂ = Dec(F), ∂L_p/∂F = (∂Dec/∂F)ᵀ ∂L_p/∂x̂ by plain autograd: an attacker who never searches.

    Dec was trained on public pairs of feature and image, as the black-box attacker's. Average faces, and
    those that images are drawn to, are what Dec makes of their features.
    """

    def __call__(self, scene: Scene) -> Opponent:
        if scene.decoder is None:
            raise ValueError("OwnDecoder needs a decoder, features -> images: pass it as `decoder`")
        # Folding makes a frozen copy in eval mode: the caller's decoder stays as it is.
        return _Decoding(fold_batchnorm(scene.decoder).to(scene.raw.device), scene)


class _Decoding(Opponent):
    def __init__(self, decoder: nn.Module, scene: Scene) -> None:
        self.decoder = decoder
        with torch.no_grad():
            self.average = decoder(scene.model.encoder(scene.average))
            wanted = scene.wanted
            self.wanted = None if wanted is None else decoder(scene.model.encoder(wanted))

    def look(self, features: Tensor) -> Look:
        # A leaf of its own: F is moved in place, and has no graph.
        point = features.detach().requires_grad_()
        with torch.enable_grad():
            images = self.decoder(point)
        return Look(images.detach(), lambda grad: torch.autograd.grad(images, point, grad)[0])

    def follow(self, features: Tensor) -> None:
        """It keeps nothing of F."""


def widened(generator: nn.Module, scale: float) -> nn.Module:
    """G': latents (N, d + m) -> images, G with its first linear map widened by `scale` times the identity.

    Its batch norms must be folded: one behind the map would scale u as well.
    """
    wider = deepcopy(generator)
    name, first = next((name, layer) for name, layer in wider.named_modules() if isinstance(layer, nn.Linear))
    units = first.out_features
    identity = scale * torch.eye(units, dtype=first.weight.dtype, device=first.weight.device)
    map_ = nn.Linear(first.in_features + units, units, bias=first.bias is not None).to(first.weight)
    with torch.no_grad():
        map_.weight.copy_(torch.cat([first.weight, identity], dim=1))
        if first.bias is not None:
            map_.bias.copy_(first.bias)
    wider.set_submodule(name, map_.requires_grad_(False))
    return wider
