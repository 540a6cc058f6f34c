"""A ResNet18 that starts where the encoder ends: the shape of every network that reads features."""

from __future__ import annotations

from torch import nn
from torchvision import models

_LAYER2_INPUTS = 64


def resnet18_tail(channels: int, n_outputs: int) -> nn.Sequential:
    """Features (N, C, h, w) -> (N, n_outputs): layers 2 to 4 of ResNet18, average pool, linear.

    With C = 64 channels this is the target network's f; for any other C the first block is widened to it.
    """
    net = models.resnet18(num_classes=n_outputs)
    if channels != _LAYER2_INPUTS:
        first = net.layer2[0]
        first.conv1 = _convolution(channels, first.conv1)
        first.downsample[0] = _convolution(channels, first.downsample[0])
    return nn.Sequential(*net.layer2, *net.layer3, *net.layer4, net.avgpool, nn.Flatten(), net.fc)


def _convolution(channels: int, like: nn.Conv2d) -> nn.Conv2d:
    """A freshly initialised convolution as `like`, with other input channels."""
    size, stride, padding = like.kernel_size[0], like.stride[0], like.padding[0]
    layer = nn.Conv2d(channels, like.out_channels, size, stride, int(padding), bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
