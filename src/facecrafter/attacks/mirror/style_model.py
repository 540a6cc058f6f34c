"""What an attacker with a StyleGAN2 compares: the features of styles, and which random ones come near."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from facecrafter.attacks.mirror.p_space import PSpace
from facecrafter.attacks.reconstruction import Reconstruction
from facecrafter.attacks.search import FACES, ToldChannels, check_shape, restarts_apart
from facecrafter.crafter.inversion import squared_distance
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.stylegan2.generator import StyleGenerator
from facecrafter.precision import Precision, fast_dtype

_CHUNK = 100  # random styles at a time; constant, so that no result depends on the batch of features
_TRUNCATED_LAYERS = 8  # the coarse ones, as published; up to 32 x 32 pixels these are all


class StyleModel:
    """Enc∘G of styles, frozen.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w).
        prior: a StyleGAN2.
        truncation: ψ: images are made of w̄ + ψ·(w − w̄) in the eight coarsest layers and of w in the others.
        precision: that distances are computed in: ``bf16``, ``32`` (the networks' own), or ``auto``: bf16
            where the device multiplies it in hardware. Results are in the networks' own.
    """

    def __init__(self, encoder: nn.Module, prior: nn.Module, truncation: float, precision: Precision) -> None:
        if not isinstance(prior, StyleGenerator):
            raise ValueError(
                f"{type(prior).__name__} has no styles to search: the attack needs a StyleGAN2, as "
                "lightning_modules.StyleGan2 and PretrainedStyleGan2 leave behind"
            )
        if not 0 < truncation <= 1:
            raise ValueError(f"truncation={truncation} must lie in (0, 1]")
        self.truncation = truncation
        self.precision: Precision = precision
        self.encoder = fold_batchnorm(encoder).to(memory_format=torch.channels_last)
        self.generator = copy.deepcopy(prior).eval().requires_grad_(False)
        self.place(next(self.encoder.parameters()).device)

    def place(self, device: torch.device) -> None:
        """Moves the networks to `device`, and computes in the precision that is fast there."""
        self.dtype = fast_dtype(self.precision, device)
        self.encoder.to(device)
        self.generator.to(device)

    def show(self, w: Tensor) -> Tensor:
        """Styles (N, style_dim) -> images (N, 3, H, W) in [0, 1]."""
        ws, average = self.generator.per_layer(w), self.generator.mapping.w_avg
        coarse = average + self.truncation * (ws[:, :_TRUNCATED_LAYERS] - average)
        return self.generator.show(torch.cat([coarse, ws[:, _TRUNCATED_LAYERS:]], dim=1))

    def features(self, w: Tensor, flip: bool = False) -> Tensor:
        """Styles (N, style_dim) -> features (N, C, h, w) of their images, which `flip` mirrors, as float."""
        with torch.autocast(w.device.type, self.dtype, enabled=self.dtype is not None):
            images = self.show(w)
            features: Tensor = self.encoder(images.flip(3) if flip else images)
        return features.to(w.dtype)

    @torch.no_grad()
    def reconstruction(self, w: Tensor, features: Tensor, told: Tensor) -> Reconstruction:
        """The images of styles (N, R, style_dim) found for features (N, C, h, w), and their losses over the
        channels that were told (N, C, 1, 1)."""
        restarts = w.shape[1]
        images = self.show(w.flatten(0, 1))
        targets, told = (each.repeat_interleave(restarts, dim=0) for each in (features, told))
        losses = squared_distance(targets, self.encoder(images) * told)
        return restarts_apart(images, losses, restarts)


def told_to(model: StyleModel, space: PSpace) -> ToldChannels:
    """Which channels of a feature were told to whom the model's faces, of styles from `space`, are usual."""

    def usual(like: Tensor) -> Iterator[Tensor]:
        styles = space.draw(FACES, torch.Generator().manual_seed(0)).to(like)
        yield from (model.features(part) for part in torch.split(styles, _CHUNK))

    return ToldChannels(model.encoder, usual)


@torch.no_grad()
def best_starts(
    model: StyleModel, space: PSpace, features: Tensor, told: Tensor, starts: int, keep: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The best of `starts` random styles, which all features share: their images have the nearest features.

    Args:
        model: gives the features of styles.
        space: where the styles come from.
        features: F (N, C, h, w).
        told: (N, C, 1, 1), 1 where a channel was told, else 0.
        starts: random styles; as many images are encoded.
        keep: how many each feature gets, at most `starts`.
        seed: of the styles.

    Returns:
        w (N, keep, style_dim), and their losses ‖F − Enc(G(w))‖² (N, keep), the lowest first.

    Raises:
        ValueError: the features do not have the shape of the encoder's output on an image of the prior.
    """
    rng = torch.Generator().manual_seed(seed)
    styles = features.new_zeros(len(features), 0, len(space.mean))
    losses = features.new_zeros(len(features), 0)
    for begin in range(0, starts, _CHUNK):
        w = space.draw(min(_CHUNK, starts - begin), rng).to(features)
        found = model.features(w)
        check_shape(features, found)
        losses = torch.cat([losses, _squared_distances(features, found, told)], dim=1)
        styles = torch.cat([styles, w.expand(len(features), -1, -1)], dim=1)
        # Only the best so far are kept: thousands of styles with their features would not fit into memory.
        losses, order = losses.topk(min(keep, losses.shape[1]), dim=1, largest=False)
        styles = styles.gather(1, order[:, :, None].expand(-1, -1, styles.shape[2]))
    return styles, losses


def _squared_distances(a: Tensor, b: Tensor, told: Tensor) -> Tensor:
    """(N, C, h, w) and (M, C, h, w) -> (N, M), over the channels of each a that were told (N, C, 1, 1)."""
    if told.all():
        return _all_squared_distances(a, b)
    # One after the other: each has channels of its own, and N x M features would not fit into memory.
    return torch.cat([_all_squared_distances(a[row, None], b * mask) for row, mask in enumerate(told)])


def _all_squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, ...) and (M, ...) -> (N, M), of the differences themselves: a difference of squares cancels."""
    return torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").square()
