"""Where the styles of faces lie (An et al., "MIRROR", NDSS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter.nets.stylegan2.generator import Mapping

_CHUNK = 10_000  # latents at a time: all samples at once would fill the memory


def to_p(w: Tensor) -> Tensor:
    """p = LeakyReLU₅(w): the mapping's last activation, of slope 0.2, is undone; p is nearly normal."""
    return F.leaky_relu(w, 5.0)


def to_w(p: Tensor) -> Tensor:
    """The style w of p."""
    return F.leaky_relu(p, 0.2)


class PSpace:
    """The box in p-space that faces come from: μ ± bound·σ in every coordinate.

    Args:
        mapping: of the generator, frozen: latents -> styles.
        bound: in standard deviations (published: 1).
        samples: random latents that μ and σ are estimated from (published: 100,000).

    Attributes:
        mean, deviation: μ and σ, each (style_dim,).
    """

    def __init__(self, mapping: Mapping, bound: float, samples: int) -> None:
        if bound <= 0 or samples < 2:
            raise ValueError(f"bound={bound} must be positive and samples={samples} at least 2")
        self.mapping = mapping
        self.bound = bound
        self.mean, self.deviation = self._statistics(samples)

    def clip(self, p: Tensor) -> Tensor:
        """The nearest p (..., style_dim) in the box."""
        mean, reach = self.mean.to(p), self.bound * self.deviation.to(p)
        return p.clamp(mean - reach, mean + reach)

    @torch.no_grad()
    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Styles w (count, style_dim) of random latents; they may lie outside the box."""
        z = torch.randn(count, self.mapping.latent_dim, generator=rng)
        w: Tensor = self.mapping(z.to(self.mapping.w_avg))
        return w

    def _statistics(self, samples: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(0)  # the same box in every attack
        # In float64: a variance as the difference of two squares loses the digits that they share.
        moments = torch.zeros(2, 1, dtype=torch.float64)
        for begin in range(0, samples, _CHUNK):
            p = to_p(self.draw(min(_CHUNK, samples - begin), rng)).cpu().double()
            moments = moments + torch.stack([p.sum(dim=0), p.square().sum(dim=0)]) / samples
        mean, square = moments
        return mean, (square - mean.square()).clamp_min(0).sqrt()
