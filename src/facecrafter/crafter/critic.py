"""Lines 4 to 10 of Algorithm 1: the fresh critic of one batch, and what it asks of the reconstructions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from facecrafter.losses.wasserstein import earth_mover, gradient_penalty
from facecrafter.nets.critic import Critic


@dataclass(frozen=True)
class CriticTraining:
    """How the fresh critic of every batch is trained.

    Args:
        steps: n_critic, critic steps per feature update.
        warmup: critic steps before the first feature update.
        batch: m, images on each side of one step; a batch with fewer images takes them all.
        width: channels of the critic's first layer.
        learning_rate: of Adam.
        penalty: w, the weight of the gradient penalty; doubled while g_p > 1, as in the published code.
        penalty_every: take the penalty at every so many critic steps, with its weight multiplied by as many.

    Raises:
        ValueError: a number is too small.
    """

    steps: int = 2
    warmup: int = 40
    batch: int = 32
    width: int = 64
    learning_rate: float = 2e-3
    penalty: float = 20.0
    penalty_every: int = 1

    def __post_init__(self) -> None:
        if min(self.batch, self.width, self.penalty_every) < 1 or self.learning_rate <= 0:
            raise ValueError(f"a critic needs batch, width, penalty_every >= 1 and learning_rate > 0: {self}")
        if min(self.steps, self.warmup, self.penalty) < 0:
            raise ValueError(f"a critic needs steps, warmup and penalty >= 0, not {self}")


class FreshCritic:
    """The critic D of one batch, which tells its reconstructions from average faces.

    Args:
        training: how it is trained.
        average_faces: G(z_avg) (N, 3, H, W), drawn once and kept.
        rng: draws its weights and mini-batches, so a seed fixes the result.
        dtype: bfloat16 to compute in it, with weights and updates in float32; None for float32.
    """

    def __init__(
        self,
        training: CriticTraining,
        average_faces: Tensor,
        rng: torch.Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.training = training
        self.average_faces = average_faces
        self.rng = rng
        self.dtype = dtype
        # Layers draw their weights from torch's global state: it is seeded from rng, and then restored.
        seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = Critic(average_faces.shape[-1], training.width).to(average_faces.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), training.learning_rate, fused=True)
        self.steps = 0
        self.penalty = 0.0  # g_p when it was last taken

    def train(self, reconstructions: Tensor, steps: int) -> None:
        """Lines 4-9 on the images G(z*) (N, 3, H, W) and G(z_avg), in mini-batches drawn afresh."""
        for _ in range(steps):
            fake, real = self._some(reconstructions), self._some(self.average_faces)
            with self._precision():
                # Line 7: D(G(z*)) − D(G(z_avg)) + w·g_p, which the critic descends.
                loss = -earth_mover(self.network, real, fake)
                # `steps` counts on over feature updates: few steps in one do not break the rhythm.
                if self.steps % self.training.penalty_every == 0:
                    loss = loss + self._weighted_penalty(real, fake)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.steps += 1

    def privacy(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Line 10: the scores D (N,) of images, and each image's gradient (N, 3, H, W) of its L_p = −D."""
        images = images.detach().requires_grad_()
        with self._precision():
            scores = self.network(images).float()
        # The sum where line 10 has a mean: each image's gradient is that of its own L_p, whatever the batch.
        (gradient,) = torch.autograd.grad(-scores.sum(), images)
        return scores.detach(), gradient

    @torch.no_grad()
    def average_score(self) -> float:
        """The mean score of the average faces."""
        with self._precision():
            scores: Tensor = self.network(self.average_faces)
        return scores.float().mean().item()

    def metrics(self, scores: Tensor) -> dict[str, float]:
        """What a step logs of the game, given the scores (N,) of the reconstructions."""
        mean = scores.mean().item()
        return {"privacy_loss": -mean, "emd": self.average_score() - mean, "gradient_penalty": self.penalty}

    def _weighted_penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        # g_p as it was last taken: the weight follows it one penalty later.
        weight = self.training.penalty * (2 if self.penalty > 1 else 1)
        penalty = gradient_penalty(self.network, real, fake, self.rng)
        self.penalty = penalty.item()
        return self.training.penalty_every * weight * penalty

    def _some(self, images: Tensor) -> Tensor:
        # Without replacement, and drawn anew for either side: lines 5 and 6 do not pair z* with z_avg.
        size = min(self.training.batch, len(images))
        return images[torch.randperm(len(images), generator=self.rng, device=self.rng.device)[:size]]

    def _precision(self) -> torch.autocast:
        device = self.average_faces.device
        return torch.autocast(device.type, self.dtype, enabled=self.dtype is not None)
