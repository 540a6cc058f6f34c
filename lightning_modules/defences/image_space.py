"""Defences that perturb the image before it is encoded (rivals)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from facecrafter.image_space import MODES, Embedding, FeatureDistance, cloak, perturb
from facecrafter.metrics import Lpips
from lightning_modules.defences.base import Defence
from lightning_modules.networks.surrogate import embeddings, load_surrogates


class ImageSpaceDefence(Defence):
    """Releases Enc(x'), x' an image near x that misleads identity networks.

    Args:
        target: artifact folder of the target network.
        surrogates: artifact folders of the identity networks to mislead: SurrogateClassifier, or
            EmbeddingOracle with weights of your own. None misleads Enc itself.
        seed, query: see Defence.
    """

    def __init__(self, target: str, surrogates: list[str], seed: int, query: int) -> None:
        super().__init__(target, seed, query)
        self.surrogates = load_surrogates(surrogates)

    @abstractmethod
    def perturbed(self, images: Tensor, misled: list[Embedding], rng: torch.Generator) -> Tensor:
        """The images (N, 3, H, W) in [0, 1] that are encoded in place of `images`."""

    def protect(self, images: Tensor, rng: torch.Generator) -> Tensor:
        with torch.enable_grad():  # prediction switches gradients off
            changed = self.perturbed(images, embeddings(self.surrogates, self.encoder), rng)
        features: Tensor = self.encoder(changed)
        return features

    def report(self, done: int, total: int) -> None:
        """Pass the optimiser's progress on."""
        self.announce(iteration=done, iterations=total)


class Fawkes(ImageSpaceDefence):
    """Enc(cloak(x)) (Shan et al., USENIX Security 2020; see `facecrafter.image_space.fawkes`).

    Args:
        target: artifact folder of the target network.
        mode: low (DSSIM of 0.004, 40 steps, one surrogate), mid (0.012, 75, two) or high (0.017, 150, two).
        surrogates: as many as the mode needs are used; see ImageSpaceDefence.
        seed, query: see Defence.
    """

    def __init__(
        self,
        target: str,
        mode: Literal["low", "mid", "high"] = "mid",
        surrogates: list[str] | None = None,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        wanted = MODES[mode].embeddings
        if surrogates is not None and len(surrogates) < wanted:
            raise ValueError(
                f"Fawkes misleads {wanted} surrogates in mode {mode}, not {len(surrogates)}: name more"
            )
        # No more than the mode needs: one configuration serves all modes.
        super().__init__(target, (surrogates or [])[:wanted], seed, query)
        self.mode = MODES[mode]

    def perturbed(self, images: Tensor, misled: list[Embedding], rng: torch.Generator) -> Tensor:
        return cloak(images, misled, self.mode, rng, progress=self.report)


class LowKey(ImageSpaceDefence):
    """Enc(x') with the perturbed image x' (Cherepanova et al., ICLR 2021; `facecrafter.image_space.lowkey`).

    The paper keeps x' near x by LPIPS. Its weights are the user's to bring; without them the distance is
    `FeatureDistance`, in the features of the target, which was trained here. Where Enc itself is misled there
    is none: beside it, the mean over a feature's thousands of values would not count.

    Args:
        target: artifact folder of the target network.
        iterations: 50, 75 or 100 in Crafter's comparison.
        surrogates: see ImageSpaceDefence.
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
        super().__init__(target, surrogates or [], seed, query)
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if lpips_weights is not None and not surrogates:
            raise ValueError("lpips_weights has no use where Enc itself is misled: leave it out")
        self.iterations = iterations
        self.perceptual = self._distance(lpips_weights) if surrogates else None

    def _distance(self, lpips_weights: str | None) -> nn.Module:
        return Lpips(lpips_weights) if lpips_weights is not None else FeatureDistance(self.encoder)

    def perturbed(self, images: Tensor, misled: list[Embedding], rng: torch.Generator) -> Tensor:
        return perturb(images, misled, self.perceptual, self.iterations, rng, progress=self.report)
