"""How alike reconstructions are to their originals, by image metrics that a configuration may add to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from experiments.evaluation.batches import in_batches
from experiments.evaluation.columns import Column
from experiments.machine import device
from facecrafter.metrics import ImageMetric, Lpips, MsSsim, Psnr, Ssim

STANDARD = (Psnr, Ssim, MsSsim, Lpips)
"""What every measurement has a column for, so that studies compare."""


class Likeness:
    """Measures images beside their originals.

    Args:
        further: metrics beside the standard ones; one with the name of a standard one takes its place.
        lpips_weights: state dict of torchvision's AlexNet; without it LPIPS is left empty.

    Attributes:
        columns: what it adds to results.csv.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: a metric does not say what it is, or two have one name.
    """

    def __init__(self, further: Sequence[ImageMetric] = (), lpips_weights: Path | None = None) -> None:
        standard = [Psnr(), Ssim(), MsSsim(), *([Lpips(lpips_weights)] if lpips_weights else [])]
        self.columns = metric_columns([type(metric) for metric in further])
        self.metrics = {metric.name: _on_device(metric) for metric in [*standard, *further]}

    def of(self, images: Tensor, originals: Tensor) -> dict[str, Tensor]:
        """By metric, the figure of each image, (N,); both (N, 3, H, W).

        Raises:
            ValueError: a metric does not return one figure an image.
        """
        return {name: _of_each(metric, images, originals) for name, metric in self.metrics.items()}

    def means(self, found: Mapping[str, Tensor]) -> dict[str, float | None]:
        """The columns of results.csv for what was `found` of each image; those not measured are empty."""
        empty = dict.fromkeys(column.name for column in self.columns)
        return empty | {name: values.mean().item() for name, values in found.items()}


def metric_columns(further: Sequence[type[ImageMetric]]) -> list[Column]:
    """The columns of the standard metrics and of `further` ones, checked before anything is measured.

    Raises:
        ValueError: naming a metric that is none or does not say what it is, or a name that two have.
    """
    for metric in further:
        _check_metric(metric)
    names = [metric.name for metric in further]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two metrics are named {twice[0]!r}; leave one out")
    described = {metric.name: metric for metric in (*STANDARD, *further)}.values()
    return [Column(m.name, m.title, m.describe, m.format, group="likeness") for m in described]


def _check_metric(metric: type) -> None:
    if not issubclass(metric, ImageMetric):
        raise ValueError(f"{metric.__name__} is no metric: derive it from facecrafter.metrics.ImageMetric")
    for attribute in ("name", "title", "describe"):
        text = getattr(metric, attribute, None)
        if not (isinstance(text, str) and text.strip()):
            raise ValueError(f"metric {metric.__name__} needs {attribute!r}, a text; see ImageMetric")
    if not metric.name.isidentifier():
        raise ValueError(
            f"metric {metric.__name__} is named {metric.name!r}, which cannot be a column: use letters, "
            "digits and _"
        )


def _of_each(metric: ImageMetric, images: Tensor, originals: Tensor) -> Tensor:
    values = in_batches(metric, images, originals)
    if values.shape != (len(images),):
        raise ValueError(
            f"metric {metric.name} returned {tuple(values.shape)} for {len(images)} images; it must return "
            "one figure for each, (N,)"
        )
    return values if values.is_floating_point() else values.float()


def _on_device(metric: ImageMetric) -> ImageMetric:
    return metric.to(device()).eval() if isinstance(metric, nn.Module) else metric
