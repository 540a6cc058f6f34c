"""Features that are vectors or patch tokens: every attack reads them as maps, and judges what it found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from toy_vectors import ENCODERS, LATENT, SIDE, encoder_of

from facecrafter import attacks
from facecrafter.attacks import Attack
from facecrafter.crafter.inversion import squared_distance
from facecrafter.nets.amortizer import Amortizer
from facecrafter.nets.decoder import Decoder
from facecrafter.nets.generator import Generator1
from facecrafter.nets.stylegan2.generator import StyleGenerator
from facecrafter.nets.target import feature_shape

STYLES = {"starts": 4, "samples": 50, "precision": "32"}
ARGUMENTS = {
    "WhiteBox": {"iterations": 2, "restarts": 2, "steps": 2},
    "AmortizedWhiteBox": {"iterations": 2, "restarts": 2, "steps": 2},
    "Progressive": {"iterations": 1, "restarts": 1, "rungs": (2,), "steps": 2},
    "Hybrid": {"iterations": 2},
    "BlackBox": {},
    "Mirror": STYLES | {"iterations": 2},
    "MirrorGenetic": STYLES | {"queries": 8, "population": 3},
}
KINDS = {name: kind for name, kind in vars(attacks).items() if isinstance(kind, type)}
ATTACKS = [name for name, kind in KINDS.items() if issubclass(kind, Attack) and kind is not Attack]


def networks(encoder: torch.nn.Module) -> dict[str, Callable[[], torch.nn.Module]]:
    """By the name of an attack's argument, what makes the network for it."""
    shape = feature_shape(encoder, SIDE)
    return {
        "encoder": lambda: encoder,
        "prior": partial(Generator1, LATENT, SIDE, width=4),
        "decoder": partial(Decoder, shape, SIDE, width=4, blocks=1),
        "amortizer": partial(Amortizer, shape, LATENT),
    }


@pytest.mark.filterwarnings("ignore:.*Jacobian rule")
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_reads_what_is_no_map(name: str, kind: str) -> None:
    """Its own loss is the distance between the features of what it shows and those that it was given."""
    encoder, attack = encoder_of(kind), KINDS[name]
    wanted = attack.__init__.__annotations__
    made = {argument: make().eval() for argument, make in networks(encoder).items() if argument in wanted}
    if "Mirror" in name:
        made["prior"] = StyleGenerator(SIDE, 4, 4, mapping_layers=2, channel_base=32, channel_max=2)
    features = encoder(torch.rand(2, 3, SIDE, SIDE)).detach()
    assert features.ndim == 4
    found = attack(**made, **ARGUMENTS[name]).reconstruct(features, torch.Generator())
    assert found.images.shape[2:] == (3, SIDE, SIDE)
    assert found.losses.isfinite().all()
    if name != "BlackBox":  # who cannot run the encoder cannot compare
        expected = squared_distance(features, encoder(found.images[:, 0]))
        torch.testing.assert_close(found.losses[:, 0], expected, rtol=1e-3, atol=1e-4)
