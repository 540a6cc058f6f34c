"""Artifact folders: what a fit leaves behind (config.yaml, checkpoints) and how another stage opens it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from pytorch_lightning import LightningModule

CONFIG_FILE = "config.yaml"
CHECKPOINT_FILE = "last.ckpt"

T = TypeVar("T", bound=LightningModule)


def load_artifact(path: str | Path, expected: type[T]) -> T:
    """The module that a fit wrote into the folder `path`, in eval mode and frozen.

    `path` may also be one checkpoint of that folder, such as `runs/a1/epoch=10.ckpt`, in place of last.ckpt.
    The checkpoint may come from others: it is loaded with `weights_only=True`. The class comes from
    config.yaml, which like any configuration names code to import, so it must be a subclass of `expected`.

    Raises:
        FileNotFoundError: if the folder or its config.yaml is missing.
        ValueError: if it holds another kind of module, or a checkpoint that does not fit it.
    """
    path = Path(path)
    folder, checkpoint = (path.parent, path) if path.suffix == ".ckpt" else (path, path / CHECKPOINT_FILE)
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        raise FileNotFoundError(
            f"{folder} is no artifact: it has no {CONFIG_FILE}. Run experiments.fit --output {folder}"
        )
    module = _instantiate(config_file, expected)
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"{checkpoint} does not fit the module that {config_file} describes: {error}"
            ) from error
    elif is_trained(type(module)) or checkpoint == path:
        raise FileNotFoundError(
            f"{checkpoint} is missing: the training was not finished, or did not keep this epoch. "
            "Run it again to resume"
        )
    return module.eval().requires_grad_(False)


def is_trained(module: type[LightningModule]) -> bool:
    """Whether the module learns: it overrides `training_step`."""
    return module.training_step is not LightningModule.training_step


def _instantiate(config_file: Path, expected: type[T]) -> T:
    model = yaml.safe_load(config_file.read_text())["model"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(expected, "model")
    try:
        config = parser.parse_object({"model": model})
    except ArgumentError as error:
        raise ValueError(f"{config_file} does not describe a {expected.__name__}: {error}") from error
    module: T = parser.instantiate(config).model
    return module
