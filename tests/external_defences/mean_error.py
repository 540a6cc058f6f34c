"""A metric as a user of the framework writes it: one file, named in a study's configuration."""

from __future__ import annotations

from torch import Tensor

from facecrafter.metrics import ImageMetric


class MeanError(ImageMetric):
    """The mean absolute difference of the pixels, raised to a power that the configuration chooses."""

    name = "mean_error"
    title = "mean error"
    describe = "Mean absolute difference of the pixels, 0 to 1; lower is more alike."
    format = ".2f"

    def __init__(self, power: float = 1.0) -> None:
        self.power = power

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        return (images - originals).abs().mean(dim=(1, 2, 3)) ** self.power
