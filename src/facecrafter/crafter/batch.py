"""What Algorithms 1 and 3 begin a batch with, and what they refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.crafter.inversion import AttackerModel, InnerProblem, fresh_response


def open_batch(
    model: AttackerModel,
    images: Tensor,
    inner: InnerProblem,
    training: CriticTraining,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor, FreshCritic]:
    """What Algorithms 1 and 3 begin with: Enc(x), its best response, and a critic after its warm-up.

    The model goes where the images are. A batch may hold any number of them; a critic of more takes all.

    Raises:
        ValueError: there are no images, or one of them or its feature is not finite; says which.
    """
    if len(images) == 0:
        raise ValueError("a batch needs at least one image to protect")
    if bad := not_finite(images):
        raise ValueError(f"images {bad} of the batch are not finite: leave them out")
    model.to(images.device)
    # A seed fixes the result through this order of draws: average faces, starts, the critic and its batches.
    with torch.no_grad():
        raw = model.encoder(images)
        # z_avg of line 7. Line 6 samples its mini-batches from these: drawn once and kept.
        average = model.generator(model.latents(raw, rng))
    if bad := not_finite(raw):
        raise ValueError(f"the features of images {bad} of the batch are not finite: train the encoder again")
    z = fresh_response(model, raw, inner, rng)
    critic = FreshCritic(training, average, rng, model.dtype)
    if training.warmup:
        critic.train(model(z).images, training.warmup)
    return raw, z, critic


def not_finite(values: Tensor) -> list[int]:
    """The images of the batch of which some of the values (N, ...) are not finite."""
    return [number for number, own in enumerate(values) if not torch.isfinite(own).all()]
