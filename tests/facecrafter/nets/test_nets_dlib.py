"""dlib's file format: what an independent writer writes is read, and what is damaged is refused."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter.nets.dlib_resnet import load_dlib_resnet

SIZES = [(3, 32, 7), *[(32, 32, 3)] * 6, (32, 64, 3), *[(64, 64, 3)] * 7, (64, 128, 3), *[(128, 128, 3)] * 5]
SIZES += [(128, 256, 3), *[(256, 256, 3)] * 7]
HALVING = {3, 7, 10, 13}
"""Blocks, of 14, that halve the map."""


def count(value: int) -> bytes:
    """An integer as dlib serialises it: how many bytes, and these, the lowest first."""
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")


def tensor(values: Tensor, *shape: int) -> bytes:
    return count(2) + b"".join(map(count, shape)) + values.numpy().astype("<f4").tobytes()


@cache
def layers() -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Kernels, biases, scales and shifts of every convolution."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int, deviation: float = 0.1) -> Tensor:
        return deviation * torch.randn(shape, generator=rng)

    return [
        (normal(o, i, k, k, deviation=(i * k * k) ** -0.5), normal(o), 1 + normal(o), normal(o))
        for i, o, k in SIZES
    ]


def written(found: list[tuple[Tensor, Tensor, Tensor, Tensor]], last: Tensor) -> bytes:
    """With other things between the layers, as dlib has them: sizes, tags, learning rates."""
    parts = [count(2), count(0), b"\x01\x07input_rgb"]
    for kernels, biases, scales, shifts in found:
        values = torch.cat([kernels.flatten(), biases])
        parts += [count(5), b"con_4", tensor(values, len(values), 1, 1, 1), count(3), count(1), b"relu_"]
        values = torch.cat([scales, shifts])
        parts += [count(7), b"affine_", tensor(values, len(values), 1, 1, 1), count(1)]
    return b"".join([*parts, count(4), b"fc_2", count(128), count(256), tensor(last, 256, 128, 1, 1)])


def computed(images: Tensor, found: list[tuple[Tensor, Tensor, Tensor, Tensor]], last: Tensor) -> Tensor:
    """The network layer by layer as dlib's example has it, the affine layers on their own."""
    mean = torch.tensor([122.782, 117.001, 104.298])[:, None, None]
    maps = (255 * images - mean) / 256

    def layer(x: Tensor, number: int, stride: int) -> Tensor:
        kernels, biases, scales, shifts = found[number]
        padding = kernels.shape[2] // 2 if stride == 1 else 0
        made = F.conv2d(x, kernels, biases, stride, padding)
        return made * scales[:, None, None] + shifts[:, None, None]

    maps = F.max_pool2d(F.relu(layer(maps, 0, 2)), 3, 2)
    for block in range(14):
        stride = 2 if block in HALVING else 1
        made = layer(F.relu(layer(maps, 1 + 2 * block, stride)), 2 + 2 * block, 1)
        beside = F.avg_pool2d(maps, 2, 2) if stride == 2 else maps
        (n, a, h, w), (_, b, k, m) = made.shape, beside.shape
        maps = torch.zeros(n, max(a, b), max(h, k), max(w, m))
        maps[:, :a, :h, :w] += made
        maps[:, :b, :k, :m] += beside
        maps = F.relu(maps)
    return F.normalize(maps.mean(dim=(2, 3)) @ last)


def test_what_dlib_wrote_computes_what_dlib_computes(tmp_path: Path) -> None:
    found, last = layers(), torch.randn(256, 128, generator=torch.Generator().manual_seed(1))
    (tmp_path / "net.dat").write_bytes(written(found, last))
    network = load_dlib_resnet(tmp_path / "net.dat")
    images = torch.rand(2, 3, 150, 150, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(network(images), computed(images, found, last), rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network(images[:, :, :40, :32]).shape == (2, 128)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """Whatever is cut off or written over is named, and nothing that it says is believed."""
    whole = written(layers(), torch.zeros(256, 128))
    path = tmp_path / "net.dat"
    place = whole.index(b"con_4") + len(b"con_4")
    for content, message in [
        (b"<html>", "0 layers with parameters, not these 59"),
        (whole[:-100], "no tensor of 32768 numbers"),
        (whole[:place] + b"\x89" + whole[place + 1 :], "there is no count at byte"),
        (whole[:place] + b"\x01\x03" + whole[place + 2 :], "no tensor of 4736 numbers"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"net.dat is not dlib's face recognition network: .*{message}"):
            load_dlib_resnet(path)
    with pytest.raises(FileNotFoundError, match="name dlib_face_recognition_resnet_model_v1"):
        load_dlib_resnet(tmp_path / "missing.dat")
    path.write_bytes(written(layers(), torch.full((256, 128), torch.nan)))
    with pytest.raises(ValueError, match="not finite in"):
        load_dlib_resnet(path)


@pytest.mark.real_data
def test_the_published_file_loads() -> None:
    weights = os.environ.get("FACECRAFTER_DLIB_WEIGHTS")
    if not weights:
        pytest.skip("FACECRAFTER_DLIB_WEIGHTS names no dlib_face_recognition_resnet_model_v1.dat")
    rng = torch.Generator().manual_seed(0)
    found = load_dlib_resnet(weights)(torch.rand(4, 3, 150, 150, generator=rng))
    assert found.isfinite().all()
