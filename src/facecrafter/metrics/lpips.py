"""Likeness of images as a pretrained network sees it (LPIPS)."""

from __future__ import annotations

import re
from pathlib import Path

import lpips
from torch import Tensor, nn

from facecrafter.metrics.image_metric import ImageMetric
from facecrafter.nets.weights import check_finite, read_state_dict


class Lpips(nn.Module, ImageMetric):
    """LPIPS on AlexNet (Zhang et al. 2018, v0.1), (N, 3, H, W) twice in [0, 1] -> distances (N,).

    The calibrated linear layers come with the implementation (`calibrated`); the backbone's weights are the
    user's to bring, and nothing is ever downloaded.

    Args:
        backbone_weights: a state dict of torchvision's AlexNet trained on ImageNet
            (``alexnet-owt-7be5be79.pth``).

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is not a state dict of AlexNet.
    """

    name = "lpips"
    title = "LPIPS"
    describe = (
        "Distance of the images in AlexNet's features, weighted as people judge (LPIPS), from 0 for equal "
        "images to about 1; lower is more alike."
    )

    def __init__(self, backbone_weights: str | Path) -> None:
        super().__init__()
        self.distance = calibrated()
        _load_backbone(self.distance.get_submodule("net"), Path(backbone_weights))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        distances: Tensor = self.distance(images, references, normalize=True)
        return distances.reshape(-1)


def calibrated() -> nn.Module:
    """LPIPS with its calibrated layers and, as `net`, an AlexNet that still has to be given its weights.

    This is the only place that uses the lpips package, which is prescribed and no longer maintained. Another
    implementation that gives the same figures, as a test shows, is in torchmetrics, which is maintained:
    `return torchmetrics.functional.image.lpips._NoTrainLpips(net="alex", pnet_rand=True)` exchanges it.
    """
    distance: nn.Module = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    calibration = Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    distance.load_state_dict(read_state_dict(calibration), strict=False)
    return distance


def _load_backbone(backbone: nn.Module, file: Path) -> None:
    """lpips cuts AlexNet's layers into slices but keeps their numbers: features.3 is slice2.3."""
    weights = read_state_dict(file, "AlexNet weights")
    check_finite(weights, file)
    names = {name: re.sub(r"^slice\d+", "features", name) for name in backbone.state_dict()}
    if absent := sorted(set(names.values()) - weights.keys()):
        raise ValueError(f"{file} is not a state dict of torchvision's AlexNet: it lacks {absent[0]}")
    backbone.load_state_dict({name: weights[theirs] for name, theirs in names.items()})
