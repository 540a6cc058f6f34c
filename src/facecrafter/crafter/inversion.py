"""The best response z*(F): the latent whose image has the feature that is closest to F (Eq. 3)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facecrafter.crafter.implicit import ConjugateGradient, normal_matrix
from facecrafter.crafter.jacobian import Linearization, Linearizer
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.precision import Precision, fast_dtype

# Eigenvalues of JᵀJ were found between 4 and 8,000: beyond these ends μ changes nothing any more.
_DAMPING_RANGE = (1e-2, 1e8)
_LARGEST_ERROR = 0.05  # of Jacobian products in a faster precision; bfloat16 under float32 masks has 0.7%


class Response(NamedTuple):
    """φ = Enc∘G at z: images G(z) (N, 3, H, W), features φ(z), and the derivatives of G and of φ."""

    images: Tensor
    features: Tensor
    d_generator: Linearization
    d_phi: Linearization


class AttackerModel:
    """φ = Enc∘G, frozen, batch norms folded: what a white-box attacker differentiates.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w).
        generator: latents (N, d) -> images in [0, 1].
        precision: of the Jacobian products: `32` (that of the networks), `bf16`, or `auto`: bf16 where the
            networks' device multiplies it in hardware. If its products are more than 5% off with
            these networks, it is refused with a warning.

    Attributes:
        dtype: of the Jacobian products; None where it is that of the networks.

    Raises:
        ValueError: a weight is not finite.
    """

    dtype: torch.dtype | None

    def __init__(self, encoder: nn.Module, generator: nn.Module, precision: Precision = "32") -> None:
        channels_last = torch.channels_last
        self.precision: Precision = precision
        self.latent_dim = _latent_dim(generator)
        self.encoder = fold_batchnorm(encoder).to(memory_format=channels_last)
        self.generator = fold_batchnorm(generator).to(memory_format=channels_last)
        _check_weights("the encoder", self.encoder)
        _check_weights("the generator", self.generator)
        self._choose_dtype()

    def latents(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Standard normal latents (N, d), one for each row of `like` (N, ...), with its type and device."""
        return torch.randn(len(like), self.latent_dim, generator=rng, device=rng.device).to(like)

    def to(self, device: torch.device) -> AttackerModel:
        """Itself, its networks moved to `device` if they are elsewhere; then the precision is chosen anew."""
        before = self._device
        self.encoder.to(device)
        self.generator.to(device)
        if self._device != before:
            self._choose_dtype()
        return self

    def in_full_precision(self) -> AttackerModel:
        """The same φ, with Jacobian products in the precision of the networks."""
        # Shallow: the networks are shared, the linearisers are its own.
        exact = copy.copy(self)
        exact._linearize(None)
        return exact

    @property
    def _device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def _choose_dtype(self) -> None:
        self._linearize(None)
        # Exact products come first: `_trusts` compares the fast ones with those in hand.
        dtype = fast_dtype(self.precision, self._device)
        if dtype is not None and self._trusts(dtype):
            self._linearize(dtype)

    def _linearize(self, dtype: torch.dtype | None) -> None:
        self.dtype = dtype
        self._encode = Linearizer(self.encoder, dtype)
        self._generate = Linearizer(self.generator, dtype)

    def _trusts(self, dtype: torch.dtype) -> bool:
        """Whether products JᵀJ·v in this precision are close to exact ones. Nothing is timed here: two ranks
        of a run must choose alike."""
        weight = next(self.generator.parameters())
        # Drawn on the CPU, so that machines with other devices compare at the same point.
        rng = torch.Generator().manual_seed(0)
        z, v = torch.randn(2, 2, self.latent_dim, generator=rng).to(weight)
        # JᵀJ·v, not J·v: it is what the solvers multiply by, so its error is the one that they meet.
        fast = self.in_full_precision()
        fast._linearize(dtype)
        exact, found = (normal_matrix(phi(z).d_phi)(v) for phi in (self, fast))
        error = float((found - exact).norm() / exact.norm())
        if error <= _LARGEST_ERROR:
            return True
        warnings.warn(
            f"Jacobian products in {dtype} are {error:.0%} off with these networks: {weight.dtype} it is",
            stacklevel=3,
        )
        return False

    def __call__(self, z: Tensor) -> Response:
        """z (N, d) -> the response there, from one forward pass."""
        images, d_generator = self._generate(z)
        features, d_encoder = self._encode(images)
        return Response(images, features, d_generator, d_encoder @ d_generator)


@dataclass(frozen=True)
class InnerProblem:
    """Line 3: how z* follows F. Warm-started: one damped Gauss-Newton step for every change of F.

    Args:
        first: Levenberg-Marquardt iterations of the first inversion.
        starts: random starts of an inversion; each image keeps its best.
        refresh: every so many iterations, invert afresh from random starts and keep the better z* of each
            image; 0 never.
        steps: conjugate-gradient steps of a Gauss-Newton step.
        damping: μ of the Gauss-Newton step between two iterations.

    Raises:
        ValueError: there is no start or step, or a number is negative.
    """

    first: int = 15
    starts: int = 2
    refresh: int = 50
    steps: int = 3
    damping: float = 20.0

    def __post_init__(self) -> None:
        if min(self.starts, self.steps) < 1 or min(self.first, self.refresh, self.damping) < 0:
            raise ValueError(
                f"an inversion needs starts and steps >= 1, first, refresh and damping >= 0, not {self}"
            )


class Inversion(NamedTuple):
    """z* (N, d) and the inversion loss ‖F − φ(z*)‖² (N,) there."""

    z: Tensor
    loss: Tensor


def _latent_dim(generator: nn.Module) -> int:
    # G1 and G2 list their layers as they run: the first linear one takes the latent.
    for layer in generator.modules():
        if isinstance(layer, nn.Linear):
            return layer.in_features
    raise ValueError(f"{type(generator).__name__} has no linear layer to read the size of the latent from")


def _check_weights(role: str, network: nn.Module) -> None:
    """With its batch norms folded, so that their statistics are looked at too."""
    for name, weight in network.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{role} has a weight that is not finite ({name}): train it again")


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² per sample: (N, ...) -> (N,)."""
    return (a - b).square().flatten(1).sum(dim=1)


def invert(
    phi: Callable[[Tensor], Response],
    features: Tensor,
    start: Tensor,
    iterations: int,
    steps: int = 6,
    damping: float = 100.0,
    progress: Callable[[int, int], None] | None = None,
) -> Inversion:
    """Minimises ‖F − φ(z)‖² per sample by Levenberg-Marquardt (Marquardt 1963), from `start`.

    Each iteration linearises φ once and solves (JᵀJ + μI) δ = Jᵀ(F − φ(z)) by `steps` conjugate-gradient
    steps. A step that does not lower a sample's loss is taken back and its damping μ raised; one that does
    lowers μ. A sample whose loss is finite nowhere keeps its z₀, with a loss of infinity; no other sample
    is affected.

    Args:
        features: F (N, C, h, w).
        start: z₀ (N, d).
        iterations: linearisations of φ, the last of which only judges the last step.
        steps: conjugate-gradient steps within an iteration.
        damping: the first μ.
        progress: called with (iterations done, iterations).
    """
    z = best = start
    lowest = torch.full_like(start[:, 0], torch.inf)
    # One μ for each sample: an image that is hard to invert must not slow its neighbours.
    mu = torch.full_like(start[:, :1], damping)
    for iteration in range(iterations):
        at = phi(z)
        loss = squared_distance(features, at.features)
        # The first finite loss is below infinity, so the first step is taken with half of `damping`.
        better = loss <= lowest  # equal where a step was taken back: linearised afresh, it may try again
        best, lowest = torch.where(better[:, None], z, best), torch.where(better, loss, lowest)
        # A step taken back counts as better in the next iteration, at `best`: the next try has 8 · ½ μ.
        mu = (mu * torch.where(better[:, None], 0.5, 8.0)).clamp(*_DAMPING_RANGE)
        step = gauss_newton_step(at.d_phi, features - at.features, mu, steps)
        z = torch.where(better[:, None], z + step, best)
        if progress:
            progress(iteration + 1, iterations)
    return Inversion(best, lowest)


def gauss_newton_step(d_phi: Linearization, residual: Tensor, damping: float | Tensor, steps: int) -> Tensor:
    """δ with (JᵀJ + μI) δ ≈ Jᵀ(F − φ(z)), for the residual F − φ(z) (N, C, h, w); μ a number or (N, 1)."""
    matrix = normal_matrix(d_phi)
    # μ may differ between samples and the solver's damping is one number, so μ goes into the matrix.
    solver = ConjugateGradient(damping=0.0, steps=steps)
    return solver(lambda v: matrix(v) + damping * v, d_phi.vjp(residual)).x


def fresh_response(
    model: AttackerModel, features: Tensor, inner: InnerProblem, rng: torch.Generator
) -> Tensor:
    """The better of `inner.starts` inversions from random latents, for each image."""
    starts = [model.latents(features, rng) for _ in range(inner.starts)]
    tries = [invert(model, features, start, inner.first, inner.steps) for start in starts]
    best = torch.stack([tried.loss for tried in tries]).argmin(dim=0)
    return torch.stack([tried.z for tried in tries])[best, torch.arange(len(best), device=best.device)]
