"""MIRROR through a StyleGAN2, white-box (An et al., NDSS 2022): gradient descent among styles of faces."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from facecrafter.attacks.descent import Descent, better
from facecrafter.attacks.mirror.p_space import PSpace, to_p, to_w
from facecrafter.attacks.mirror.style_model import StyleModel, best_starts, told_to
from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction
from facecrafter.crafter.inversion import squared_distance
from facecrafter.precision import Precision

_RISE, _FALL = 0.05, 0.25  # parts of the search in which the learning rate goes up and down


class Mirror(Attack):
    """Minimises ‖F − Enc(G(w))‖² per image over the style w, kept where the styles of faces are.

    The search starts from the best of many random styles. After every step of Adam, p = LeakyReLU₅(w) is
    clipped to μ ± bound·σ and mapped back to w. The best style of the path is kept, the start included, and
    the result for an image does not depend on the images beside it. Distances run over the channels that
    were told; see `ToldChannels`.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: a StyleGAN2.
        iterations: steps of Adam per restart.
        restarts: searches per image, from the best random style, the second best, ...
        starts: random styles that these are chosen from; all images share them.
        learning_rate: of Adam, the highest (published: 0.2 to 0.25); it rises over the first 5% of the steps
            and falls along a cosine over the last 25%.
        truncation: ψ, see `StyleModel`.
        bound, samples: see `PSpace`.
        flips: at random steps the image is mirrored before it is encoded, as published for a classifier,
            whose people are the same in a mirror; a picture's feature is not. Such steps are not judged.
        precision: of the search; see `StyleModel`.
    """

    VERSION = 2
    access = "white"
    describe = (
        "Knows the encoder and has a StyleGAN2 of faces: searches its styles, kept where those of faces are."
    )

    def __init__(
        self,
        encoder: nn.Module,
        prior: nn.Module,
        iterations: int = 300,
        restarts: int = 1,
        starts: int = 2_000,
        learning_rate: float = 0.2,
        truncation: float = 0.7,
        bound: float = 1.0,
        samples: int = 100_000,
        flips: bool = False,
        precision: Precision = "auto",
    ) -> None:
        if iterations < 1 or restarts < 1 or starts < restarts or learning_rate <= 0:
            raise ValueError(
                f"iterations={iterations} and restarts={restarts} must be at least 1, starts={starts} no "
                f"fewer than restarts, and learning_rate={learning_rate} positive"
            )
        self.iterations = iterations
        self.restarts = restarts
        self.starts = starts
        self.learning_rate = learning_rate
        self.flips = flips
        self.model = StyleModel(encoder, prior, truncation, precision)
        self.space = PSpace(self.model.generator.mapping, bound, samples)
        self.told = told_to(self.model, self.space)

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        self.model.place(features.device)
        told = self.told(features)
        starts, _ = best_starts(self.model, self.space, features, told, self.starts, self.restarts, seed)
        # Of each restart, the feature and which of its channels were told.
        targets, masks = (each.repeat_interleave(self.restarts, dim=0) for each in (features, told))
        found = self._search((targets, masks), starts.flatten(0, 1), seed, progress)
        return self.model.reconstruction(found.point.reshape(starts.shape), features, told)

    def _search(
        self, targets: tuple[Tensor, Tensor], start: Tensor, seed: int, progress: Progress | None
    ) -> Descent:
        """The best w of the paths from `start` (N, style_dim), and its loss in the search's precision."""
        w = start.clone().requires_grad_()
        best = Descent(start, torch.full_like(start[:, 0], torch.inf))
        optimizer = torch.optim.Adam([w], self.learning_rate)
        # The coin follows from seed and iteration alone, so not from the batch that an image is in.
        rng = torch.Generator().manual_seed(seed)
        for iteration in range(self.iterations):
            flip = self.flips and bool(torch.rand((), generator=rng) < 0.5)
            loss = self._distance(w, targets, flip)
            (w.grad,) = torch.autograd.grad(loss.sum(), w)
            if not flip:
                best = better(best, w.detach(), loss.detach())
            optimizer.param_groups[0]["lr"] = self.learning_rate * ramp(iteration, self.iterations)
            optimizer.step()
            with torch.no_grad():
                w.copy_(to_w(self.space.clip(to_p(w))))
            if progress:
                progress(iteration + 1, self.iterations)
        with torch.no_grad():
            return better(best, w.detach(), self._distance(w, targets, flip=False).detach())

    def _distance(self, w: Tensor, targets: tuple[Tensor, Tensor], flip: bool) -> Tensor:
        """‖F − Enc(G(w))‖² (N,), over the channels that were told."""
        features, told = targets
        with torch.enable_grad():
            return squared_distance(features, self.model.features(w, flip) * told)


def ramp(iteration: int, iterations: int) -> float:
    """The learning rate as a part of the highest, positive from the first step (0) to the last."""
    done = (iteration + 1) / (iterations + 1)
    fall = min(1.0, (1 - done) / _FALL)
    return min(1.0, done / _RISE) * (1 - math.cos(math.pi * fall)) / 2
