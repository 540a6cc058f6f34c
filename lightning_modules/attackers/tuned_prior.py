"""A1 white-box: the generator tuned to what a defence makes of the attacker's own images (Eq. 35)."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from itertools import cycle, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from facecrafter import ranks
from facecrafter.attacks import random_latents
from facecrafter.attacks.search import ToldToPhi
from facecrafter.crafter.inversion import AttackerModel, invert, squared_distance
from facecrafter.precision import Precision
from lightning_modules.artifacts import FeatureReader, load_artifact
from lightning_modules.attackers.prior import Prior
from lightning_modules.checks import refuse_other_pairs

RATES = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
"""What is tried where no learning rate is given, on held-out pairs of the attacker's own images; by 0 the
prior stays as it is."""
TRIAL = 30
"""Steps of a trial."""
WARM_UP = 20
"""Steps over which the learning rate rises, as long as RMSprop's squares are mostly those of its start."""


class TunedPrior(FeatureReader):
    """Minimises ‖G(z*(F*)) − X‖² over the weights of G, on pairs of protected feature F* and image X.

    z* is the best response to F* of the generator as it was when the epoch began, and no gradient flows
    through it. It starts where the epoch before left it, so that only an image's first inversion is a long
    one; the checkpoint keeps it. Channels that the defence withheld are left out of its distance, as attacks
    do (`ToldChannels`). Batch norms keep their stored statistics.

    An attack uses it as its prior. The checkpoint of epoch 0 is the prior that tuning starts from.

    Published is RMSprop with 1e-3. It does not correct the bias of its first squares, so that its first step
    moves every weight by ten learning rates: at 1e-3 more than half of what most weights are. Here the rate
    rises over the first steps, and is chosen by what a few of them do for images that are held out.

    Args:
        prior: artifact folder of the generator to tune.
        encoder: artifact folder of the target network or defence whose features are inverted.
        iterations: linearisations of an image's first inversion.
        refinements: linearisations of its inversion in every later epoch.
        steps: conjugate-gradient steps per linearisation.
        learning_rate: of RMSprop; without one, that of `RATES` which brings held-out images nearest.
        precision: of the Jacobian products: bf16, 32, or auto (bf16 where the processor multiplies it).
    """

    VERSION = 4

    def __init__(
        self,
        prior: str,
        encoder: str,
        iterations: int = 40,
        refinements: int = 5,
        steps: int = 12,
        learning_rate: float | None = None,
        precision: Precision = "auto",
    ) -> None:
        super().__init__(encoder)
        if iterations < 1 or refinements < 1:
            raise ValueError(f"iterations={iterations} and refinements={refinements} must both be at least 1")
        self.generator = load_artifact(prior, Prior).network.requires_grad_(True)
        self.iterations = iterations
        self.refinements = refinements
        self.steps = steps
        self.learning_rate = learning_rate
        self.precision: Precision = precision
        self._latents: dict[int, Tensor] = {}  # z* (d,) by row

    @property
    def network(self) -> nn.Module:
        """What an attack uses: latents (N, d) -> images (N, 3, H, W) in [0, 1]."""
        return self.generator

    def setup(self, stage: str) -> None:
        if stage == "fit":
            refuse_other_pairs(self)

    def on_fit_start(self) -> None:
        self._seed = torch.initial_seed()
        self._invert_through_current()  # validation may come before the first epoch

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the rate that was chosen, and the best responses unless only weights are saved."""
        checkpoint["learning_rate"] = self.learning_rate
        if "optimizer_states" in checkpoint:
            checkpoint["best_responses"] = [
                {row: latent.cpu().clone() for row, latent in self._latents.items()}
            ]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the rate, since a resumed run has no prior left to try rates on, and the best responses."""
        self.learning_rate = checkpoint.get("learning_rate", self.learning_rate)
        parts = checkpoint.get("best_responses", [])
        self._latents = {row: latent.to(self.device) for part in parts for row, latent in part.items()}

    def on_train_epoch_start(self) -> None:
        self.generator.eval()
        self._invert_through_current()

    def _invert_through_current(self) -> None:
        """Takes the generator as it is now for the one that features are inverted through."""
        self._phi = AttackerModel(self.encoder.on(self.device), self.generator, self.precision)
        self._told = ToldToPhi(self._phi)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self._distance(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        loss = self._distance(batch)
        self.log("val/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch["image"]))

    def configure_optimizers(self) -> dict[str, Any]:
        if self.learning_rate is None:
            self.learning_rate = self._chosen_rate()
        optimizer, schedule = self._rising(self.learning_rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rising(self, rate: float) -> tuple[Optimizer, LRScheduler]:
        optimizer = torch.optim.RMSprop(self.generator.parameters(), rate)
        return optimizer, LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))

    def _chosen_rate(self) -> float:
        """That of `RATES` after whose trial the held-out images are nearest to their reconstructions."""
        self.generator.eval()
        self._seed = torch.initial_seed()
        # Every trial starts from these weights, and so does the training after them.
        before = deepcopy(self.generator.state_dict())
        data = self.trainer.datamodule
        trained, held_out = map(self._some, (data.train_dataloader(), data.val_dataloader()))
        trained = [{name: ranks.gathered(value) for name, value in batch.items()} for batch in trained]
        with ranks.alone():  # DDP shares gradients of `training_step` alone
            distances = {rate: self._after_trial(rate, trained, held_out, before) for rate in RATES}
        return min(distances, key=distances.__getitem__)

    def _some(self, loader: Iterable[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """As many batches as a trial has steps, at most."""
        first = islice(loader, TRIAL)
        return [{name: value.to(self.device) for name, value in batch.items()} for batch in first]

    def _after_trial(
        self,
        rate: float,
        trained: list[dict[str, Tensor]],
        held_out: list[dict[str, Tensor]],
        before: dict[str, Tensor],
    ) -> float:
        """The distance of the held-out images after a trial from `before`, which is restored."""
        self._invert_through_current()
        optimizer, schedule = self._rising(rate)
        for batch in islice(cycle(trained), TRIAL):
            optimizer.zero_grad()
            with torch.enable_grad():
                self._distance(batch).backward()
            optimizer.step()
            schedule.step()
        # The held-out images are inverted through the tuned G, as an attack would; what that leaves in
        # `_latents` is no start for the next trial.
        responses = dict(self._latents)  # to the generator that every trial starts from
        self._invert_through_current()
        with torch.no_grad():
            distance = torch.stack([self._distance(batch) for batch in held_out]).mean().item()
        self._latents = responses
        self.generator.load_state_dict(before)
        return distance

    @torch.no_grad()
    def example_images(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, 3, H, 2W): each image of a batch just trained on, with its reconstruction to the right."""
        latents = torch.stack([self._start(row) for row in batch["row"].tolist()])
        return torch.cat([batch["image"], self.generator(latents)], dim=3)

    def _distance(self, batch: dict[str, Tensor]) -> Tensor:
        """‖G(z*(F*)) − X‖² per image, averaged over the batch."""
        if "features" not in batch:
            raise ValueError(
                "the generator is tuned to protected features, but the data brings images alone: "
                "use datamodules.ProtectedPairs"
            )
        latents = self._best_responses(batch["row"], batch["features"])
        return squared_distance(self.generator(latents), batch["image"]).mean()

    @torch.no_grad()
    def _best_responses(self, rows: Tensor, features: Tensor) -> Tensor:
        """z* (N, d) of the images in these rows, remembered for the next time."""
        known = torch.tensor([row in self._latents for row in rows.tolist()], device=features.device)
        starts = torch.stack([self._start(row) for row in rows.tolist()])
        for part, iterations in ((known, self.refinements), (~known, self.iterations)):
            if part.any():
                # Those met before are near their response already; the others have a long way to go.
                phi = self._told.phi(features[part])
                starts[part] = invert(phi, features[part], starts[part], iterations, self.steps).z
        # Another rank may have these images in the next epoch.
        self._latents.update(zip(ranks.gathered(rows).tolist(), ranks.gathered(starts), strict=True))
        return starts

    def _start(self, row: int) -> Tensor:
        """Where the inversion of an image starts: at its last best response, the first time at random."""
        if row in self._latents:
            return self._latents[row]
        drawn = random_latents(torch.tensor([row]), 1, self._phi.latent_dim, self._seed)[0, 0]
        return drawn.to(next(self.generator.parameters()))
