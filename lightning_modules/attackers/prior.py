"""The image prior: the generator G of the white-box attacker, trained on public faces."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from facecrafter import ranks
from facecrafter.crafter.inversion import squared_distance
from facecrafter.losses.wasserstein import earth_mover, gradient_penalty
from facecrafter.nets.critic import Critic
from facecrafter.nets.generator import Generator1, Generator2
from facecrafter.nets.posterior import Posterior, divergence_from_normal, sample
from lightning_modules.attackers.averaged import AveragedGenerator
from lightning_modules.training import descend

GENERATORS = {"G1": Generator1, "G2": Generator2}
# Of both Adams, as in Crafter's published code.
BETAS = (0.5, 0.999)


class Prior(AveragedGenerator):
    """WGAN-GP (Gulrajani et al. 2017) with a moving average of G; optionally a VAE/GAN (Larsen et al. 2016).

    An inversion can only find faces that G can express. With `reconstruction` > 0, a posterior q(z | x)
    trained beside G asks it to express every public face; the critic asks that random latents look like
    faces. `reconstruction=0` is the plain WGAN-GP.

    Args:
        generator: G1 or G2 of the paper.
        latent_dim: d.
        image_size: H = W, that of the data.
        width: channels of G's last hidden layer (paper: 64).
        critic_width: channels of the critic's first layer.
        critic_steps: critic steps per generator step, each on a batch of its own.
        penalty: weight of the gradient penalty.
        penalty_every: take the penalty every so many critic steps, with its weight multiplied by as many.
        learning_rate, averaging: see AveragedGenerator.
        reconstruction: weight of ‖G(z) − x‖² per image, z ~ q(z | x); 0 trains a plain WGAN-GP.
        divergence: weight of KL(q(z | x) ‖ N(0, I)) per image within the reconstruction term.
        adversary_from: epoch in which the critic joins. Before it G learns from the reconstruction alone, at
            a third of the cost of a step.
    """

    VERSION = 1

    def __init__(
        self,
        generator: Literal["G1", "G2"] = "G1",
        latent_dim: int = 256,
        image_size: int = 64,
        width: int = 64,
        critic_width: int = 64,
        critic_steps: int = 5,
        penalty: float = 10.0,
        penalty_every: int = 1,
        learning_rate: float = 4e-4,
        averaging: float = 0.999,
        reconstruction: float = 0.0,
        divergence: float = 0.1,
        adversary_from: int = 0,
    ) -> None:
        if adversary_from and not reconstruction:
            raise ValueError("without a reconstruction G learns from the critic alone: set adversary_from=0")
        channels_last = torch.channels_last
        made = GENERATORS[generator](latent_dim, image_size, width).to(memory_format=channels_last)
        super().__init__(made, averaging, learning_rate)
        self.latent_dim = latent_dim
        self.image_size = image_size
        self.critic_steps = critic_steps
        self.penalty = penalty
        self.penalty_every = penalty_every
        self.reconstruction = reconstruction
        self.divergence = divergence
        self.adversary_from = adversary_from
        self.critic = Critic(image_size, critic_width).to(memory_format=channels_last)
        self.posterior = (
            Posterior(latent_dim, image_size).to(memory_format=channels_last) if reconstruction else None
        )

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.adam(BETAS, self.generator, self.posterior), self.adam(BETAS, self.critic)]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        faces = batch["image"].contiguous(memory_format=torch.channels_last)
        generator_optimizer, critic_optimizer = self.optimizers()
        if self._adversarial:
            self._critic_step(faces, critic_optimizer, batch_idx)
        # With the critic, G moves once it has made `critic_steps` steps; without it, on every batch.
        if not self._adversarial or (batch_idx + 1) % self.critic_steps == 0:
            self._generator_step(faces, generator_optimizer)
            self.average.update_parameters(self.generator)

    @property
    def _adversarial(self) -> bool:
        return self.current_epoch >= self.adversary_from

    def _critic_step(self, faces: Tensor, optimizer: torch.optim.Optimizer, batch_idx: int) -> None:
        with torch.no_grad():
            # G stands still while the critic learns, so no graph of it is kept.
            fakes = self.generator(self.latents(len(faces))).float()
        distance = earth_mover(self.critic, faces, fakes)
        loss = -distance
        if batch_idx % self.penalty_every == 0:
            penalty = gradient_penalty(self.critic, faces, fakes, torch.default_generator)
            # Taken seldom but weighed by as much, it pulls as hard over many steps as if taken in each.
            loss = loss + self.penalty_every * self.penalty * penalty
            self.log("train/gradient_penalty", penalty)
        descend(self, loss, optimizer)
        self.log("train/emd", distance, prog_bar=True)

    def _generator_step(self, faces: Tensor, optimizer: torch.optim.Optimizer) -> None:
        loss = torch.zeros((), device=self.device)
        if self._adversarial:
            # G's loss goes through the critic, but gradients of its weights would be computed for nothing.
            self.critic.requires_grad_(False)
            loss = loss - self.critic(self.generator(self.latents(len(faces)))).float().mean()
        if self.posterior:
            loss = loss + self.reconstruction * self._evidence_loss(self.posterior, faces)
        descend(self, loss, optimizer)
        self.critic.requires_grad_(True)

    def _evidence_loss(self, posterior: Posterior, faces: Tensor) -> Tensor:
        """Minus the evidence lower bound of a Gaussian decoder but for scale and constants, mean of N."""
        mean, log_variance = posterior(faces)
        distance = squared_distance(self.generator(sample(mean, log_variance)).float(), faces).mean()
        divergence = divergence_from_normal(mean, log_variance).mean()
        self.log_dict({"train/reconstruction": distance, "train/divergence": divergence}, prog_bar=True)
        # With a variance σ² of the decoder, −ELBO = (‖·‖² + 2σ²·KL) / 2σ²: `divergence` stands for 2σ².
        return distance + self.divergence * divergence

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """The critic's distance from held-out identities.

        Far above that of the training faces, it has memorised them.
        """
        fakes = self.network(self.latents(len(batch["image"])))
        self.log("val/emd", earth_mover(self.critic, batch["image"], fakes), sync_dist=True)
        if self.posterior:
            distance = squared_distance(
                self.network(self.posterior(batch["image"])[0]).float(), batch["image"]
            )
            self.log("val/reconstruction", distance.mean(), prog_bar=True, sync_dist=True)

    def latents(self, count: int) -> Tensor:
        return ranks.randn(count, self.latent_dim, device=self.device)
