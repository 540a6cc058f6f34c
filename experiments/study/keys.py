"""What a stage's numbers depend on, and the key that says so: all of its configuration but the list below.

A stage is one run of a command with a configuration that is written out in full. Its key is the sha256 of
that configuration, in which whatever stands for something else gives way to what it stands for: '${name}' to
the key of that stage, a file to its content, a data set to its fingerprint, a class to its VERSION. So what
is new in a configuration is in the key, without a line here.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pytorch_lightning import LightningDataModule

from experiments.classes import import_class, plain
from experiments.study.executors.base import Needs
from lightning_modules.artifacts import is_trained

REFERENCE = re.compile(r"\$\{([^}]*)\}")

NO_NUMBER = {
    "trainer": {
        # Where and how fast. Ranks share the batch that the configuration names.
        *("accelerator", "devices", "num_nodes", "strategy", "use_distributed_sampler"),
        # What is shown and noted.
        *("logger", "enable_progress_bar", "enable_model_summary", "log_every_n_steps", "profiler"),
        # Where things are written.
        *("default_root_dir", "enable_checkpointing"),
    },
    "init_args": {"root", "cache_dir", "num_workers"},  # the same pictures elsewhere, read in other processes
    "attack": {"batch_size"},  # images at a time: memory and time
}
"""What changes no number: entries of a Trainer's section, of a class's arguments, of a command's section."""


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
            "version": importlib.import_module(f"experiments.{stage.command}").VERSION,
            "config": substitute(Numbers(stage.command, fingerprint).of(stage.config), found.__getitem__),
            "after": [found[other] for other in stage.after],
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        found[name] = hashlib.sha256(canonical.encode()).hexdigest()
    return found


class Numbers:
    """What of a command's configuration its numbers depend on."""

    def __init__(self, command: str, fingerprint: Fingerprint) -> None:
        self.command, self.fingerprint = command, fingerprint

    def of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A copy without what is listed in `NO_NUMBER`."""
        model = config.get("model")
        trained = model is not None and is_trained(import_class(model["class_path"], "model"))
        return {
            name: self._trainer(value, trained) if name == "trainer" else self._value(value)
            for name, value in config.items()
            if name not in NO_NUMBER.get(self.command, ())
        }

    def _trainer(self, section: Mapping[str, Any], trained: bool) -> dict[str, Any]:
        """Who only predicts has no number from the Trainer, which then keeps to float32."""
        kept = {name: value for name, value in section.items() if name not in NO_NUMBER["trainer"]}
        return self._value(kept) if trained else {}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._class(value) if "class_path" in value else self._each(value)
        if isinstance(value, list | tuple):
            return [self._value(item) for item in value]
        return plain(value)  # a file's content in place of its name

    def _each(self, section: Mapping[str, Any]) -> dict[str, Any]:
        return {str(name): self._value(item) for name, item in section.items()}

    def _class(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """A class's section: which it is, which version of it, and with which arguments."""
        found = import_class(section["class_path"], self.command)
        named = {"class": f"{found.__module__}.{found.__qualname__}", "version": getattr(found, "VERSION", 1)}
        if issubclass(found, LightningDataModule):
            stores = sorted(references(section))
            return named | {
                "fingerprint": self.fingerprint(section),
                "stores": [f"${{{name}}}" for name in stores],
            }
        arguments = section.get("init_args", {})
        return named | {
            "arguments": self._each(
                {name: item for name, item in arguments.items() if name not in NO_NUMBER["init_args"]}
            )
        }


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
