"""Crafter with every part exchanged, as a configuration names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy_rivals import artifact

from lightning_modules import Crafter, Decoder, Defence, Prior, TargetNetwork
from lightning_modules.artifacts import load_artifact

PARTS = "facecrafter.crafter"
EXCHANGED: dict[str, Any] = {
    "utility": {
        "class_path": f"{PARTS}.utility.PublicLayers",
        "init_args": {"layers": {"hidden": 1, "2": 2}},
    },
    "towards": {"secret": "a"},
    "attackers": [
        {"class_path": f"{PARTS}.attackers.OpenedLayers", "init_args": {"first": 2}},
        {"class_path": f"{PARTS}.attackers.OwnDecoder"},
    ],
    "combine": "worst",
    "update": {"class_path": f"{PARTS}.update.SpanSteps"},
    "release": {"class_path": f"{PARTS}.release.DownToFloor", "init_args": {"layer": "0", "steps": 60}},
}
SMALL = {
    "iterations": 2,
    "inner": {"first": 2, "starts": 1},
    "critic": {"steps": 1, "warmup": 1, "width": 4},
    "health": {"every": 0},
    "precision": "32",
}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder: Path = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    arguments = {"n_outputs": 3}
    target = artifact(folder / "target", TargetNetwork(**arguments), **arguments)
    kinds: dict[str, tuple[type, dict[str, Any]]] = {
        "prior": (Prior, {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4}),
        "decoder": (Decoder, {"encoder": target, "image_size": 32, "width": 8, "blocks": 1}),
    }
    return {"target": target} | {
        name: artifact(folder / name, kind(**given), **given) for name, (kind, given) in kinds.items()
    }


def test_a_configuration_exchanges_every_part(networks: dict[str, str], tmp_path: Path) -> None:
    given = {**networks, **SMALL, **EXCHANGED}
    plain = Crafter(networks["target"], networks["prior"])
    folder = artifact(tmp_path / "crafter", plain, **given)
    defence = load_artifact(folder, Defence)
    crafting = defence.crafting
    names = [type(part).__name__ for part in (crafting.utility, crafting.towards, crafting.update)]
    assert names == ["PublicLayers", "KeyedFaces", "SpanSteps"]
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # as Lightning predicts
        batch = {"number": 0, "row": torch.arange(2), "image": images}
        released, raw = defence.predict_step(batch, 0)["features"], defence.encoder(images)
    block = defence.head[0]
    assert (block(released) - block(raw)).norm() < 0.3 * block(raw).norm()
    assert (released - raw).norm() > 0.1 * raw.norm()
