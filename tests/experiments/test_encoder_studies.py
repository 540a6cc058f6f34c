"""Encoders that users have, each through a study: tried first, crafted, attacked, measured, reported."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from every_module import NARROW, PRIOR
from tiny_study import DATA, TRAINER, model, write
from torchvision import models

from experiments.study.__main__ import parse
from experiments.study.carry_out import run

SIZE = DATA["init_args"]["image_size"]
QUICK = {"MobileNetV3 small"}
ALL = "FACECRAFTER_TEST_ALL_ENCODERS"
VIT = {"img_size": SIZE, "patch_size": 8, "class_token": False, "global_pool": "avg"}
SMALL = {"iterations": 1, "inner": {"first": 1, "starts": 1}, "critic": {"steps": 1, "warmup": 1, "width": 4}}
RELEASE = model("facecrafter.crafter.release.DownToFloor", layer="hidden", steps=2)
UTILITY = model("facecrafter.crafter.utility.PublicLayers", layers={"hidden": 1.0})
ONE_BATCH = {**DATA, "init_args": DATA["init_args"] | {"manifest_batch_size": 4}}


def scripted(folder: Path) -> str:
    """The first blocks of a network, saved by torch.jit."""
    encoder = models.mobilenet_v3_small(num_classes=17).features[:4].eval()
    torch.jit.script(encoder).save(str(folder / "encoder.ts"))
    return str(folder / "encoder.ts")


def as_onnx(folder: Path) -> str:
    """The same blocks, as ONNX."""
    encoder = models.mobilenet_v3_small(num_classes=17).features[:4].eval()
    axes = {"images": {0: "count"}, "features": {0: "count"}}
    names = {"input_names": ["images"], "output_names": ["features"], "dynamic_axes": axes}
    torch.onnx.export(encoder, (torch.rand(2, 3, SIZE, SIZE),), folder / "net.onnx", dynamo=False, **names)
    return str(folder / "net.onnx")


def exported(folder: Path) -> str:
    """A whole network, saved by torch.export."""
    network = models.mobilenet_v3_small(num_classes=17).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (torch.rand(3, 3, SIZE, SIZE),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "net.pt2")
    return str(folder / "net.pt2")


ENCODERS: dict[str, tuple[str | Callable[[Path], str], dict[str, Any]]] = {
    "ResNet50": ("resnet50", {}),
    "MobileNetV3 small": ("torchvision/mobilenet_v3_small", {"split": "features.3"}),
    "MobileNetV3 large": ("torchvision/mobilenet_v3_large", {"split": "features.4"}),
    "EfficientNet-B0": ("torchvision/efficientnet_b0", {"split": "features.2"}),
    "ConvNeXt-tiny": ("torchvision/convnext_tiny", {"split": "features.1"}),
    "ViT": ("timm/vit_tiny_patch16_224", {"split": "blocks.1", "arch_args": VIT}),
    "TorchScript": (scripted, {}),
    "torch.export": (exported, {"split": "features.3"}),
    "ONNX": (as_onnx, {}),
}


def study(arch: str, **options: Any) -> dict[str, Any]:
    """A target network and attacks on Crafter's features, which keep `hidden`: there and one block on."""
    attack = {"class_path": "facecrafter.attacks.WhiteBox", "networks": {"prior": "${prior}"}}
    budget = {"iterations": 2, "restarts": 1, "steps": 2}
    return {
        "name": "encoder",
        "dataset": "synthetic",
        "network": arch,
        "data": ONE_BATCH,
        "trainer": TRAINER,
        "fits": {
            "target": {"model": model("TargetNetwork", arch=arch, **options)},
            "prior": {"model": model("Prior", **PRIOR)},
            "classifier": {
                "model": model("IdentityClassifier", trunk=NARROW),
                "data": {"fit_role": "private_train"},
            },
        },
        "oracles": {"classifier": "${classifier}"},
        "defences": {
            "none": {"model": model("Undefended", target="${target}")},
            "crafter": {
                "model": model(
                    "Crafter",
                    target="${target}",
                    prior="${prior}",
                    utility=UTILITY,
                    release=RELEASE,
                    **SMALL,
                )
            },
        },
        "attacks": {
            "white_box": attack | {"init_args": budget, "against": ["crafter"]},
            "through_block": attack | {"init_args": budget, "layers": {"0": 1.0}, "against": ["crafter"]},
        },
        "jobs": 1,
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Jacobian rule", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_goes_through_a_study(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once: a network that trained for hours, and that Crafter could then not differentiate."""
    if name not in QUICK and ALL not in os.environ:
        pytest.skip(f"a minute or more each: set {ALL}")
    if needed := {"ViT": "timm", "ONNX": "onnx2fx"}.get(name):
        pytest.importorskip(needed)
    monkeypatch.setenv("FACECRAFTER_CACHE", str(tmp_path / "cache"))
    arch, options = ENCODERS[name]
    config = study(arch if isinstance(arch, str) else arch(tmp_path), **options)
    line = ["--config", write(config, tmp_path / "c.yaml"), "--output", tmp_path / "study"]
    assert run(**vars(parse(list(map(str, line))))) == 0
    told = capfd.readouterr().out
    assert "preflight: all of them work" in told
    assert (tmp_path / "study" / "report.html").is_file()
    rows = list(csv.DictReader((tmp_path / "study" / "results.csv").open()))
    attacks = {(row["defence"], row["attack"]) for row in rows}
    assert attacks == {("crafter", "white_box"), ("crafter", "through_block")}
    assert all(0 <= float(row["auc"]) <= 1 for row in rows)
