"""Attacks: from intercepted features to images of faces."""

from facecrafter.attacks.black_box import BlackBox
from facecrafter.attacks.reconstruction import Attack, Progress, Reconstruction, random_latents
from facecrafter.attacks.white_box import WhiteBox

__all__ = ["Attack", "BlackBox", "Progress", "Reconstruction", "WhiteBox", "random_latents"]
