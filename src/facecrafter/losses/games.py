"""What the players of the rivals' games gain and lose: per image, then averaged over the batch.

The published code takes one norm over the batch, so that its λ means something else for every batch size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Task = Literal["attributes", "classes"]


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
