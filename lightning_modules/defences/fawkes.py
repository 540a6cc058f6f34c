"""Fawkes: cloaked images in place of private ones (a rival)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from facecrafter.image_space import MODES, cloak
from lightning_modules.defences.base import Defence
from lightning_modules.networks.surrogate import embeddings, load_surrogates


class Fawkes(Defence):
    """Enc(cloak(x)) (Shan et al., USENIX Security 2020; see `facecrafter.image_space.fawkes`).

    Args:
        target: artifact folder of the target network.
        mode: low (DSSIM of 0.004, 40 steps, one surrogate), mid (0.012, 75, two) or high (0.017, 150, two).
        surrogates: artifact folders of the identity networks to mislead, of which the mode takes its number:
            SurrogateClassifier, or EmbeddingOracle with weights of your own. None misleads Enc itself.
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
        super().__init__(target, seed, query)
        self.mode = MODES[mode]
        wanted = self.mode.embeddings
        if surrogates is not None and len(surrogates) < wanted:
            raise ValueError(
                f"Fawkes misleads {wanted} surrogates in mode {mode}, not {len(surrogates)}: name more"
            )
        self.surrogates = load_surrogates((surrogates or [])[:wanted])

    def protect(self, images: Tensor, generator: torch.Generator) -> Tensor:
        misled = embeddings(self.surrogates, self.encoder)
        with torch.enable_grad():  # prediction switches gradients off
            cloaked = cloak(
                images,
                misled,
                self.mode,
                generator,
                progress=lambda done, total: self.announce(iteration=done, iterations=total),
            )
        features: Tensor = self.encoder(cloaked)
        return features
