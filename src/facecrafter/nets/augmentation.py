"""Random changes of training images, drawn for every image of a batch on its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from facecrafter import ranks


def flip_and_shift(images: Tensor, shift: float, zoom: float = 0.0) -> Tensor:
    """Images (N, 3, H, W), half of them mirrored, moved by up to `shift` and scaled by up to 1 ± `zoom`.

    `shift` is a part of the image's side; what comes in over the edge repeats the edge.
    """
    number = len(images)
    uniform = 2 * ranks.rand(3, number, dim=1, device=images.device) - 1
    mirror = ranks.randint(2, number, device=images.device) * 2 - 1
    scale = 1 + zoom * uniform[0]
    transform = torch.zeros(number, 2, 3, device=images.device)
    transform[:, 0, 0], transform[:, 1, 1] = mirror * scale, scale
    transform[:, :, 2] = 2 * shift * uniform[1:].T  # the grid runs from -1 to 1
    # Mirrored, moved and scaled at once: pixels are interpolated a single time.
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid.to(images.dtype), padding_mode="border", align_corners=False)


def mirror_every_other(images: Tensor) -> Tensor:
    """A batch of images (N, 3, H, W): the first, third, ... as they are, then the others mirrored."""
    # By the place in the whole batch: each rank mirrors what one process would.
    whole = ranks.gathered(images)
    return ranks.own(torch.cat([whole[::2], whole[1::2].flip(3)]))


def change_colours(images: Tensor, strength: float) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] with other contrast (1 ± `strength`) and brightness of each channel."""
    contrast = 1 + strength * (2 * ranks.rand(len(images), 1, 1, 1, device=images.device) - 1)
    brightness = strength * (2 * ranks.rand(len(images), 3, 1, 1, device=images.device) - 1)
    means = images.mean((1, 2, 3), keepdim=True)
    return ((images - means) * contrast + means + brightness / 2).clamp(0, 1)


def blur_and_noise(images: Tensor, noise: float = 0.05) -> Tensor:
    """Images (N, 3, H, W) in [0, 1], blurred to a random degree (at most σ = 1.5 pixels), with random noise.

    Reconstructions are smooth and carry artefacts; a network that saw only sharp images would not read them.
    """
    degree = ranks.rand(len(images), 1, 1, 1, device=images.device)
    level = noise * ranks.rand(len(images), 1, 1, 1, device=images.device)
    # One blur for all, mixed in to a degree: a kernel of each image's own would be a convolution each.
    smooth: Tensor = gaussian_blur(images, [7, 7], [1.5, 1.5])
    blurred = images + degree * (smooth - images)
    return (blurred + level * ranks.randn_like(images)).clamp(0, 1)
