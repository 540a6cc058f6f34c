"""The target network f∘Enc, split as in the paper: the encoder runs at the edge, the head in the cloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from facecrafter.nets.modes import evaluating
from facecrafter.nets.narrow import NarrowResNet18

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> the same in units of a standard deviation about a mean: ImageNet's."""

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        for name, numbers in (("mean", mean), ("std", std)):
            if len(numbers) != 3:
                raise ValueError(
                    f"{name} is {list(numbers)}, but an image has three channels: name three numbers"
                )
        self.mean: Tensor
        self.std: Tensor
        # Constants, not weights: they stay out of the state dict.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class SplitNetwork(NamedTuple):
    """Images (N, 3, H, W) in [0, 1] -> encoder -> features (N, C, h, w) -> head -> logits (N, outputs)."""

    encoder: nn.Module
    head: nn.Module


def resnet18(n_outputs: int) -> SplitNetwork:
    """Split behind layer1: 64 x 16 x 16 features for 64 x 64 images, 64 x 32 x 32 for 128 x 128."""
    return _split_resnet(models.resnet18(num_classes=n_outputs))


def resnet18_quarter(n_outputs: int) -> SplitNetwork:
    """A quarter of ResNet18's channels, for quick studies: 16 x 8 x 8 features for 32 x 32 images."""
    return _split_resnet(NarrowResNet18(n_outputs, width=16))


def resnet50(n_outputs: int) -> SplitNetwork:
    """Split behind layer1: 256 x 28 x 28 features for 112 x 112 images."""
    return _split_resnet(models.resnet50(num_classes=n_outputs))


def _split_resnet(net: models.ResNet | NarrowResNet18) -> SplitNetwork:
    part = net.get_submodule
    stem = [part(name) for name in ("conv1", "bn1", "relu", "maxpool")]
    encoder = nn.Sequential(Normalise(), *stem, *part("layer1").children())
    rest = [block for name in ("layer2", "layer3", "layer4") for block in part(name).children()]
    head = nn.Sequential(*rest, part("avgpool"), nn.Flatten(), part("fc"))
    return _out_of_place(SplitNetwork(encoder, head))


def vgg16(n_outputs: int) -> SplitNetwork:
    """Split behind the second pool: 128 x 16 x 16 features for 64 x 64 images, 128 x 32 x 32 for 128 x 128.

    With batch norm behind every convolution, without which it hardly trains from scratch. The average pool is
    global and the linear layers are 512 wide: the 7 x 7 pool and 4,096 units of the original are meant for
    224 x 224 images, and hold eight times the weights of all its convolutions.
    """
    layers = models.vgg.make_layers(models.vgg.cfgs["D"], batch_norm=True)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    encoder = nn.Sequential(Normalise(), *layers[: pools[1] + 1])
    head = nn.Sequential(
        *layers[pools[1] + 1 :],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(512, n_outputs),
    )
    return _out_of_place(SplitNetwork(encoder, head))


def _out_of_place(split: SplitNetwork) -> SplitNetwork:
    """Turns in-place ReLUs off: Jacobian products need the values that they would overwrite."""
    for half in split:
        for layer in half.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
    return split


ARCHITECTURES: dict[str, Callable[[int], SplitNetwork]] = {
    "resnet18": resnet18,
    "resnet18_quarter": resnet18_quarter,
    "vgg16": vgg16,
    "resnet50": resnet50,
}


def feature_shape(encoder: nn.Module, image_size: int) -> tuple[int, int, int]:
    """(C, h, w) of the encoder's features for square images of `image_size` pixels.

    Raises:
        ValueError: if the output is not one map (N, C, h, w).
    """
    like = next(encoder.parameters(), torch.zeros(()))
    # In eval mode: batch norms would take the black image into their statistics, or refuse a batch of one.
    with torch.no_grad(), evaluating(encoder):
        features = encoder(torch.zeros(1, 3, image_size, image_size, dtype=like.dtype, device=like.device))
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise ValueError("an encoder must return one feature map of shape (N, C, h, w)")
    channels, height, width = features.shape[1:]
    return channels, height, width
