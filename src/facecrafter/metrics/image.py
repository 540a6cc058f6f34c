"""Likeness of images, pixel by pixel (PSNR, SSIM, MS-SSIM) and as a pretrained network sees it (LPIPS)."""

from __future__ import annotations

import math
import re
from pathlib import Path

import lpips
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

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
    """Of MS-SSIM: as many of its five as leave the window inside the image; 2 from 22 pixels, 3 from 44."""
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


class Lpips(nn.Module):
    """LPIPS on AlexNet (Zhang et al. 2018, v0.1), (N, 3, H, W) twice in [0, 1] -> distances (N,).

    The calibrated linear layers come with the lpips package; the backbone's weights are the user's to bring,
    and nothing is ever downloaded.

    Args:
        backbone_weights: a state dict of torchvision's AlexNet trained on ImageNet
            (``alexnet-owt-7be5be79.pth``).

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is not a state dict of AlexNet.
    """

    def __init__(self, backbone_weights: str | Path) -> None:
        super().__init__()
        if not Path(backbone_weights).is_file():
            raise FileNotFoundError(
                f"no AlexNet weights at {backbone_weights}; name the file or leave LPIPS out"
            )
        self.distance = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
        calibration = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
        self.distance.load_state_dict(_load(calibration), strict=False)
        _load_backbone(self.distance.net, Path(backbone_weights))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        distances: Tensor = self.distance(images, references, normalize=True)
        return distances.reshape(-1)


def _load(file: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _load_backbone(backbone: nn.Module, file: Path) -> None:
    """lpips cuts AlexNet's layers into slices but keeps their numbers: features.3 is slice2.3."""
    weights = _load(file)
    names = {name: re.sub(r"^slice\d+", "features", name) for name in backbone.state_dict()}
    if absent := sorted(set(names.values()) - weights.keys()):
        raise ValueError(f"{file} is not a state dict of torchvision's AlexNet: it lacks {absent[0]}")
    backbone.load_state_dict({name: weights[theirs] for name, theirs in names.items()})
