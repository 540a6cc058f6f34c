"""Artifact folders for tests that need what a fit leaves behind, but no fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import LightningModule

QUIET = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)
"""For a Trainer that only trains."""


def artifact(folder: Path, module: LightningModule, **init_args: Any) -> str:
    """What a fit of `module`, made of these arguments, would leave behind in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"class_path": f"{type(module).__module__}.{type(module).__name__}", "init_args": init_args}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": config}))
    torch.save({"state_dict": module.state_dict()}, folder / "last.ckpt")
    return str(folder)
