"""The approximate posterior q(z | x) that trains a generator to express whole faces.

Larsen et al. 2016 (VAE/GAN).
"""

from __future__ import annotations

from torch import Tensor, nn

from facecrafter import ranks
from facecrafter.nets.generator import IMAGE_CHANNELS, halvings

_LOG_VARIANCE_RANGE = (-8.0, 4.0)  # beyond it exp() swamps every other term of the loss


class Posterior(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> mean and log-variance of z, each (N, d).

    Convolutions 4 x 4 with stride 2 and batch norm, doubling the channels from `width` up to 8 x width.
    """

    def __init__(self, latent_dim: int, image_size: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = IMAGE_CHANNELS
        for stage in range(halvings(image_size, at_least=4, largest=7)):
            outputs = width * min(2**stage, 8)
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
            inputs, image_size = outputs, image_size // 2
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.moments = nn.Linear(inputs * image_size**2, 2 * latent_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.moments(self.trunk(images)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE_RANGE)


def divergence_from_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)) in nats per sample: (N, d) twice -> (N,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """One draw of z (N, d), differentiable in both moments."""
    return mean + ranks.randn_like(mean) * (log_variance / 2).exp()
