"""Progressive feature optimisation: from the latent down the generator, one intermediate layer at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from facecrafter.attacks.descent import Descent, descend
from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction, random_latents
from facecrafter.attacks.search import ToldToPhi, restarts_apart, search_latents
from facecrafter.crafter.inversion import AttackerModel, squared_distance
from facecrafter.precision import Precision


class Progressive(Attack):
    """Frees an inversion from the prior's latent, block by block, as far as the feature asks for it.

    After the search for the latent, the input of the generator's first transposed convolution is optimised
    against ‖F − Enc(·)‖² within a ball around what the latent makes of it, then that of the second, and so on
    (intermediate layer optimisation, Daras et al. 2021; for model inversion Qiu et al. 2024). Each rung can
    express more faces than the one before, and the ball keeps it near those of the prior. Every rung starts
    from the best point of the one before and keeps its own best, so no rung raises the attack's loss. All
    distances run over the channels that were told; see `ToldChannels`.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: the generator G, a chain with a transposed convolution in front of each block.
        iterations: linearisations of the search for the latent, per restart.
        restarts: random normal starts per image.
        rungs: steps of Adam on the input of the first, second, ... transposed convolution.
        radius: of the ball, in units of the l2 norm of the activation it is drawn around.
        learning_rate: of Adam, in units of an activation.
        steps: conjugate-gradient steps per linearisation.
        precision: of the Jacobian products of the search; see `WhiteBox`.
    """

    VERSION = 2
    access = "white"
    describe = (
        "Knows the encoder and has a generator of faces: searches its latents, then opens its layers in turn."
    )

    def __init__(
        self,
        encoder: nn.Module,
        prior: nn.Module,
        iterations: int = 40,
        restarts: int = 3,
        rungs: Sequence[int] = (50, 50),
        radius: float = 0.2,
        learning_rate: float = 0.01,
        steps: int = 12,
        precision: Precision = "auto",
    ) -> None:
        if iterations < 1 or restarts < 1 or radius <= 0:
            raise ValueError(
                f"iterations={iterations} and restarts={restarts} must both be at least 1, and "
                f"radius={radius} positive"
            )
        self.iterations = iterations
        self.restarts = restarts
        self.rungs = tuple(rungs)
        self.radius = radius
        self.learning_rate = learning_rate
        self.steps = steps
        self.model = AttackerModel(encoder, prior, precision)
        self.told = ToldToPhi(self.model)
        self.blocks = _blocks(self.model.generator)
        if not 1 <= len(self.rungs) < len(self.blocks):
            raise ValueError(
                f"rungs={list(self.rungs)} must name 1 to {len(self.blocks) - 1} budgets: the prior has "
                f"{len(self.blocks) - 1} transposed convolutions"
            )

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        reports = _parts(progress, (self.iterations, *self.rungs))
        starts = random_latents(rows, self.restarts, self.model.latent_dim, seed)
        found = search_latents(self.told, features, starts, self.iterations, self.steps, reports[0])
        # As `search_latents` lays them out: the restarts of an image one behind the other.
        targets = features.repeat_interleave(self.restarts, dim=0)
        told = self.told(targets)
        best = Descent(found.z, found.loss)
        for rung in range(len(self.rungs)):
            best = self._climb(rung, best.point, targets, told, reports[rung + 1])
        with torch.no_grad():
            # The last point is the input of the first block that was not opened.
            images: Tensor = nn.Sequential(*self.blocks[len(self.rungs) :])(best.point)
        return restarts_apart(images, best.loss, self.restarts)

    def _climb(
        self, rung: int, point: Tensor, targets: Tensor, told: Tensor, progress: Progress | None
    ) -> Descent:
        """Optimises what block `rung` makes of `point`, by the channels that were told."""
        with torch.no_grad():
            centre = self.blocks[rung](point)
        # `centre` is both where Adam starts and what the ball is around, so `project` leaves the start alone.
        rest = nn.Sequential(*self.blocks[rung + 1 :], self.model.encoder)

        def objective(activation: Tensor) -> Tensor:
            return squared_distance(targets, rest(activation) * told)

        def project(activation: Tensor) -> Tensor:
            return into_ball(activation, centre, self.radius)

        return descend(objective, centre, self.rungs[rung], self.learning_rate, project, progress)


def into_ball(point: Tensor, centre: Tensor, radius: float) -> Tensor:
    """The nearest point with ‖x − centre‖₂ ≤ radius·‖centre‖₂, per sample (N, ...)."""
    shift, sides = point - centre, tuple(range(1, point.ndim))
    length = torch.linalg.vector_norm(shift, dim=sides, keepdim=True)
    allowed = radius * torch.linalg.vector_norm(centre, dim=sides, keepdim=True)
    share: Tensor = (allowed / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1)
    return centre + share * shift


def _blocks(generator: nn.Module) -> list[nn.Sequential]:
    """The generator, cut in front of each of its transposed convolutions."""
    layers = list(generator.children()) if isinstance(generator, nn.Sequential) else []
    cuts = [place for place, layer in enumerate(layers) if isinstance(layer, nn.ConvTranspose2d)]
    if not cuts:
        raise ValueError(
            f"{type(generator).__name__} is no chain of layers with transposed convolutions, so it has no "
            "blocks to open one after the other; attack through G1 or G2"
        )
    bounds = [0, *cuts, len(layers)]
    return [nn.Sequential(*layers[begin:end]) for begin, end in pairwise(bounds)]


def _parts(progress: Progress | None, budgets: Sequence[int]) -> Sequence[Progress | None]:
    """A progress for each part of the work, which counts on where the part before it ended."""
    if progress is None:
        return [None] * len(budgets)
    report, total = progress, sum(budgets)

    def part(before: int) -> Progress:
        return lambda done, _: report(before + done, total)

    return [part(before) for before in accumulate(budgets, initial=0)][:-1]
