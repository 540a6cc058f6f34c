"""Crafter: features that keep their use and lose the face. Tensors in, tensors out."""

__version__ = "0.1.0"
