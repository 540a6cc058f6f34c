"""The smallest study there is: four private people of 32 pixels, narrow networks, one epoch for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DATA = {
    "class_path": "datamodules.SyntheticFaces",
    "init_args": {
        "n_identities": 12,
        "images_per_identity": 5,
        "image_size": 32,
        "private_identities": 4,
        "batch_size": 8,
        "manifest_batch_size": 2,
    },
}
TRAINER = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_model_summary": False}


def model(name: str, **init_args: Any) -> dict[str, Any]:
    """The `model` section for a class of lightning_modules, or of any module by its full path."""
    return {"class_path": name if "." in name else f"lightning_modules.{name}", "init_args": init_args}


def tiny_study() -> dict[str, Any]:
    """A study with the undefended point, three defences from outside the package and the black-box attack."""
    return {
        "name": "tiny",
        "dataset": "synthetic",
        "network": "resnet18",
        "data": DATA,
        "trainer": TRAINER,
        "fits": {
            "target": {"model": model("TargetNetwork", n_outputs=17, arch="resnet18_quarter")},
            "decoder": {"model": model("Decoder", encoder="${target}", image_size=32, width=8, blocks=1)},
            "classifier": {
                "model": model("IdentityClassifier", n_identities=4, trunk="resnet18_quarter"),
                "data": {"fit_role": "private_train"},
            },
        },
        "oracles": {"classifier": "${classifier}"},
        "defences": {
            "none": {"model": model("Undefended", target="${target}")},
            "noise": {
                "model": model("gaussian_noise.GaussianNoise", target="${target}"),
                "strengths": {"sigma": [1.0]},
            },
            "mask": {"model": model("trained_mask.TrainedMask", target="${target}", channels=16)},
            "blur": {
                "model": model("blurred_encoder.BlurredEncoder", target="${target}"),
                "replaces": "target",
            },
        },
        "attacks": {
            "black_box": {
                "class_path": "facecrafter.attacks.BlackBox",
                "networks": {"decoder": "${decoder}"},
            }
        },
    }


def guessing() -> dict[str, Any]:
    """A study of one network, whose attack and judge, external_defences/guess.py, need no training."""
    whole = tiny_study()
    return whole | {
        "fits": {"target": whole["fits"]["target"]},
        "oracles": {"pixels": {"class_path": "guess.Pixels"}},
        "defences": {"none": whole["defences"]["none"]},
        "attacks": {"guess": {"class_path": "guess.Guess"}},
    }


def write(config: dict[str, Any], path: Path) -> Path:
    """Write a configuration as YAML."""
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
