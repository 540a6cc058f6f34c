"""Crafter as a defence: Algorithm 1 on every batch of private images; Crafter-z; and both as published."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.crafting_z import LatentCrafting
from facecrafter.crafter.health import advice
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.crafter.reference import SQUARED, UNSQUARED, PublishedCrafting
from facecrafter.precision import Precision
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_artifact, load_reader
from lightning_modules.attackers.amortizer import Amortizer
from lightning_modules.attackers.decoder import Decoder
from lightning_modules.attackers.prior import Prior
from lightning_modules.defences.base import Defence
from lightning_modules.defences.eraser import IdentityEraser

READINGS = {"squared": SQUARED, "unsquared": UNSQUARED}


class CraftingDefence(Defence):
    """Takes a batch through the while loop of an algorithm, step by step.

    Args:
        target: artifact folder of the target network.
        iterations: of the while loop, at most.
        seed, query: see Defence.

    Attributes:
        crafting: the algorithm; `start` opens a batch, `step` moves its state on and returns metrics.
    """

    crafting: FeatureCrafting | LatentCrafting | PublishedCrafting

    randomised = True

    def __init__(self, target: str, iterations: int, seed: int, query: int) -> None:
        super().__init__(target, seed, query)
        self.automatic_optimization = False
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.iterations = iterations

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        with torch.enable_grad():  # prediction switches gradients off; the critic needs its own
            state = self.crafting.start(images, rng)
            while not self.finished(state):
                metrics = self.crafting.step(state)
                self.announce(iteration=state.iteration, iterations=self.iterations, **metrics)
                for warning in advice(metrics):
                    rank_zero_warn(f"{type(self).__name__}, iteration {state.iteration}: {warning}")
        return self.crafting.released(state)

    def finished(self, state: Any) -> bool:
        """Whether the while loop ends here."""
        return bool(state.iteration >= self.iterations)


class Crafter(CraftingDefence):
    """Crafts each feature so that its inversion looks like an average face (paper, Algorithm 1).

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G of the simulated attacker.
        decoder: artifact folder of a decoder, for an inner attacker who has one (`OwnDecoder`).
        eraser: artifact folder of an IdentityEraser, for `WithoutIdentity`.
        iterations: of the while loop, at most.
        tolerance: stop when the root mean square of the last update of F falls below it; 0 runs all
            iterations.
        precision: of the Jacobian products: bf16, 32, or auto (bf16 where the processor or the GPU multiplies
            it natively).
        seed, query: see Defence.
        crafting: settings of `facecrafter.crafter.crafting.FeatureCrafting`, such as `beta`.
    """

    def __init__(
        self,
        target: str,
        prior: str,
        decoder: str | None = None,
        eraser: str | None = None,
        iterations: int = 40,
        tolerance: float = 0.0,
        precision: Precision = "auto",
        seed: int = 0,
        query: int = 0,
        **crafting: Any,
    ) -> None:
        super().__init__(target, iterations, seed, query)
        self.tolerance = tolerance
        loaded = load_artifact(prior, Prior)
        model = AttackerModel(self.encoder, loaded.network, precision)
        # Only inner attackers ask for it; see `attackers`.
        mine = encoder_hash(self.encoder)
        own = load_reader(decoder, Decoder, mine).network if decoder else None
        erases = load_reader(eraser, IdentityEraser, mine).network if eraser else None
        self.crafting = FeatureCrafting(model, head=self.head, decoder=own, eraser=erases, **crafting)

    def finished(self, state: Any) -> bool:
        return super().finished(state) or state.change < self.tolerance


class CrafterZ(CraftingDefence):
    """Crafts the latent of each image so that its image looks average (paper, section V-B, Algorithm 3).

    Every released feature is one that the prior can express. Published: β of 20 and 50 with learning rates
    of 1e-4, 5e-4 and 1e-3 on CelebA; 5, 10 and 20 with 1e-4, 1e-3 and 1e-2 on LFW. The number of iterations
    is not stated; here it is that of the published Crafter.

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G of the simulated attacker.
        iterations: of the while loop.
        precision: of the Jacobian products; see Crafter.
        seed, query: see Defence.
        crafting: settings of `facecrafter.crafter.crafting_z.LatentCrafting`, such as `beta`.
    """

    def __init__(
        self,
        target: str,
        prior: str,
        iterations: int = 500,
        precision: Precision = "auto",
        seed: int = 0,
        query: int = 0,
        **crafting: Any,
    ) -> None:
        super().__init__(target, iterations, seed, query)
        model = AttackerModel(self.encoder, load_artifact(prior, Prior).network, precision)
        self.crafting = LatentCrafting(model, **crafting)


class PublishedCrafter(CraftingDefence):
    """Algorithms 1 and 2 of the paper with its own numbers, in plain autograd: the reference, slow.

    Args:
        target: artifact folder of the target network.
        prior: artifact folder of the generator G of the simulated attacker.
        amortizer: artifact folder of the amortizer, trained on the same two. Without one every inversion of
            an image starts from the same random latent.
        iterations: of the while loop, 450 to 500 in the paper.
        reading: of the inner norm: squared as in the published code, or unsquared as in the paper.
        seed, query: see Defence.
        crafting: settings of `facecrafter.crafter.reference.PublishedCrafting`, such as `beta`.
    """

    def __init__(
        self,
        target: str,
        prior: str,
        amortizer: str | None = None,
        iterations: int = 500,
        reading: Literal["squared", "unsquared"] = "squared",
        seed: int = 0,
        query: int = 0,
        **crafting: Any,
    ) -> None:
        super().__init__(target, iterations, seed, query)
        loaded = load_artifact(prior, Prior)
        start = load_artifact(amortizer, Amortizer).amortizer if amortizer else None
        self.crafting = PublishedCrafting(
            self.encoder,
            loaded.network,
            loaded.latent_dim,
            amortizer=start,
            reading=READINGS[reading],
            **crafting,
        )
