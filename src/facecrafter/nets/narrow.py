"""ResNet18 with fewer channels, for machines on which the whole comparison must end within minutes."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models.resnet import BasicBlock, conv1x1


class NarrowResNet18(nn.Sequential):
    """Images (N, 3, H, W), normalised -> logits (N, n_outputs); its parts are named as torchvision does.

    He et al. 2016 with `width` to 8 x `width` channels, where theirs has 64 to 512.
    """

    def __init__(self, n_outputs: int, width: int = 16) -> None:
        parts: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            "bn1": nn.BatchNorm2d(width),
            "relu": nn.ReLU(),
            "maxpool": nn.MaxPool2d(3, stride=2, padding=1),
            "layer1": _layer(width, width, stride=1),
            "layer2": _layer(width, 2 * width, stride=2),
            "layer3": _layer(2 * width, 4 * width, stride=2),
            "layer4": _layer(4 * width, 8 * width, stride=2),
            "avgpool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "fc": nn.Linear(8 * width, n_outputs),
        }
        super().__init__(OrderedDict(parts))
        # As torchvision initialises its own ResNets; a Sequential would keep PyTorch's default.
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if inputs != outputs:
        shortcut = nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))
