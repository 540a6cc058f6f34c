"""What a command's numbers depend on: all of its configuration but the list below.

A stage's key and the fingerprint of a fit's folder are hashes of the same thing: of a configuration in which
whatever stands for something else gives way to what it stands for, a file or a trained network to its
content, a data set to its fingerprint, a class to its VERSION. So what is new in a configuration counts,
without a line here.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from experiments.classes import import_class
from facecrafter.store import TensorStore
from lightning_modules.artifacts import is_trained
from lightning_modules.checkpoints import LAST, WEIGHTS

NO_NUMBER = {
    "trainer": {
        "accelerator": "where: the precision that is really used there is in the configuration",
        "devices": "who computes: ranks share the batch that the configuration names",
        "num_nodes": "as devices",
        "strategy": "as devices",
        "plugins": "as devices, and how checkpoints are written",
        "logger": "what is noted",
        "log_every_n_steps": "what is noted",
        "enable_progress_bar": "what is shown",
        "enable_model_summary": "what is shown",
        "enable_checkpointing": "what a killed run goes on from",
        "profiler": "what is noted of the time",
        "default_root_dir": "where things are written",
    },
    "callbacks": {
        "pytorch_lightning.callbacks.device_stats_monitor": "what is noted",
        "pytorch_lightning.callbacks.lr_monitor": "what is noted",
        "pytorch_lightning.callbacks.model_checkpoint": "what is written",
        "pytorch_lightning.callbacks.model_summary": "what is shown",
        "pytorch_lightning.callbacks.progress": "what is shown",
        "pytorch_lightning.callbacks.rich_model_summary": "what is shown",
        "pytorch_lightning.callbacks.throughput_monitor": "what is noted of the time",
    },
    "init_args": {
        "root": "where the pictures are: the data's fingerprint says which they are",
        "cache_dir": "where pictures are kept that were decoded before",
        "num_workers": "who reads them",
    },
    "answers": {"device": "where"},
    "attack": {"batch_size": "images at a time: memory and time", "device": "where"},
    "search": {"batch_size": "images at a time: memory and time", "device": "where"},
    "combine": {"device": "where"},
    "measure": {"device": "where"},
    "fit": {
        "config": "the file that said all this",
        "output": "where things are written",
        "overwrite": "whether something else was there",
        "threads": "who computes",
        "fall_back": "whether to give up where the precision is another: the one really used is there",
        "checkpoint": "what is written",
    },
}
"""What changes no number, and why: entries of a Trainer's section, modules of Lightning's callbacks, entries
of a class's arguments and of a command's configuration. All else counts. A callback of one's own that only
notes, shows or writes says so itself: `CHANGES_NUMBERS = False`."""

LATER = {"measure": {"again", "answers", "known"}}
"""Arguments that a command got after studies had been computed: where they say nothing they count as if they
were not there, so that what those studies made is still found."""

TRAINING = {
    *("min_epochs", "max_epochs", "min_steps", "max_steps", "max_time", "precision"),
    *("limit_train_batches", "limit_val_batches", "overfit_batches", "num_sanity_val_steps"),
    *("val_check_interval", "check_val_every_n_epoch", "reload_dataloaders_every_n_epochs"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
}
"""Entries of a Trainer's section that change no number where nothing is trained: who only protects does it
once, in float32."""

Fingerprint = Callable[[Mapping[str, Any]], str | None]
"""The hash of a data set from its section, `class_path` and `init_args`; None if the class has none."""


class Numbers:
    """What of a command's configuration its numbers depend on.

    Args:
        command: the module below `experiments`.
        fingerprint: of the data.
    """

    def __init__(self, command: str, fingerprint: Fingerprint) -> None:
        self.command, self.fingerprint = command, fingerprint

    def of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A copy with the command's defaults and without what is listed in `NO_NUMBER`."""
        config = _defaults(getattr(module_of(self.command), "run", None)) | dict(config)
        later = LATER.get(self.command, ())
        config = {name: value for name, value in config.items() if value is not None or name not in later}
        if "trainer" in config:
            config["trainer"] = self._trainer(config["trainer"] or {}, config.get("model"))
        return self._each(config, NO_NUMBER.get(self.command, ()))

    def _trainer(self, section: Mapping[str, Any], model: Mapping[str, Any] | None) -> dict[str, Any]:
        trained = model is not None and is_trained(import_class(model["class_path"], "model"))
        left_out = set(NO_NUMBER["trainer"]) | (set() if trained else TRAINING)
        found = {
            name: value
            for name, value in (_defaults(Trainer) | dict(section)).items()
            if name not in left_out
        }
        return found | {"callbacks": _that_count(found["callbacks"])}

    def _each(self, section: Mapping[str, Any], left_out: Collection[str] = ()) -> dict[str, Any]:
        return {str(name): self._value(item) for name, item in section.items() if name not in left_out}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._class(value) if "class_path" in value else self._each(value)
        if isinstance(value, list | tuple):
            return [self._value(item) for item in value]
        return plain(value)

    def _class(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """A class's section: which it is, which version of it, and with which arguments or data."""
        found = import_class(section["class_path"], self.command)
        named = {"class": f"{found.__module__}.{found.__qualname__}", "version": getattr(found, "VERSION", 1)}
        arguments = section.get("init_args") or {}
        if issubclass(found, LightningDataModule) and (pictures := self.fingerprint(section)):
            named["fingerprint"] = pictures
            if "data" not in arguments:
                return named  # which pictures play which role says all; how they were chosen is no matter
        return named | {"arguments": self._each(arguments, NO_NUMBER["init_args"])}


def module_of(command: str) -> Any:
    """The module below `experiments` that a command runs."""
    return importlib.import_module(f"experiments.{command}")


def _that_count(callbacks: Any) -> list[Any] | None:
    """The callbacks that may change numbers, such as one that stops early; None where there are none."""
    each = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    return [callback for callback in each if not _only_notes(callback)] or None


def _only_notes(callback: Any) -> bool:
    """Whether `callback`, a section with `class_path`, says or is known to change no number."""
    found = import_class(callback["class_path"], "trainer.callbacks")
    listed = any(f"{found.__module__}.".startswith(f"{module}.") for module in NO_NUMBER["callbacks"])
    return listed or not getattr(found, "CHANGES_NUMBERS", True)


def _defaults(found: Callable[..., Any] | None) -> dict[str, Any]:
    """The arguments of a function or class that may be left out: so an omitted default and one that is
    written down count alike, and another default counts as another value."""
    parameters = inspect.signature(found).parameters.items() if found else ()
    return {name: item.default for name, item in parameters if item.default is not item.empty}


def plain(value: Any) -> Any:
    """`value` as JSON has it; a file's content, or what names that of a folder, in place of its path."""
    if isinstance(value, str | Path) and value:
        path = Path(value)
        try:
            if path.is_file():
                return {"sha256": _sha256(path)}
            if path.is_dir():
                return _folder(path)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # a text, such as what a service is asked, and no path
                raise
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _folder(folder: Path) -> dict[str, str] | str:
    """What names the content of an artifact or a store; the folder's own name if it is neither."""
    if (folder / "meta.json").is_file():
        return {"features": TensorStore.open(folder).fingerprint()}
    for name in (WEIGHTS, LAST):
        if (file := folder / name).is_file():
            return {"weights": _sha256(file)}
    if (config := folder / "config.yaml").is_file():
        return {"config": _sha256(config)}
    return str(folder)


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))


@cache
def _sha256_of(path: Path, unchanged: tuple[int, ...]) -> str:
    """Of weights that hundreds of stages of a study name, once, as long as the file is the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
