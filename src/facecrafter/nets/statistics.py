"""TIPRDC's statistics network, which estimates how much a feature still says about its image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from facecrafter.nets.tail import resnet18_tail
from facecrafter.nets.target import Normalise

_EMBEDDING = 512
WIDTHS = (4096, 512)


class StatisticsNetwork(nn.Module):
    """T(x, z, u): images (N, 3, H, W) in [0, 1], features (N, C, h, w) and labels (N,) -> (N,).

    Li et al., KDD 2020: a trunk for the image and one for the feature, ResNet18s here, and the one-hot label,
    joined in linear layers of 4,096, 512 and 1 units with dropout between.

    Args:
        channels: C of the features.
        n_labels: values of the private attribute u.
        dropout: its probability.
    """

    def __init__(self, channels: int, n_labels: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.n_labels = n_labels
        self.image_trunk = nn.Sequential(Normalise(), resnet18(num_classes=_EMBEDDING))
        self.feature_trunk = resnet18_tail(channels, _EMBEDDING)
        wide, narrow = WIDTHS
        self.joint = nn.Sequential(
            nn.Linear(2 * _EMBEDDING + n_labels, wide),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(wide, narrow),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(narrow, 1),
            nn.Flatten(0),
        )

    def forward(self, images: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        one_hot = F.one_hot(labels, self.n_labels).to(features)
        joined = [self.image_trunk(images), self.feature_trunk(features), one_hot]
        values: Tensor = self.joint(torch.cat(joined, dim=1))
        return values
