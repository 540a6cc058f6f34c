"""Attacks: from intercepted features to images of faces."""

from facecrafter.attacks.amortized_white_box import AmortizedWhiteBox
from facecrafter.attacks.black_box import BlackBox
from facecrafter.attacks.hybrid import Hybrid
from facecrafter.attacks.mirror.genetic import MirrorGenetic
from facecrafter.attacks.mirror.mirror import Mirror
from facecrafter.attacks.progressive import Progressive
from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction, random_latents
from facecrafter.attacks.white_box import WhiteBox

__all__ = [
    "AmortizedWhiteBox",
    "Attack",
    "BlackBox",
    "Hybrid",
    "Mirror",
    "MirrorGenetic",
    "Progress",
    "Progressive",
    "Reconstruction",
    "WhiteBox",
    "random_latents",
]
