"""What a fit's loggers are told, and where Weights & Biases keeps what it writes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from experiments.classes import without_private
from facecrafter.files import make_folder

LOGGERS = [
    # The first logger decides where Lightning puts what it logs.
    {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": ".", "name": "logs"}},
    {
        "class_path": "pytorch_lightning.loggers.WandbLogger",
        "init_args": {"save_dir": ".", "project": "facecrafter", "offline": True, "log_model": False},
    },
]
# What W&B would note of a run beside what is logged: paths, host, git, console output.
PRIVATE = {"WANDB_CONSOLE": "off", "WANDB_DISABLE_GIT": "true", "WANDB__DISABLE_META": "true"}
# Else they are in ~/.cache and ~/.local/share. Its settings, which are the user's, stay where they are.
FOLDERS = {"WANDB_CACHE_DIR": "cache", "WANDB_DATA_DIR": "data", "WANDB_ARTIFACT_DIR": "artifacts"}


def prepare_wandb(output: Path) -> None:
    """Tell Weights & Biases, which reads the environment, where to write and what not to note."""
    folder = make_folder(output.absolute() / "wandb")
    places = {name: str(folder / part) for name, part in FOLDERS.items()}
    # A resumed run is a new run of the same group.
    for name, value in {"WANDB_RUN_GROUP": output.name, **places, **PRIVATE}.items():
        os.environ.setdefault(name, value)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        import wandb.sdk  # noqa: F401  # it makes its temporary folders when it is imported
    finally:
        tempfile.tempdir = before


def keep_checkpoints_here(logger: Logger) -> None:
    """Have `log_model` mean the weights, which `finish` sends.

    Lightning would send its checkpoint: the optimizer's state, and the folders of this machine, too.
    """
    logger.after_save_checkpoint = lambda *_: None  # type: ignore[method-assign]


def senders(configured: Iterable[Any]) -> set[str]:
    """Class names of the loggers, sections of a configuration or true or false, that shall send weights."""
    sections = [logger for logger in configured if hasattr(logger, "class_path")]
    asked = [logger.class_path for logger in sections if logger.get("init_args.log_model")]
    return {path.rpartition(".")[2] for path in asked}


@rank_zero_only
def finish(loggers: list[Logger], asked: Collection[str], weights: Path) -> None:
    """End what the loggers began, and before it send `weights`, if they exist, with those that were asked to.

    A run of W&B is not whole before it is finished: at the end of the process, its last records may be lost.

    Args:
        asked: see `senders`.
    """
    for logger in loggers:
        sends = type(logger).__name__ in asked and weights.is_file()
        if isinstance(logger, WandbLogger):
            if sends:
                logger.experiment.log_artifact(weights, type="model")
            logger.experiment.finish()
        elif isinstance(logger, MLFlowLogger) and sends:
            logger.experiment.log_artifact(logger.run_id, str(weights))


def enabled(loggers: list[Logger]) -> list[Logger]:
    """Those that shall log: Lightning's logger for W&B, told to stay offline, forgets WANDB_MODE=disabled."""
    disabled = os.environ.get("WANDB_MODE") == "disabled"
    return [logger for logger in loggers if not (disabled and isinstance(logger, WandbLogger))]


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is found by and compared with others: all of it but where files are, which is private."""
    sections = {name: config[name] for name in ("model", "data", "trainer")}
    trainer = {name: value for name, value in sections["trainer"].items() if value is not None}
    for name in ("logger", "callbacks", "default_root_dir", "plugins"):
        trainer.pop(name, None)
    found: dict[str, Any] = without_private(sections | {"trainer": trainer})
    return {"seed": config["seed_everything"], **found}
