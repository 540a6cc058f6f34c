"""A black-box decoder that draws images: conditional flow matching."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facecrafter import ranks
from facecrafter.losses.flow_matching import velocity_error
from facecrafter.nets.flow import Flow, Velocity
from facecrafter.nets.generator import IMAGE_CHANNELS
from facecrafter.nets.withheld import Fill
from lightning_modules.attackers.decoder import PairedDecoder, go_on_from
from lightning_modules.training import SeededBatches, moving_average


class FlowDecoder(SeededBatches, PairedDecoder):
    """Learns the distribution of x given Enc(x) by conditional flow matching (Lipman et al. 2023).

    Where `Decoder` shows the mean of all images that a feature may have come from, and blurs what it cannot
    tell, each draw of this one is one of them: sharper, but not nearer. The distribution is transported along
    straight paths (rectified flow), so few steps of Euler's method are enough. What attacks use is a moving
    average.

    Args:
        encoder, mirror, layers: see PairedDecoder.
        image_size: side of the images.
        width, blocks: of the network, see facecrafter.nets.flow.Velocity.
        steps: of Euler's method.
        draws: how many images are drawn of each feature; an attack has as many restarts.
        learning_rate: see PairedDecoder.
        averaging: decay of the moving average per step.
        start: artifact folder of a FlowDecoder of the same sizes to go on from; see PairedDecoder.
    """

    VERSION = 2

    def __init__(
        self,
        encoder: str,
        image_size: int,
        width: int = 64,
        blocks: int = 3,
        steps: int = 4,
        draws: int = 8,
        learning_rate: float = 2e-3,
        averaging: float = 0.99,
        mirror: bool = True,
        start: str | None = None,
        layers: dict[str, float] | None = None,
    ) -> None:
        if steps < 1 or draws < 1:
            raise ValueError(f"steps={steps} and draws={draws} must both be at least 1")
        super().__init__(encoder, learning_rate, mirror, start, layers)
        shape = self.shape_read(image_size)
        self.fill = Fill(shape)
        velocity = Velocity(shape, image_size, width, blocks)
        noise = torch.randn(draws, IMAGE_CHANNELS, image_size, image_size)
        self.decoder = Flow(velocity.to(memory_format=torch.channels_last), noise, steps)
        if start is not None:
            go_on_from(start, self)
        self.average = moving_average(self.decoder, averaging)

    @property
    def shown(self) -> nn.Module:
        """Features (N, C, h, w), or h of them -> images (N, draws, 3, H, W) in [0, 1]."""
        return self.average.module

    def pair_loss(self, features: Tensor, images: Tensor) -> Tensor:
        """The velocities' mean squared error at random times, pixels in [-1, 1]."""
        # Held-out images judge what attacks use.
        velocity = (self.decoder if self.training else self.average.module).velocity
        filled = self.fill(features)
        end = images * 2 - 1
        start, times = ranks.randn_like(end), ranks.rand(len(end), device=end.device, dtype=end.dtype)
        return velocity_error(lambda x, t: velocity(x, t, filled), start, end, times)

    def on_train_batch_end(self, outputs: object, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.average.update_parameters(self.decoder)

    @torch.no_grad()
    def example_images(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, 3, H, (1 + draws)·W): each image with what was drawn of its feature to the right of it."""
        features, images = self._pairs(batch, mirror=False)
        return torch.cat([images, *self(features).float().unbind(dim=1)], dim=3)
