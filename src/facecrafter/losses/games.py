"""What the players of the rivals' games gain and lose.

A reconstruction's distance comes in two forms, since a λ means what it is weighed against: as published, so
that published values of λ mean what they meant, and per image, as everywhere else here. At equal λ the
published form weighs privacy 25 times as much.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter import ranks

Task = Literal["attributes", "classes"]
DistanceForm = Literal["published", "per_image"]

PUBLISHED_BATCH = 32
IMAGENET_STD = (0.229, 0.224, 0.225)
"""The channels' deviations, by which the published code divides images before it compares them."""


def task_loss(logits: Tensor, attributes: Tensor, task: Task) -> Tensor:
    """How badly the head reads the attributes (N, A), in nats.

    Args:
        logits: (N, A).
        attributes: (N, A) in {0, 1}.
        task: `attributes`, binary cross-entropy of each, averaged; `classes`, cross-entropy over attributes
            of which each image has one.
    """
    if task == "attributes":
        return F.binary_cross_entropy_with_logits(logits, attributes)
    return F.cross_entropy(logits, attributes)


def image_distance(images: Tensor, reconstructions: Tensor) -> Tensor:
    """‖x − x̂‖₂ / (H·W), not squared: (N, 3, H, W) twice in [0, 1] -> mean over the N images."""
    height, width = images.shape[2:]
    norms: Tensor = torch.linalg.vector_norm((images - reconstructions).flatten(1), dim=1)
    return norms.mean() / (height * width)


def published_distance(images: Tensor, reconstructions: Tensor) -> Tensor:
    """‖x − x̂‖₂ / (H·W), one norm over 32 images with normalised colours, as published (scalar).

    A batch of another size counts as if it were one of 32, so that λ means the same for all. The published
    reconstruction ends in a sigmoid, which normalised images are out of reach of: here both are normalised.

    Args:
        images, reconstructions: (N, 3, H, W) in [0, 1].
    """
    height, width = images.shape[2:]
    deviation = images.new_tensor(IMAGENET_STD)[:, None, None]
    # The means of the normalisation cancel in the difference. A norm over N images grows with √N.
    norm = ranks.norm((images - reconstructions) / deviation)
    return norm * math.sqrt(PUBLISHED_BATCH / (len(images) * ranks.current().ranks)) / (height * width)
