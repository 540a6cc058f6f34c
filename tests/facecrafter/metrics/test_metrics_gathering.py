"""Metrics that see a set in batches, in two processes, and with images repeated, agree with the functions."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from facecrafter.metrics import (
    ImageSet,
    frechet_distance,
    identified,
    psnr,
    tar_at_far,
)

N = 41


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row numbers in no order, images and their references, and who is on them."""
    generator = torch.Generator().manual_seed(0)
    rows = 100 + torch.randperm(N, generator=generator)
    images, references = torch.rand(2, N, 3, 8, 8, generator=generator)
    return rows, images, references, rows % 10


def mean_psnr(images: Tensor, references: Tensor) -> Tensor:
    return psnr(images, references).mean()


def accuracy(scores: Tensor, identities: Tensor) -> Tensor:
    return identified(scores, identities).float().mean()


def metrics() -> list[torch.nn.Module]:
    return [
        ImageSet(mean_psnr, inputs=2),
        ImageSet(accuracy, inputs=2),
        ImageSet(frechet_distance, inputs=2),
        ImageSet(partial(tar_at_far, far=0.01), inputs=2),
    ]


def scores_of(images: Tensor) -> Tensor:
    return images[:, :, 0, :4].flatten(1)[:, :10]


def update(metrics: list[torch.nn.Module], part: Tensor) -> list[torch.nn.Module]:
    rows, images, references, identities = (tensor[part] for tensor in inputs())
    pairs = (images, references)
    features = tuple(tensor[:, 0, 0] for tensor in pairs)
    scored = (scores_of(images), identities)
    for metric, tensors in zip(metrics, (pairs, scored, features, scored), strict=True):
        metric.update(*tensors, rows=rows)
    return metrics


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    rows, images, references, identities = inputs()
    order = rows.argsort()  # the bootstrap's draws belong to people in this order
    images, references, identities = images[order], references[order], identities[order]
    scores = scores_of(images)
    return [
        mean_psnr(images, references),
        accuracy(scores, identities),
        torch.tensor(frechet_distance(images[:, 0, 0], references[:, 0, 0])),
        torch.tensor(tar_at_far(scores, identities, 0.01)),
    ]


def test_batches_and_repeated_images(expected: list[Tensor]) -> None:
    found = metrics()
    for part in (torch.arange(20), torch.arange(15, N), torch.tensor([3, 3, 40])):
        update(found, part)
    for metric, value in zip(found, expected, strict=True):
        torch.testing.assert_close(metric.compute(), value, equal_nan=True)


def test_a_metric_starts_anew_after_reset() -> None:
    metric = ImageSet(mean_psnr, inputs=2)
    rows, images, references, _ = inputs()
    metric.update(references, references, rows=rows)
    metric.reset()
    metric.update(images, references, rows=rows)
    torch.testing.assert_close(metric.compute(), mean_psnr(images, references))


def measure_as(rank: int, folder: str) -> list[Tensor]:
    """One process of two: 41 images padded to 42 as a distributed sampler does, in uneven batches."""
    limit = timedelta(seconds=120)
    distributed.init_process_group("gloo", f"file://{folder}/meet", limit, rank=rank, world_size=2)
    try:
        padded = torch.cat([torch.arange(N), torch.tensor([0])])
        found = metrics()
        for part in padded[rank::2].split(16 if rank else 8):
            update(found, part)
        return [metric.compute() for metric in found]
    finally:
        distributed.destroy_process_group()


def second_process(_: int, folder: str) -> None:
    torch.save(measure_as(1, folder), f"{folder}/second.pt")


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_count_every_image_once(tmp_path: Path, expected: list[Tensor]) -> None:
    """A padded image counted twice would move every mean; one rank's share alone would move it more."""
    second = multiprocessing.spawn(second_process, args=(str(tmp_path),), join=False)
    found = measure_as(0, str(tmp_path))
    second.join()
    for values in (found, torch.load(tmp_path / "second.pt")):
        for value, wanted in zip(values, expected, strict=True):
            torch.testing.assert_close(value, wanted, equal_nan=True)
