"""What every attack is and returns, and the randomness it starts from."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor


class Progress(Protocol):
    """Called now and then with the steps done and the steps there are."""

    def __call__(self, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Reconstruction:
    """Images an attack made of N features in R restarts.

    Attributes:
        images: (N, R, 3, H, W) float32 in [0, 1].
        losses: (N, R) float32, the attack's own loss per restart; all it may choose by.
    """

    images: Tensor
    losses: Tensor

    def best(self) -> Tensor:
        """(N, 3, H, W): for each image, the restart with the attack's own lowest loss."""
        return self.images[torch.arange(len(self.images)), self.losses.argmin(dim=1)]


class Attack(ABC):
    """An attacker: frozen networks and plain numbers when constructed, images from features in `reconstruct`.

    A subclass says what its attacker may do and does, and implements `_reconstruct`. Its argument `encoder`,
    if it has one, is given the network that made the features.

    Attributes:
        access: `white` if the attacker can differentiate the encoder, else `black`.
        describe: what the attacker has and does, a sentence for the threat model.
    """

    access: ClassVar[Literal["white", "black"]]
    describe: ClassVar[str]

    def reconstruct(
        self,
        features: Tensor,
        rng: torch.Generator,
        progress: Progress | None = None,
        rows: Tensor | None = None,
    ) -> Reconstruction:
        """What the attacker makes of N features.

        The result for an image depends on its feature, its row and the seed, never on the batch it is in.

        Args:
            features: (N, C, h, w), what the encoder is thought to have made.
            rng: gives its initial seed, from which whatever is random is drawn.
            progress: called after every step.
            rows: (N,) int64, the images' row numbers; 0..N-1 if not given.

        Raises:
            ValueError: the features are of another shape than the attacker's networks read or make, or what
                it makes is no Reconstruction of them.
        """
        rows = torch.arange(len(features)) if rows is None else rows
        made = self._reconstruct(features, rows, rng.initial_seed(), progress)
        _refuse_other_kinds(made, len(features), type(self).__name__)
        return made

    @abstractmethod
    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        """`reconstruct`, with its defaults filled in; what is random for an image comes from (seed, row)."""


def _refuse_other_kinds(made: object, n: int, attack: str) -> None:
    """An attack may be anybody's."""
    if not isinstance(made, Reconstruction):
        raise ValueError(f"{attack}._reconstruct returned a {type(made).__name__}, not a Reconstruction")
    images, losses = tuple(made.images.shape), tuple(made.losses.shape)
    if len(images) != 5 or images[0] != n or images[2] != 3 or images[:2] != losses:
        raise ValueError(
            f"{attack} reconstructs images {images} with losses {losses} from {n} features: they must be "
            "(N, R, 3, H, W) and (N, R), R the restarts, 1 if there is one"
        )
    if not made.images.isfinite().all():
        raise ValueError(f"{attack} reconstructs images that are not finite: lower its learning rate")


def random_latents(rows: Tensor, restarts: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal starts (N, R, d), float64 on the CPU.

    The starts of an image depend on ``seed`` and its row alone, and restart r on no later restart: neither
    the batch an image is in nor the number of restarts changes what it starts from.
    """
    return torch.stack([_latents_of(row, restarts, latent_dim, seed) for row in rows.tolist()])


def _latents_of(row: int, restarts: int, latent_dim: int, seed: int) -> Tensor:
    # Neighbouring seeds give correlated streams in some random generators, hashed ones do not.
    digest = hashlib.sha256(f"{seed}/{row}".encode()).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    starts = [torch.randn(latent_dim, generator=rng, dtype=torch.float64) for _ in range(restarts)]
    return torch.stack(starts)
