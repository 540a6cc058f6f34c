"""The solvers of the implicit gradient, under the path by which configurations name them."""

from facecrafter.crafter.implicit import ConjugateGradient, NeumannSeries

__all__ = ["ConjugateGradient", "NeumannSeries"]
