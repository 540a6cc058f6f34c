"""LowKey: perturbed images in place of private ones (a rival)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter.image_space import FeatureDistance, perturb
from facecrafter.metrics import Lpips
from lightning_modules.defences.base import Defence
from lightning_modules.networks.surrogate import embeddings, load_surrogates


class LowKey(Defence):
    """Enc(x') with the perturbed image x' (Cherepanova et al., ICLR 2021; `facecrafter.image_space.lowkey`).

    The paper keeps x' near x by LPIPS. Its weights are the user's to bring; without them the distance is
    `FeatureDistance`, in the features of the target, which was trained here. Where Enc itself is misled there
    is none: beside it, the mean over a feature's thousands of values would not count.

    Args:
        target: artifact folder of the target network.
        iterations: 50, 75 or 100 in Crafter's comparison.
        surrogates: artifact folders of the identity networks to mislead: SurrogateClassifier, or
            EmbeddingOracle with weights of your own. None misleads Enc itself.
        lpips_weights: state dict of torchvision's AlexNet, for LPIPS.
        seed, query: see Defence.
    """

    def __init__(
        self,
        target: str,
        iterations: int = 50,
        surrogates: list[str] | None = None,
        lpips_weights: str | None = None,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, seed, query)
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if lpips_weights is not None and not surrogates:
            raise ValueError("lpips_weights has no use where Enc itself is misled: leave it out")
        self.iterations = iterations
        self.surrogates = load_surrogates(surrogates or [])
        self.perceptual = self._distance(lpips_weights) if surrogates else None

    def _distance(self, lpips_weights: str | None) -> nn.Module:
        return Lpips(lpips_weights) if lpips_weights is not None else FeatureDistance(self.encoder)

    def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
        misled = embeddings(self.surrogates, self.encoder)
        with torch.enable_grad():  # prediction switches gradients off
            perturbed = perturb(
                images,
                misled,
                self.perceptual,
                self.iterations,
                generator,
                progress=lambda done, total: self.announce(iteration=done, iterations=total),
            )
        features: Tensor = self.encoder(perturbed)
        return features
