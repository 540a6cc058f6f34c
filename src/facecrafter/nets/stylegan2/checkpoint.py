"""Loads what NVIDIA's PyTorch code for StyleGAN2 trains: the state dict of its `G_ema`.

That code saves pickled networks, which run code when they are opened. Where it is installed, they become the
file that is read here with

    torch.save(pickle.load(open("network.pkl", "rb"))["G_ema"].state_dict(), "network.pt")
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from facecrafter.nets.stylegan2.generator import StyleGenerator
from facecrafter.nets.weights import check_finite, read_state_dict

# A file from elsewhere must not fill the memory. Configuration F at 1024 x 1024 has 120 MB.
_MOST_BYTES = 2**30
_MOST = {"resolution": 1024, "latent_dim": 1024, "style_dim": 1024, "mapping_layers": 32, "channel_max": 1024}
_FILTER = torch.tensor([1.0, 3, 3, 1]).outer(torch.tensor([1.0, 3, 3, 1])) / 64
_REMEDY = "save G_ema.state_dict() of an unconditional StyleGAN2 of 3 channels with torch.save"


def load_stylegan2(checkpoint: str | Path, image_size: int | None = None) -> StyleGenerator:
    """The frozen generator whose state dict is in a file; its sizes are read from the file.

    The published networks of mixed precision clamp activations at ±256, so that they fit into float16; this
    one does not.

    Args:
        checkpoint: file that `torch.save` wrote: names and tensors of `G_ema`.
        image_size: side of the images; smaller than the network's own, they are averaged down.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else, naming the file and what is missing, too much or wrong; or
            `image_size` is larger than the network's.
    """
    path = Path(checkpoint)
    state = read_state_dict(path, f"StyleGAN2 weights ({_REMEDY})", _MOST_BYTES)
    state = _without_filters(state, path)
    generator = StyleGenerator(**_sizes(state, path), image_size=image_size)
    try:
        generator.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} is no state dict of a StyleGAN2 generator: {error}; {_REMEDY}") from error
    check_finite(state, path)
    return generator.eval().requires_grad_(False)


def _without_filters(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state without its copies of the low-pass filter, which is no parameter here."""
    for name, value in state.items():
        if name.endswith(".resample_filter") and not torch.equal(value.float(), _FILTER):
            raise ValueError(f"{path}: {name} is not the filter [1, 3, 3, 1] of StyleGAN2; {_REMEDY}")
    return {name: value for name, value in state.items() if not name.endswith(".resample_filter")}


def _sizes(state: dict[str, Tensor], path: Path) -> dict[str, int]:
    """The arguments of `StyleGenerator` that the shapes tell; whatever does not fit them is found later."""

    def size(name: str, dimension: int) -> int:
        if name not in state or state[name].ndim <= dimension:
            raise ValueError(f"{path} has no {name} of a StyleGAN2 generator; {_REMEDY}")
        return state[name].shape[dimension]

    blocks = [re.fullmatch(r"synthesis\.b(\d{1,4})\.conv1\.weight", name) for name in state]
    channels = {int(block[1]): size(block[0], 0) for block in blocks if block}
    sizes = {
        "resolution": max(channels, default=0),
        "latent_dim": size("mapping.fc0.weight", 1),
        "style_dim": size("mapping.w_avg", 0),
        "mapping_layers": sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in state),
        "channel_max": size("synthesis.b4.conv1.weight", 0),
    }
    for name, most in _MOST.items():
        if sizes[name] > most:
            raise ValueError(f"{path}: {name}={sizes[name]} is too large for a StyleGAN2, at most {most}")
    return sizes | {"channel_base": max(side * number for side, number in channels.items())}
