"""What attacks through a prior share: the search for latents, and the check of what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from facecrafter.attacks.reconstruction import Progress, Reconstruction, random_latents
from facecrafter.batches import BATCH
from facecrafter.crafter.inversion import AttackerModel, Inversion, Response, invert
from facecrafter.crafter.jacobian import Linearization
from facecrafter.nets.through_head import ThroughHead
from facecrafter.nets.withheld import Fill, absent

FACES = 256
"""Of the prior, from which an attacker learns what is usual in a feature; from a seed of their own."""


class ToldChannels:
    """Which channels of a feature its sender told, for an attacker with a generator of faces; see `Fill`.

    What is usual the attacker sees in the features of its own generator's faces. They are looked at once, and
    not before a feature has a channel that is zero throughout. Nobody withholds what f makes of a feature in
    a layer behind the split: where the encoder ends there, everything was told.

    Args:
        encoder: images -> features (N, C, h, w).
        usual: like a tensor, whose device and type they have -> features of `FACES` faces, a few at a time.
    """

    def __init__(self, encoder: nn.Module, usual: Callable[[Tensor], Iterable[Tensor]]) -> None:
        self._is_feature = not any(isinstance(part, ThroughHead) for part in encoder.modules())
        self._usual = usual
        self._fill: Fill | None = None

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """(N, C, 1, 1), of the type of the features (N, C, h, w): 1 where a channel was told, else 0.

        Raises:
            ValueError: a channel is zero throughout, and the features have another shape than the faces'.
        """
        if not self._is_feature or not absent(features).any():
            return torch.ones_like(features[:, :, :1, :1])
        self._fill = self._fill or self._learnt(features)
        return self._fill.to(features.device).told(features).to(features.dtype)

    def _learnt(self, like: Tensor) -> Fill:
        parts = list(self._usual(like))
        check_shape(like, parts[0])
        fill = Fill((like.shape[1], like.shape[2], like.shape[3])).to(like)
        fill.learn(parts)
        return fill


class ToldToPhi(ToldChannels):
    """`ToldChannels` for an attacker who inverts φ = Enc∘G.

    Args:
        model: φ, where the features are (`place_model`).
    """

    def __init__(self, model: AttackerModel) -> None:
        super().__init__(model.encoder, self._of_latents)
        self.model = model

    def phi(self, features: Tensor) -> Callable[[Tensor], Response]:
        """φ on the channels that the features (N, C, h, w) tell, for `invert`."""
        told = self(features)
        # Not masked where there is nothing to mask: it would not change the result, only take time.
        return self.model if told.all() else only_told(self.model, told)

    def _of_latents(self, like: Tensor) -> Iterator[Tensor]:
        latents = random_latents(torch.arange(FACES), 1, self.model.latent_dim, seed=0).flatten(0, 1)
        for part in torch.split(latents.to(like), BATCH):
            yield self.model.encoder(self.model.generator(part))


def only_told(phi: Callable[[Tensor], Response], told: Tensor) -> Callable[[Tensor], Response]:
    """φ without the channels that were withheld: its features and their derivatives are zero there.

    Args:
        phi: latents (N, d) -> the response there.
        told: (N, C, 1, 1), 1 where the channel was told, else 0.
    """

    def response(z: Tensor) -> Response:
        at = phi(z)
        mask = Linearization(lambda v: v * told, lambda u: u * told)
        return at._replace(features=at.features * told, d_phi=mask @ at.d_phi)

    return response


def search_latents(
    told: ToldToPhi,
    features: Tensor,
    starts: Tensor,
    iterations: int,
    steps: int,
    progress: Progress | None = None,
) -> Inversion:
    """Inverts every feature (N, C, h, w) from each of its starts (N, R, d); the result is flat, N·R long.

    Distances run over the channels that were told.

    Raises:
        ValueError: the features do not have the shape of the encoder's output on an image of the prior.
    """
    place_model(told.model, features)
    # The restarts of an image stand one behind the other, as `restarts_apart` reads them.
    targets = features.repeat_interleave(starts.shape[1], dim=0)
    start = starts.flatten(0, 1).to(features)
    return invert(told.phi(targets), targets, start, iterations, steps, progress=progress)


def place_model(model: AttackerModel, features: Tensor) -> None:
    """Moves the attacker's networks to where the features are, and sees that they speak of such features.

    Raises:
        ValueError: the features do not have the shape of the encoder's output on an image of the prior.
    """
    model.to(features.device)
    check_shape(features, model(features.new_zeros(1, model.latent_dim)).features)


def restarts_apart(images: Tensor, losses: Tensor, restarts: int) -> Reconstruction:
    """Flat images (N·R, 3, H, W) and losses (N·R,) as the reconstruction of N features in R restarts."""
    images = images.detach().reshape(-1, restarts, *images.shape[1:])
    return Reconstruction(images.float(), losses.detach().reshape(-1, restarts).float())


def check_shape(features: Tensor, expected: Tensor) -> None:
    """Refuse features that the encoder cannot have made.

    Raises:
        ValueError: naming both shapes.
    """
    if features.shape[1:] != expected.shape[1:]:
        raise ValueError(
            f"the features are {tuple(features.shape[1:])} per image, but the encoder makes "
            f"{tuple(expected.shape[1:])} of the attacker's images; use the encoder and size they came from"
        )
