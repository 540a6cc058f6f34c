"""MIRROR through a StyleGAN2, black-box (An et al., NDSS 2022): a genetic algorithm among styles of faces."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.attacks.mirror.p_space import PSpace, to_p, to_w
from facecrafter.attacks.mirror.style_model import StyleModel, best_starts, told_to
from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction
from facecrafter.crafter.inversion import squared_distance
from facecrafter.precision import Precision
from facecrafter.randomness import seeded

_IMAGES_AT_ONCE = 256


class MirrorGenetic(Attack):
    """Minimises ‖F − Enc(G(w))‖² per image over the style w, asking the encoder for features only.

    The first population is the best of many random styles. The best of a generation lives on; all others
    give way to children of two parents each, drawn with probabilities softmax(−loss), the losses
    standardised within the population: the encoder's units must not decide how hard is selected. A child
    takes each coordinate of p from one of its parents, the more likely from the one with the lower loss;
    some coordinates mutate, and p is clipped as in `Mirror`. The result for an image does not depend on the
    images beside it. Distances run over the channels that were told; see `ToldChannels`.

    Args:
        encoder: images (N, 3, H, W) in [0, 1] -> features (N, C, h, w); used in eval mode.
        prior: a StyleGAN2.
        queries: images per feature that the encoder may be asked for, random styles included; the faces that
            say what is usual are asked for once, for all features.
        starts: random styles; all images share them.
        population: styles per image.
        mutation_rate: probability of each coordinate of a child to mutate.
        mutation: a mutation adds noise that is uniform within ± this many σ.
        truncation: ψ, see `StyleModel`.
        bound, samples: see `PSpace`.
        precision: of the search; see `StyleModel`.
    """

    VERSION = 2
    access = "black"
    describe = (
        "May ask the encoder for features and has a StyleGAN2 of faces: breeds the styles whose features fit."
    )

    def __init__(
        self,
        encoder: nn.Module,
        prior: nn.Module,
        queries: int = 12_000,
        starts: int = 2_000,
        population: int = 100,
        mutation_rate: float = 0.1,
        mutation: float = 0.5,
        truncation: float = 0.7,
        bound: float = 1.0,
        samples: int = 100_000,
        precision: Precision = "auto",
    ) -> None:
        self.generations = (queries - starts - 1) // max(population - 1, 1)  # what is shown is encoded again
        if not 2 <= population <= starts or self.generations < 1:
            raise ValueError(
                f"queries={queries} must pay for starts={starts} and one generation of "
                f"population={population}, which is at least 2 and at most starts"
            )
        if not 0 <= mutation_rate <= 1 or mutation < 0:
            raise ValueError(
                f"mutation_rate={mutation_rate} must lie in [0, 1] and mutation={mutation} not be negative"
            )
        self.starts = starts
        self.population = population
        self.mutation_rate = mutation_rate
        self.mutation = mutation
        self.model = StyleModel(encoder, prior, truncation, precision)
        self.space = PSpace(self.model.generator.mapping, bound, samples)
        self.told = told_to(self.model, self.space)

    @torch.no_grad()
    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        self.model.place(features.device)
        randoms = [seeded(seed, row) for row in rows.tolist()]
        told = self.told(features)
        w, loss = best_starts(self.model, self.space, features, told, self.starts, self.population, seed)
        p = to_p(w)
        for generation in range(self.generations):
            p, loss = self._next_generation(p, loss, (features, told), randoms)
            if progress:
                progress(generation + 1, self.generations)
        return self.model.reconstruction(to_w(p[:, :1]), features, told)

    def _next_generation(
        self, p: Tensor, loss: Tensor, sent: tuple[Tensor, Tensor], randoms: list[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """The elite of each population p (N, P, d), loss (N, P) and P − 1 children, the best first."""
        children = torch.stack(
            [self._children(*family) for family in zip(p.cpu(), loss.cpu(), randoms, strict=True)]
        )
        children = self.space.clip(children.to(p))
        # The best of a generation is not encoded again: its loss is known, and the attack pays by the query.
        p = torch.cat([p[:, :1], children], dim=1)
        loss = torch.cat([loss[:, :1], self._distances(children, *sent)], dim=1)
        loss, order = loss.sort(dim=1, stable=True)
        return p.gather(1, order[:, :, None].expand_as(p)), loss

    def _children(self, p: Tensor, loss: Tensor, rng: torch.Generator) -> Tensor:
        """P − 1 mutated children of one population: p (P, d), loss (P,) -> p (P − 1, d), not yet clipped."""
        fitness = -(loss - loss.mean()) / loss.std().clamp_min(torch.finfo(loss.dtype).tiny)
        count = 2 * (len(p) - 1)
        parents = torch.multinomial(fitness.softmax(dim=0), count, replacement=True, generator=rng)
        mothers, fathers = parents.chunk(2)
        total = (loss[mothers] + loss[fathers]).clamp_min(torch.finfo(loss.dtype).tiny)
        # From the image's own generator, all at once: no other image can shift them.
        draws = torch.rand(3, len(mothers), p.shape[1], generator=rng, dtype=p.dtype)
        from_mother = draws[0] < (loss[fathers] / total)[:, None]
        noise = self.mutation * (2 * draws[2] - 1) * self.space.deviation.to(p)
        mutation = torch.where(draws[1] < self.mutation_rate, noise, 0)
        return torch.where(from_mother, p[mothers], p[fathers]) + mutation

    def _distances(self, p: Tensor, features: Tensor, told: Tensor) -> Tensor:
        """‖F − Enc(G(w))‖² of styles p (N, M, d), over the channels that were told: (N, M)."""
        styles = to_w(p).flatten(0, 1)
        targets, masks = (each.repeat_interleave(p.shape[1], dim=0) for each in (features, told))
        parts = (slice(begin, begin + _IMAGES_AT_ONCE) for begin in range(0, len(styles), _IMAGES_AT_ONCE))
        losses = [
            squared_distance(targets[part], self.model.features(styles[part]) * masks[part]) for part in parts
        ]
        return torch.cat(losses).reshape(p.shape[:2])
