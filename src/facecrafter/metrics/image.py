"""Likeness of images, pixel by pixel: PSNR, SSIM and MS-SSIM, as functions and as metrics to name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from facecrafter.metrics.image_metric import ImageMetric

WINDOW = 11
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of MS-SSIM's scales, finest first (Wang et al. 2003)."""
EIGHT_BITS = 10 * math.log10(12 * 255**2)
"""58.9 dB: a photograph of 8 bits is no nearer to the scene than that, so nothing is nearer to it here."""


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, (N,), at most `EIGHT_BITS`; (N, C, H, W) in [0, 1]."""
    ratios = peak_signal_noise_ratio(images, references, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return ratios.clamp(max=EIGHT_BITS)


def ssim(images: Tensor, references: Tensor) -> Tensor:
    """SSIM of each image with its reference, (N,) (Wang et al. 2004).

    Both (N, C, H, W) in [0, 1]; Gaussian window of σ = 1.5 and 11 pixels, data range 1, mean over channels
    and the windows that lie inside the image.

    Raises:
        ValueError: the images are smaller than the window.
    """
    if min(images.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} pixels, not {tuple(images.shape[2:])}")
    _, full = structural_similarity_index_measure(
        images, references, data_range=1.0, reduction="none", return_full_image=True
    )
    border = WINDOW // 2  # torchmetrics also counts windows that it fills with reflected pixels
    return full[..., border:-border, border:-border].flatten(1).mean(dim=1)


def n_scales(height: int, width: int) -> int:
    """How many of MS-SSIM's five scales leave the window inside the image: 2 from 22 pixels, 3 from 44."""
    smallest = min(height, width)
    return sum(smallest >> scale >= WINDOW for scale in range(len(SCALES)))


def ms_ssim(images: Tensor, references: Tensor) -> Tensor:
    """MS-SSIM of each image with its reference, (N,) in [0, 1] (Wang et al. 2003).

    Contrast and structure at every scale, luminance at the coarsest. Images too small for five scales are
    compared at the finer ones alone (`n_scales`), their weights divided by the sum; so a value says nothing
    about one of another image size. Windows, channels and range as in `ssim`; a negative factor counts as
    0.

    Raises:
        ValueError: the images are smaller than the window.
    """
    weights = SCALES[: max(1, n_scales(*images.shape[2:]))]
    exponents = [weight / sum(weights) for weight in weights]
    value = torch.ones(len(images), dtype=images.dtype, device=images.device)
    for exponent in exponents[:-1]:
        _, contrast = structural_similarity_index_measure(
            images, references, data_range=1.0, reduction="none", return_contrast_sensitivity=True
        )
        value = value * contrast.relu() ** exponent
        images, references = F.avg_pool2d(images, 2), F.avg_pool2d(references, 2)
    return value * ssim(images, references).relu() ** exponents[-1]


class _Function(ImageMetric):
    """A metric that is one of the functions above, `of`."""

    of: ClassVar[Callable[[Tensor, Tensor], Tensor]]

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        return type(self).of(images, originals)


class Psnr(_Function):
    """See `psnr`."""

    name = "psnr"
    title = "PSNR"
    describe = (
        "Peak signal-to-noise ratio in dB, from about 5 for another image to 58.9, which 8 bits cannot "
        "exceed; higher is more alike."
    )
    format = ".1f"
    of = psnr


class Ssim(_Function):
    """See `ssim`."""

    name = "ssim"
    title = "SSIM"
    describe = (
        "Structural similarity: luminance, contrast and structure in windows of 11 pixels, from -1 to 1 for "
        "equal images; higher is more alike."
    )
    of = ssim


class MsSsim(_Function):
    """See `ms_ssim`."""

    name = "ms_ssim"
    title = "MS-SSIM"
    describe = (
        "Structural similarity at several scales, from 0 to 1 for equal images; higher is more alike, but "
        "not to be compared between image sizes."
    )
    of = ms_ssim
