"""dlib's face recognition ResNet, read from the file that dlib ships, without dlib.

A second network to judge with: trained on other pictures than MobileFaceNet, with another loss, of another
architecture. The file, `dlib_face_recognition_resnet_model_v1.dat` (King 2017, CC0), is in the package
`face_recognition_models`. dlib writes a network layer by layer, from the image on: the layer's tag, and
behind it its parameters.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.nets.weights import check_finite

_FACE_SIZE = 150
_MEAN = (122.782, 117.001, 104.298)
# Channels and stride of every residual block, from the image on.
_BLOCKS = (
    *[(32, 1)] * 3,
    *((64, 2), *[(64, 1)] * 3),
    *((128, 2), *[(128, 1)] * 2),
    *((256, 2), *[(256, 1)] * 2),
    (256, 2),
)
_TAGS = re.compile(rb"con_4|affine_|fc_2")
_MOST_BYTES = 2**26


class DlibResNet(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> identity embeddings (N, 128) of length one.

    29 convolutions, the affine layer behind each folded into it. Images of any size are resized to 150 x 150
    and normalised here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None] / 255, persistent=False)
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        inputs = [32, *(channels for channels, _ in _BLOCKS)]
        self.blocks = nn.Sequential(
            *(_Residual(before, *block) for before, block in zip(inputs, _BLOCKS, strict=False))
        )
        self.head = nn.Linear(256, 128, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        faces = F.interpolate(images, (_FACE_SIZE, _FACE_SIZE), mode="bilinear", antialias=True)
        maps = F.max_pool2d(F.relu(self.stem((faces - self.mean) * (255 / 256))), 3, stride=2)
        return F.normalize(self.head(self.blocks(maps).mean(dim=(2, 3))))


class _Residual(nn.Module):
    """Two convolutions beside the identity, or beside an average pool where they halve the map. dlib fills up
    with zeros what one of the two lacks in channels or in size."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1 if stride == 1 else 0)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        found = self.second(F.relu(self.first(maps)))
        beside = maps if self.stride == 1 else F.avg_pool2d(maps, self.stride)
        shape = [max(sizes) for sizes in zip(found.shape[1:], beside.shape[1:], strict=True)]
        return F.relu(_filled(found, shape) + _filled(beside, shape))


def _filled(maps: Tensor, shape: list[int]) -> Tensor:
    missing = [most - size for most, size in zip(shape, maps.shape[1:], strict=True)]
    return F.pad(maps, [padding for more in reversed(missing) for padding in (0, more)])


def load_dlib_resnet(weights: str | Path) -> DlibResNet:
    """A frozen DlibResNet with the parameters in dlib's file `weights`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such file of dlib's, or is damaged.
    """
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; name dlib_face_recognition_resnet_model_v1.dat")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"{path} is larger than dlib's face recognition network: {_MOST_BYTES:,} bytes at most"
        )
    net = DlibResNet()
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    try:
        _fill(net, convolutions, path.read_bytes())
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is not dlib's face recognition network: {error}") from error
    check_finite(net.state_dict(), path)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def _fill(net: DlibResNet, convolutions: list[nn.Conv2d], content: bytes) -> None:
    places = [(match.group(), match.end()) for match in _TAGS.finditer(content)]
    expected = [b"con_4", b"affine_"] * len(convolutions) + [b"fc_2"]
    if [tag for tag, _ in places] != expected:
        raise ValueError(f"it has {len(places)} layers with parameters, not these {len(expected)}")
    for number, layer in enumerate(convolutions):
        count = layer.out_channels
        kernels = layer.weight.numel()
        values = _Reader(content, places[2 * number][1]).tensor(kernels + count)
        scale, shift = _Reader(content, places[2 * number + 1][1]).tensor(2 * count).chunk(2)
        layer.weight.copy_(values[:kernels].reshape_as(layer.weight) * scale[:, None, None, None])
        layer.bias.copy_(values[kernels:] * scale + shift)  # type: ignore[union-attr]
    last = _Reader(content, places[-1][1])
    last.integer(), last.integer()  # outputs and inputs, as the tensor says too
    net.head.weight.copy_(last.tensor(net.head.weight.numel()).reshape(256, 128).T)


class _Reader:
    """Reads what dlib's `serialize` wrote: integers with their length before them, tensors of float32."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at

    def integer(self) -> int:
        control = self.content[self.at]
        size, end = control & 0x0F, self.at + 1 + (control & 0x0F)
        if control != size or not 0 < size <= 8 or end > len(self.content):
            raise ValueError(f"there is no count at byte {self.at}")
        value = int.from_bytes(self.content[self.at + 1 : end], "little")
        self.at = end
        return value

    def tensor(self, count: int) -> Tensor:
        version, shape = self.integer(), [self.integer() for _ in range(4)]
        if version != 2 or math.prod(shape) != count or self.at + 4 * count > len(self.content):
            raise ValueError(f"at byte {self.at} there is no tensor of {count} numbers")
        return torch.frombuffer(bytearray(self.content[self.at : self.at + 4 * count]), dtype=torch.float32)
