"""What a measure of likeness between images is: its figure, and its words for whoever reads the figure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class ImageMetric(ABC):
    """How alike images are to their originals, image by image.

    A subclass is a column of the results: named in a configuration by its import path, it is measured,
    written and shown. It may be a `torch.nn.Module` too; then it is moved to the device of the images.
    Constructor arguments are plain values and files.

        class MeanError(ImageMetric):
            name, title = "mean_error", "mean error"
            describe = "mean absolute difference of the pixels, 0 to 1; lower is more alike"

            def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
                return (images - originals).abs().mean(dim=(1, 2, 3))

    Attributes:
        name: of its column, a Python identifier such as ``ms_ssim``.
        title: what people call it, such as ``MS-SSIM``.
        describe: what it is, in one sentence: its range and unit, and which direction is more alike.
        format: how a value is written, as of `format()`.
        VERSION: raised when it computes something else than before.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    describe: ClassVar[str]
    format: ClassVar[str] = ".3f"
    VERSION: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        """One figure an image, (N,), of ``images`` and their ``originals``, (N, 3, H, W) in [0, 1] each.

        A figure depends on its own two images alone, never on the batch they are in.
        """
