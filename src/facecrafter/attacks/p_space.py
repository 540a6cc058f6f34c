"""Where the faces of a StyleGAN2 lie among its styles, and which of many random ones comes near a feature."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.attacks.search import check_shape
from facecrafter.nets.stylegan2 import StyleGenerator

_CHUNK = 100  # styles at a time; constant, so that no result depends on the batch of features
_TRUNCATED_LAYERS = 8  # the coarse ones, as published; up to 32 x 32 pixels these are all


def to_p(w: Tensor) -> Tensor:
    """p = LeakyReLU₅(w): the mapping's last activation, of slope 0.2, is undone; p is nearly normal."""
    return F.leaky_relu(w, 5.0)


def to_w(p: Tensor) -> Tensor:
    """The style w of p."""
    return F.leaky_relu(p, 0.2)


class PSpace:
    """The part of p-space that faces come from, and their images (An et al., MIRROR, NDSS 2022).

    Args:
        prior: the generator; a copy is kept, frozen and in eval mode.
        truncation: ψ: images are made of w̄ + ψ·(w − w̄) in the eight coarsest layers, and of w in the others.
        bound: faces have p within μ ± bound·σ, in every coordinate.
        samples: random latents that μ and σ are estimated from.

    Attributes:
        mean, deviation: μ and σ, each (style_dim,).
    """

    def __init__(self, prior: nn.Module, truncation: float, bound: float, samples: int) -> None:
        if not isinstance(prior, StyleGenerator):
            raise ValueError(
                f"{type(prior).__name__} has no styles to search: the attack needs a StyleGAN2, such as "
                "lightning_modules.StyleGan2 or PretrainedStyleGan2 leave behind"
            )
        if not 0 < truncation <= 1 or bound <= 0 or samples < 2:
            raise ValueError(
                f"truncation={truncation} must lie in (0, 1], bound={bound} be positive and "
                f"samples={samples} at least 2"
            )
        self.generator = copy.deepcopy(prior).eval().requires_grad_(False)
        self.truncation = truncation
        self.bound = bound
        self.mean, self.deviation = self._statistics(samples)

    def on(self, device: torch.device) -> PSpace:
        """The same space, moved to `device`."""
        self.generator.to(device)
        self.mean, self.deviation = self.mean.to(device), self.deviation.to(device)
        return self

    def clip(self, p: Tensor) -> Tensor:
        """The nearest p (..., style_dim) that faces have."""
        reach = self.bound * self.deviation
        return p.clamp(self.mean - reach, self.mean + reach)

    def show(self, w: Tensor) -> Tensor:
        """Styles (N, style_dim) -> images (N, 3, H, W) in [0, 1]."""
        ws = self.generator.per_layer(w)
        average = self.generator.mapping.w_avg
        coarse = average + self.truncation * (ws[:, :_TRUNCATED_LAYERS] - average)
        return self.generator.show(torch.cat([coarse, ws[:, _TRUNCATED_LAYERS:]], dim=1))

    @torch.no_grad()
    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Styles (count, style_dim) of random latents."""
        mapping = self.generator.mapping
        z = torch.randn(count, mapping.latent_dim, generator=random)
        w: Tensor = mapping(z.to(mapping.w_avg))
        return w

    def _statistics(self, samples: int) -> tuple[Tensor, Tensor]:
        """μ and σ, summed up in double precision: all samples at once would fill the memory."""
        random = torch.Generator().manual_seed(0)  # the same space in every attack
        moments = torch.zeros(2, 1, dtype=torch.float64)
        for count in _chunks(samples, 10_000):
            p = to_p(self.draw(count, random)).cpu().double()
            moments = moments + torch.stack([p.sum(dim=0), p.square().sum(dim=0)]) / samples
        mean, square = moments
        deviation = (square - mean.square()).clamp_min(0).sqrt()
        like = self.generator.mapping.w_avg
        return mean.to(like), deviation.to(like)


@torch.no_grad()
def best_starts(
    space: PSpace,
    encode: Callable[[Tensor], Tensor],
    features: Tensor,
    starts: int,
    keep: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Of `starts` random styles, which all features share, those whose images have the nearest features.

    Args:
        space: where the styles come from.
        encode: images (M, 3, H, W) -> features (M, C, h, w).
        features: F (N, C, h, w).
        starts: random styles; as many images are encoded.
        keep: how many each feature gets, at most `starts`.
        seed: of the styles.

    Returns:
        w (N, keep, style_dim), and their losses ‖F − Enc(G(w))‖² (N, keep), the lowest first.

    Raises:
        ValueError: the features do not have the shape of the encoder's output on an image of the prior.
    """
    random = torch.Generator().manual_seed(seed)
    targets = features.flatten(1)
    styles = targets.new_zeros(len(features), 0, len(space.mean))
    losses = targets.new_zeros(len(features), 0)
    for count in _chunks(starts, _CHUNK):
        w = space.draw(count, random).to(targets)
        found = encode(space.show(w))
        check_shape(features, found)
        distances = _squared_distances(targets, found.flatten(1).to(targets))
        losses = torch.cat([losses, distances], dim=1)
        styles = torch.cat([styles, w.expand(len(features), -1, -1)], dim=1)
        losses, order = losses.topk(min(keep, losses.shape[1]), dim=1, largest=False)
        styles = styles.gather(1, order[:, :, None].expand(-1, -1, styles.shape[2]))
    return styles, losses


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, n) and (M, n) -> (N, M), of the differences themselves: a difference of squares cancels."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - begin) for begin in range(0, total, size)]
