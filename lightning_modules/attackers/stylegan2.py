"""The generator of the MIRROR attacks: a StyleGAN2, trained on public faces or brought along."""

from __future__ import annotations

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from facecrafter import ranks
from facecrafter.losses.nonsaturating import discriminator_loss, generator_loss, path_lengths, r1_penalty
from facecrafter.nets.augmentation import mirror_every_other
from facecrafter.nets.stylegan2.checkpoint import load_stylegan2
from facecrafter.nets.stylegan2.discriminator import StyleDiscriminator
from facecrafter.nets.stylegan2.generator import StyleGenerator
from lightning_modules.attackers.averaged import AveragedGenerator
from lightning_modules.checks import fitted_data
from lightning_modules.training import SeededBatches, descend

BETAS = (0.0, 0.99)
STYLE_AVERAGING = 0.995  # decay of w̄ per step
LENGTH_AVERAGING = 0.99  # decay of the mean path length per regularised step


class StyleGan2(SeededBatches, AveragedGenerator):
    """StyleGAN2 (Karras et al. 2020) in a size for small images, with a moving average of G.

    Both regularisers are lazy: taken at every so many batches, with their weights multiplied by as many, in
    one backward pass with the loss. Half of the faces are mirrored.

    Args:
        image_size: H = W, that of the data; a power of two.
        latent_dim: sizes of z and w (configuration F: 512).
        mapping_layers: from z to w (configuration F: 8).
        channel_base, channel_max: at side r both networks have min(channel_base / r, channel_max) channels
            (configuration F: 32768 and 512).
        learning_rate, averaging: see AveragedGenerator.
        r1: γ, half of which weighs R1; NVIDIA's rule of thumb is 0.0002·H² / batch size.
        r1_every: batches between two R1 penalties.
        path_length: weight of the path length regulariser.
        path_every: batches between two such, on half a batch of latents.
        style_mixing: probability that a batch's finer layers get the styles of other latents.
    """

    VERSION = 1
    path_mean: Tensor

    def __init__(
        self,
        image_size: int = 64,
        latent_dim: int = 64,
        mapping_layers: int = 4,
        channel_base: int = 1024,
        channel_max: int = 64,
        learning_rate: float = 2.5e-3,
        r1: float = 0.01,
        r1_every: int = 16,
        path_length: float = 2.0,
        path_every: int = 4,
        style_mixing: float = 0.9,
        averaging: float = 0.998,
    ) -> None:
        sizes = {"channel_base": channel_base, "channel_max": channel_max}
        generator = StyleGenerator(image_size, latent_dim, latent_dim, mapping_layers, **sizes)
        super().__init__(generator, averaging, learning_rate)
        self.r1 = r1
        self.r1_every = r1_every
        self.path_length = path_length
        self.path_every = path_every
        self.style_mixing = style_mixing
        self.discriminator = StyleDiscriminator(image_size, **sizes)
        self.register_buffer("path_mean", torch.zeros(()))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data, devices = fitted_data(self, stage), self.trainer.world_size
        if data is not None and devices > 1 and data.batch_size % (2 * devices):
            raise ValueError(
                f"path lengths are taken of half a batch, in which each of {devices} devices has a part: set "
                f"batch_size to a multiple of {2 * devices}, not {data.batch_size}"
            )

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.adam(BETAS, self.generator), self.adam(BETAS, self.discriminator)]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        images = batch["image"]
        # StyleGAN2's networks speak of images in [−1, 1], the data's are in [0, 1].
        faces = mirror_every_other(images) * 2 - 1
        fakes = self.fakes(len(faces))  # of both steps: one forward pass less
        generator_optimizer, discriminator_optimizer = self.optimizers()
        # G's loss goes through D, but D's own gradients would be computed for nothing.
        self.discriminator.requires_grad_(False)
        descend(self, self.generator_objective(fakes, batch_idx % self.path_every == 0), generator_optimizer)
        self.discriminator.requires_grad_(True)
        self.average.update_parameters(self.generator)
        loss = self.discriminator_objective(faces, fakes.detach(), batch_idx % self.r1_every == 0)
        descend(self, loss, discriminator_optimizer)

    def fakes(self, count: int) -> Tensor:
        """Images of random latents (count, 3, H, W), about in [-1, 1]."""
        images: Tensor = self.generator.synthesis(self._styles(count), random_noise=True)
        return images

    def discriminator_objective(self, faces: Tensor, fakes: Tensor, regularised: bool) -> Tensor:
        """What D descends, on images (N, 3, H, W) in [-1, 1]."""
        faces = faces.requires_grad_(regularised)
        real, fake = self.discriminator(faces), self.discriminator(fakes)
        loss = discriminator_loss(real, fake)
        self.log_dict({"train/real": real.mean(), "train/fake": fake.mean()}, prog_bar=True)
        if regularised:
            penalty = r1_penalty(real, faces)
            loss = loss + self.r1_every * self.r1 / 2 * penalty
            self.log("train/r1", penalty)
        return loss

    def generator_objective(self, fakes: Tensor, regularised: bool) -> Tensor:
        """What G descends, on images (N, 3, H, W) it made."""
        loss = generator_loss(self.discriminator(fakes))
        if regularised:
            loss = loss + self.path_every * self.path_length * self._path_penalty((len(fakes) + 1) // 2)
        return loss

    def _path_penalty(self, count: int) -> Tensor:
        """Mean squared deviation of `count` path lengths from their moving average."""
        ws = self._styles(count)
        lengths = path_lengths(self.generator.synthesis(ws, random_noise=True), ws)
        # Detached: the mean is a target that G moves towards, not a term to be lowered.
        self.path_mean.lerp_(ranks.mean(lengths.detach().mean()), 1 - LENGTH_AVERAGING)
        self.log("train/path_length", self.path_mean)
        return (lengths - self.path_mean).square().mean()

    def _styles(self, count: int) -> Tensor:
        """Styles of random latents for every layer (count, n_styles, d), mixed with `style_mixing`."""
        mapping, synthesis = self.generator.mapping, self.generator.synthesis
        latents = ranks.randn(2, count, mapping.latent_dim, dim=1, device=self.device)
        w, other = mapping(latents.flatten(0, 1)).chunk(2)
        mapping.w_avg.lerp_(ranks.mean(w.detach().mean(dim=0)), 1 - STYLE_AVERAGING)
        ws = self.generator.per_layer(w)
        if torch.rand(()) >= self.style_mixing:
            return ws
        # The place to change over is at least 1 and at most the last layer: both latents always take part.
        fine = torch.arange(synthesis.n_styles, device=self.device) >= torch.randint(
            1, synthesis.n_styles, (), device=self.device
        )
        return torch.where(fine[:, None], other[:, None], ws)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """The discriminator's mean logit for held-out people.

        Far below that of the training faces, it has memorised them.
        """
        logits = self.discriminator(batch["image"] * 2 - 1)
        self.log("val/real", logits.mean(), prog_bar=True, sync_dist=True, batch_size=len(logits))

    def latents(self, count: int) -> Tensor:
        return ranks.randn(count, self.generator.mapping.latent_dim, device=self.device)


class PretrainedStyleGan2(LightningModule):
    """A StyleGAN2 that NVIDIA's PyTorch code has trained; nothing is learned here.

    Args:
        checkpoint: file of its state dict; see `facecrafter.nets.stylegan2.checkpoint`.
        image_size: side of the images, at most that of the network.
    """

    VERSION = 1

    def __init__(self, checkpoint: str, image_size: int | None = None) -> None:
        super().__init__()
        self.network = load_stylegan2(checkpoint, image_size)
