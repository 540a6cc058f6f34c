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
        check_metrics(further)
        self.metrics = {metric.name: _on_device(metric) for metric in [*standard, *further]}
        described = {metric.name: metric for metric in [*STANDARD, *further]}.values()
        self.columns = [Column(m.name, m.title, m.describe, m.format, group="likeness") for m in described]

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


def check_metrics(metrics: Sequence[ImageMetric]) -> None:
    """Refuse metrics that do not say what they are, before anything is measured.

    Raises:
        ValueError: naming the metric and what it lacks.
    """
    for metric in metrics:
        said = {name: getattr(metric, name, "") for name in ("name", "title", "describe")}
        if missing := [name for name, text in said.items() if not (isinstance(text, str) and text.strip())]:
            raise ValueError(f"metric {type(metric).__name__} needs {missing[0]!r}, a text; see ImageMetric")
        if not said["name"].isidentifier():
            raise ValueError(
                f"metric {type(metric).__name__} is named {said['name']!r}, which cannot be a column: use "
                "letters, digits and _"
            )
    names = [metric.name for metric in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two metrics are named {twice[0]!r}; leave one out")


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
