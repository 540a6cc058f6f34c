"""What of a feature leaves the device: all of it, or what the prior can express."""

from __future__ import annotations

import torch
from torch import Tensor

from facecrafter.crafter.inversion import AttackerModel, invert


class OnManifold:
    """F' = φ(z*) + α (F − φ(z*)), with the best response z* of F.

    The gradient that crafting follows lies in the span of φ's Jacobian, so that what the prior cannot express
    of a face, the residual F − φ(z*), is left as it was: attacks that look beyond the prior read it there. At
    α = 0 nothing of it is released, and an attacker learns of the face no more than z*.

    Args:
        alpha: α, the share of the residual that is released, in [0, 1]; at 1 F' is F.
        iterations: Levenberg-Marquardt iterations that bring z* to rest.

    Raises:
        ValueError: α lies elsewhere, or there is no iteration.
    """

    def __init__(self, alpha: float = 0.0, iterations: int = 15) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.alpha, self.iterations = alpha, iterations

    @torch.no_grad()
    def __call__(self, features: Tensor, z: Tensor, model: AttackerModel) -> Tensor:
        """What leaves the device of features F, both (N, C, h, w); z (N, d) is near their best responses."""
        best = invert(model, features, z, self.iterations).z
        # By the networks themselves: the attacker's Jacobian products may be of a lower precision.
        expressed: Tensor = model.encoder(model.generator(best))
        return expressed + self.alpha * (features - expressed)
