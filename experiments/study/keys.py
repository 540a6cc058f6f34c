"""Stages, in the order in which they build on each other, and the key of each.

A stage is one run of a command with a configuration that is written out in full. Its key is the sha256 of
what of that configuration counts (see experiments.what_counts), with the key of another stage in place of
its '${name}'.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from experiments.study.executors.base import Needs
from experiments.what_counts import Fingerprint, Numbers, module_of

REFERENCE = re.compile(r"\$\{([^}]*)\}")


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

    @cached_property
    def inputs(self) -> set[str]:
        """Names of the stages that this one builds on."""
        return references(self.config) | set(self.after)


def keys(stages: Mapping[str, Stage], fingerprint: Fingerprint) -> dict[str, str]:
    """The key of every stage, from `ordered` stages."""
    found: dict[str, str] = {}
    for name, stage in stages.items():
        content = {
            "command": stage.command,
            "version": module_of(stage.command).VERSION,
            "config": substitute(Numbers(stage.command, fingerprint).of(stage.config), found.__getitem__),
            "after": [found[other] for other in stage.after],
        }
        # Sorted and without spaces or NaN: equal content has to be equal bytes, on every machine.
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        found[name] = hashlib.sha256(canonical.encode()).hexdigest()
    return found


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
        if unknown := sorted(stage.inputs - by_name.keys()):
            raise ValueError(
                f"stage {stage.name} refers to '${{{unknown[0]}}}', which is no stage; the fits are "
                f"{sorted(name for name, other in by_name.items() if other.command == 'fit')}"
            )
    try:
        order = TopologicalSorter(
            {name: sorted(stage.inputs) for name, stage in by_name.items()}
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
            waiting.extend(stages[name].inputs)
    return found


def descendants(stages: Mapping[str, Stage], names: Iterable[str]) -> set[str]:
    """The named stages and everything that builds on them. `stages` are `ordered`."""
    found = set(names)
    for name, stage in stages.items():
        if stage.inputs & found:
            found.add(name)
    return found
