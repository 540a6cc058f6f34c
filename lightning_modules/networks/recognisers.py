"""Second opinions: other networks that recognise faces, so that no verdict hangs on one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter.nets.dlib_resnet import load_dlib_resnet
from facecrafter.nets.weights import load_into, read_state_dict
from lightning_modules.networks.oracle import Recogniser


class DlibOracle(Recogniser):
    """dlib's frozen ResNet of 29 convolutions.

    Args:
        weights: dlib_face_recognition_resnet_model_v1.dat, of the package `face_recognition_models`.
        face_box: see Recogniser.
    """

    def __init__(
        self, weights: str, face_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    ) -> None:
        super().__init__(load_dlib_resnet(weights), face_box)


class OwnOracle(Recogniser):
    """Any face recognition network of your own.

    Args:
        make: import path of what makes it, called without arguments: images (N, 3, H, W) in [0, 1] ->
            embeddings (N, E), compared by their cosine.
        weights: file of its state dict, if `make` leaves it untrained.
        face_box: see Recogniser.
    """

    def __init__(
        self,
        make: str,
        weights: str | None = None,
        face_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    ) -> None:
        network = _made(make)
        if weights is not None:
            load_into(network, read_state_dict(weights), weights)
        super().__init__(_OfLengthOne(network).eval().requires_grad_(False), face_box)


class _OfLengthOne(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.network(images).flatten(1))


def _made(path: str) -> nn.Module:
    module, _, attribute = path.rpartition(".")
    try:
        make: Callable[[], nn.Module] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"make={path!r} is no import path of a network: {error}") from error
    network = make()
    if not isinstance(network, nn.Module):
        raise ValueError(f"make={path!r} makes a {type(network).__name__}, not a torch.nn.Module")
    return network
