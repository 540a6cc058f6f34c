"""The amortizer, trained to start inversions near the best response."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter import ranks
from facecrafter.nets import amortizer as nets
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.target import feature_shape
from facecrafter.nets.withheld import Fill
from lightning_modules.artifacts import FeatureNetwork, Frozen, load_artifact
from lightning_modules.attackers.filling import FillingReader
from lightning_modules.attackers.prior import Prior
from lightning_modules.training import one_cycle


class Amortizer(FillingReader, FeatureNetwork):
    """Learns features -> latents by the distance between F = φ(z) of a drawn latent z and φ(amortizer(F)).

    φ = Enc∘G is frozen. Equation 37 regresses z itself, which punishes a latent that explains the feature
    equally well; the paper's code, as here, compares features. Its latents come afresh for every batch, of
    whose images only the number is used, but for what is usual in a feature.

    Args:
        encoder: artifact folder of the target network or defence whose features are inverted.
        prior: artifact folder of the generator.
        learning_rate: peak of Adam's one-cycle schedule.
    """

    VERSION = 2

    def __init__(self, encoder: str, prior: str, learning_rate: float = 2e-3) -> None:
        super().__init__(encoder)
        generator = load_artifact(prior, Prior)
        shape = feature_shape(self.encoder.on(self.device), generator.image_size)
        self.generator = Frozen(fold_batchnorm(generator.network))
        self.latent_dim = generator.latent_dim
        self.fill = Fill(shape)
        self.amortizer = nets.Amortizer(shape, generator.latent_dim).to(memory_format=torch.channels_last)
        self.learning_rate = learning_rate

    @property
    def network(self) -> nn.Module:
        """Features (N, C, h, w) -> latents (N, d)."""
        return nn.Sequential(self.fill, self.amortizer)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        # A generator of its own: what sheets of images and validations draw does not shift the latents.
        self._draws = torch.Generator().manual_seed(torch.initial_seed())

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        latents = ranks.randn(len(batch["image"]), self.latent_dim, generator=self._draws).to(self.device)
        with torch.no_grad():
            # What is to be explained; derivatives are taken of the way back alone.
            features = self.phi(latents)
        loss = F.mse_loss(self.phi(self(features)), features)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/residual", loss.detach() / features.square().mean())
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.Adam(self.amortizer.parameters(), self.learning_rate)
        return one_cycle(self, optimizer)

    def phi(self, latents: Tensor) -> Tensor:
        """Latents (N, d) -> features Enc(G(z)) (N, C, h, w)."""
        return self.encoder.on(self.device)(self.generator.on(self.device)(latents))
