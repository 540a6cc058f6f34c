"""Photographs that a judge enrols, without a data set around them."""

from __future__ import annotations

import torch
from torch import Tensor


class Photographs:
    """One image (N, 3, H, W) of each of N people."""

    def __init__(self, images: Tensor) -> None:
        self.pictures, self.identities = images, torch.arange(len(images))

    def __len__(self) -> int:
        return len(self.pictures)

    def images(self, positions: Tensor) -> Tensor:
        return self.pictures[positions]
