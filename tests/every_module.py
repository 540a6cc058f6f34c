"""Every module that is trained, in its smallest form, with what it builds on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tiny_study import DATA, TRAINER, model, write

from experiments import fit
from experiments.study.keys import substitute

ENCODER = {
    "class_path": "torch.nn.Conv2d",
    "init_args": {"in_channels": 3, "out_channels": 4, "kernel_size": 4, "stride": 4},
}
TARGET = {"n_outputs": 17, "encoder": ENCODER, "head": {"class_path": "two_ranks.Head"}}
PRIOR = {"image_size": 32, "latent_dim": 8, "width": 4, "critic_width": 4, "critic_steps": 2}
DECODER = {"encoder": "${target}", "image_size": 32, "width": 4, "blocks": 1}
LINKER = {"encoder": "${protected}", "oracle": "${classifier}", "image_size": 32}
NARROW = "resnet18_quarter"
PRIVATE = {"fit_role": "private_train", "batch_size": 8}
TURNS = {"fit_role": ["public", "private_train"], "batch_size": 8}
PAIRS = {
    "class_path": "datamodules.ProtectedPairs",
    "init_args": {"features": "${protected}/features", "val_fraction": 0.3},
}
CROWD = {"class_path": "datamodules.CrowdsourcedFeatures", "init_args": {"features": "${crowd}/features"}}
NOISE = model("GaussianNoise", target="${target}", sigma=0.5)

INPUTS: dict[str, dict[str, Any]] = {
    "target": {"model": model("TargetNetwork", **TARGET)},
    "prior": {"model": model("Prior", **PRIOR)},
    "decoder": {"model": model("Decoder", **DECODER)},
    "classifier": {
        "model": model("IdentityClassifier", n_identities=4, trunk=NARROW),
        "data": PRIVATE,
    },
    "protected": {"model": NOISE, "data": {"predict_role": "public"}},
    "resnet": {"model": model("TargetNetwork", n_outputs=17, arch=NARROW)},
    "crowd": {"model": model("GaussianNoise", target="${resnet}"), "data": {"predict_role": "private_train"}},
}
CASES: dict[str, dict[str, Any]] = {
    "TargetNetwork": INPUTS["target"],
    "Prior": {"model": model("Prior", **PRIOR, reconstruction=1.0), "data": {"batch_size": 6}},
    "Decoder": INPUTS["decoder"],
    "Decoder-A1": {"model": model("Decoder", **DECODER, start="${decoder}"), "wrapped": PAIRS},
    "FlowDecoder": {"model": model("FlowDecoder", **DECODER, steps=2, draws=2)},
    "AdversarialDecoder": {"model": model("AdversarialDecoder", **DECODER, critic_width=4)},
    "Amortizer": {"model": model("Amortizer", encoder="${target}", prior="${prior}")},
    "TunedPrior": {
        "model": model(
            "TunedPrior",
            encoder="${target}",
            prior="${prior}",
            iterations=4,
            refinements=1,
            steps=2,
            precision="32",
        ),
        "wrapped": PAIRS,
    },
    "IdentityClassifier": INPUTS["classifier"],
    "RidgeLinker": {"model": model("RidgeLinker", **LINKER), "wrapped": PAIRS},
    "NetworkLinker": {"model": model("NetworkLinker", **LINKER, width=8), "wrapped": PAIRS},
    "Matcher": {"model": model("Matcher", encoder="${target}", image_size=32, directions=[4, 4])},
    "IdentityEraser": {"model": model("IdentityEraser", encoder="${target}", image_size=32, rank=2)},
    "ReducedAnswers": {"model": model("ReducedAnswers", encoder="${target}", image_size=32)},
    "AnswersCodebook": {"model": model("AnswersCodebook", encoder="${target}", image_size=32, bits=2)},
    "SurrogateClassifier": {"model": model("SurrogateClassifier", n_identities=8, trunk=NARROW)},
    "FeatureIdentifier": {
        "model": model("FeatureIdentifier", encoder="${target}", n_identities=4),
        "data": PRIVATE,
    },
    "HeadTraining": {
        "model": model("HeadTraining", encoder="${resnet}", n_outputs=17, arch=NARROW),
        "wrapped": CROWD,
        "data": {"batch_size": 8},
    },
    "StyleGan2": {
        "model": model(
            "StyleGan2", image_size=32, latent_dim=8, channel_base=128, channel_max=8, path_every=2
        )
    },
    "AdversarialLearning": {
        "model": model("AdversarialLearning", target="${target}", decoder="${decoder}"),
        "data": TURNS,
        "trainer": {"reload_dataloaders_every_n_epochs": 1},
    },
    "Disco": {
        "model": model("Disco", target="${target}", image_size=32, width=4, blocks=1),
        "data": PRIVATE,
    },
    "Tiprdc": {
        "model": model("Tiprdc", target="${target}", n_identities=4, image_size=32, pretraining=1),
        "data": PRIVATE,
    },
}


SOLVED_AT_ONCE = {"RidgeLinker", "IdentityEraser", "Matcher", "ReducedAnswers", "AnswersCodebook"}
"""Have no step to go on from, and so no last.ckpt."""


def last_state(folder: Path, name: str) -> dict[str, Any]:
    """The weights that the fit of the case `name` ended with, as its last checkpoint has them."""
    if name in SOLVED_AT_ONCE:
        return dict(load_file(folder / "weights.safetensors"))
    return dict(torch.load(folder / "last.ckpt", weights_only=True)["state_dict"])


def config(path: Path, inputs: Path, case: dict[str, Any], **trainer: Any) -> Path:
    """The configuration of a case; what it builds on lies in the folder `inputs`."""
    faces = {**DATA, "init_args": DATA["init_args"] | {"batch_size": 12} | case.get("data", {})}
    data = faces
    if wrapped := case.get("wrapped"):
        data = {**wrapped, "init_args": {"data": faces, **wrapped["init_args"]}}
    content = {
        "trainer": TRAINER | case.get("trainer", {}) | trainer,
        "model": case["model"],
        "data": data,
        "threads": 1,
    }
    return write(substitute(content, lambda name: str(inputs / name)), path)


def fit_inputs(folder: Path) -> Path:
    """Fit what the cases build on into `folder`, which is returned."""
    for name, case in INPUTS.items():
        line = config(folder / f"{name}.yaml", folder, case)
        fit.main(["--config", str(line), "--output", str(folder / name)])
    return folder
