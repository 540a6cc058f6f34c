"""Defences that change the image and not the feature, built to mislead networks that recognise people."""

from __future__ import annotations

from facecrafter.image_space.embedding import Embedding, flat_features
from facecrafter.image_space.fawkes import MODES, Mode, cloak
from facecrafter.image_space.lowkey import perturb
from facecrafter.image_space.perceptual import FeatureDistance

__all__ = ["MODES", "Embedding", "FeatureDistance", "Mode", "cloak", "flat_features", "perturb"]
