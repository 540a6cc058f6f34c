"""What a stage's numbers depend on, and the key that says so: all of its configuration but the list below.

A stage is one run of a command with a configuration that is written out in full. Its key is the sha256 of
that configuration, in which whatever stands for something else gives way to what it stands for: '${name}' to
the key of that stage, a file to its content, a data set to its fingerprint, a class to its VERSION. So what
is new in a configuration is in the key, without a line here.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from experiments.classes import import_class, plain
from experiments.study.executors.base import Needs
from lightning_modules.artifacts import is_trained

REFERENCE = re.compile(r"\$\{([^}]*)\}")

NO_NUMBER = {
    "trainer": {
        "accelerator": "where: the precision that is really used there is in the configuration",
        "devices": "who computes: ranks share the batch that the configuration names",
        "num_nodes": "as devices",
        "strategy": "as devices",
        "logger": "what is noted",
        "log_every_n_steps": "what is noted",
        "enable_progress_bar": "what is shown",
        "enable_model_summary": "what is shown",
        "enable_checkpointing": "what a killed run goes on from",
        "profiler": "what is noted of the time",
        "default_root_dir": "where things are written",
    },
    "init_args": {
        "root": "where the pictures are: the data's fingerprint says which they are",
        "cache_dir": "where pictures are kept that were decoded before",
        "num_workers": "who reads them",
    },
    "attack": {"batch_size": "images at a time: memory and time", "device": "where"},
    "measure": {"device": "where"},
}
"""What changes no number, and why: entries of a Trainer's section, of a class's arguments, of a command's
configuration. All else is in the key."""

TRAINING = {
    *("min_epochs", "max_epochs", "min_steps", "max_steps", "max_time", "precision"),
    *("limit_train_batches", "limit_val_batches", "overfit_batches", "num_sanity_val_steps"),
    *("val_check_interval", "check_val_every_n_epoch", "reload_dataloaders_every_n_epochs"),
    *("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
}
"""Entries of a Trainer's section that change no number where nothing is trained: who only protects does it
once, in float32."""


@dataclass(frozen=True)
class Stage:
    """One run of a command.

    Attributes:
        name: unique in the study, such as `prior` or `crafter.beta=1.white_box`.
        command: the module below `experiments` that is run.
        config: its configuration; '${name}' stands for another stage's artifact folder.
        after: stages that it builds on without naming them.
        needs: what it occupies while it runs.
        minutes, megabytes: the configuration's guess.
    """

    name: str
    command: str
    config: Mapping[str, Any]
    after: tuple[str, ...] = ()
    needs: Needs = field(default_factory=Needs)
    minutes: float | None = None
    megabytes: float | None = None

    def inputs(self) -> set[str]:
        """Names of the stages that this one builds on."""
        return references(self.config) | set(self.after)


Fingerprint = Callable[[Mapping[str, Any]], str]
"""The hash of a data set from its section, `class_path` and `init_args`."""


def keys(stages: Mapping[str, Stage], fingerprint: Fingerprint) -> dict[str, str]:
    """The key of every stage, from `ordered` stages."""
    found: dict[str, str] = {}
    for name, stage in stages.items():
        content = {
            "command": stage.command,
            "version": _module(stage.command).VERSION,
            "config": substitute(Numbers(stage.command, fingerprint).of(stage.config), found.__getitem__),
            "after": [found[other] for other in stage.after],
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        found[name] = hashlib.sha256(canonical.encode()).hexdigest()
    return found


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
        config = _defaults(getattr(_module(self.command), "run", None)) | dict(config)
        if "trainer" in config:
            config["trainer"] = self._trainer(config["trainer"] or {}, config.get("model"))
        return self._each(config, NO_NUMBER.get(self.command, ()))

    def _trainer(self, section: Mapping[str, Any], model: Mapping[str, Any] | None) -> dict[str, Any]:
        trained = model is not None and is_trained(import_class(model["class_path"], "model"))
        left_out = set(NO_NUMBER["trainer"]) | (set() if trained else TRAINING)
        return {
            name: value
            for name, value in (_defaults(Trainer) | dict(section)).items()
            if name not in left_out
        }

    def _each(self, section: Mapping[str, Any], left_out: Collection[str] = ()) -> dict[str, Any]:
        return {str(name): self._value(item) for name, item in section.items() if name not in left_out}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._class(value) if "class_path" in value else self._each(value)
        if isinstance(value, list | tuple):
            return [self._value(item) for item in value]
        return plain(value)  # a file's content in place of its name

    def _class(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """A class's section: which it is, which version of it, and with which arguments or data."""
        found = import_class(section["class_path"], self.command)
        named = {"class": f"{found.__module__}.{found.__qualname__}", "version": getattr(found, "VERSION", 1)}
        arguments = section.get("init_args") or {}
        if issubclass(found, LightningDataModule):
            named["fingerprint"] = self.fingerprint(section)
            if "data" not in arguments:
                return named  # which pictures play which role says all; how they were chosen is no matter
        return named | {"arguments": self._each(arguments, NO_NUMBER["init_args"])}


def _module(command: str) -> Any:
    return importlib.import_module(f"experiments.{command}")


def _defaults(found: Callable[..., Any] | None) -> dict[str, Any]:
    """The arguments of a function or class that may be left out: so an omitted default and one that is
    written down have one key, and another default has another."""
    parameters = inspect.signature(found).parameters.items() if found else ()
    return {name: item.default for name, item in parameters if item.default is not item.empty}


def references(value: Any) -> set[str]:
    """All names in '${name}' within a nested structure."""
    if isinstance(value, Mapping):
        return {name for item in value.values() for name in references(item)}
    if isinstance(value, list | tuple):
        return {name for item in value for name in references(item)}
    return set(REFERENCE.findall(value)) if isinstance(value, str) else set()


def substitute(value: Any, lookup: Callable[[str], str]) -> Any:
    """A copy of a nested structure with every '${name}' replaced by lookup(name)."""
    if isinstance(value, Mapping):
        return {name: substitute(item, lookup) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, lookup) for item in value]
    return REFERENCE.sub(lambda match: lookup(match[1]), value) if isinstance(value, str) else value


def ordered(stages: Iterable[Stage]) -> dict[str, Stage]:
    """Stages by name, each after those it builds on.

    Raises:
        ValueError: a reference names no stage, or stages refer to each other in a circle.
    """
    by_name = {stage.name: stage for stage in stages}
    for stage in by_name.values():
        if unknown := sorted(stage.inputs() - by_name.keys()):
            raise ValueError(
                f"stage {stage.name} refers to '${{{unknown[0]}}}', which is no stage; the fits are "
                f"{sorted(name for name, other in by_name.items() if other.command == 'fit')}"
            )
    try:
        order = TopologicalSorter(
            {name: sorted(stage.inputs()) for name, stage in by_name.items()}
        ).static_order()
        return {name: by_name[name] for name in order}
    except CycleError as error:
        raise ValueError(
            f"these stages refer to each other in a circle: {' -> '.join(error.args[1])}"
        ) from error


def ancestors(stages: Mapping[str, Stage], names: Iterable[str]) -> set[str]:
    """The named stages and everything they build on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(stages[name].inputs())
    return found


def descendants(stages: Mapping[str, Stage], names: Iterable[str]) -> set[str]:
    """The named stages and everything that builds on them. `stages` are `ordered`."""
    found = set(names)
    for name, stage in stages.items():
        if stage.inputs() & found:
            found.add(name)
    return found
