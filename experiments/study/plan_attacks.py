"""The stages that attack one defence at one strength."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.attack import import_attack
from experiments.classes import complete
from experiments.study.config import Attack, DefenceFit, StudyConfig
from experiments.study.keys import Stage, references
from experiments.study.needs import of_command, place_of
from experiments.study.precision import in_real_precision

Labels = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """A defence at one strength: one point of the privacy-utility curve."""

    defence: str
    strength: str
    config: DefenceFit

    @property
    def stage(self) -> str:
        """The name of the stage that makes it."""
        return f"{self.defence}.{self.strength}" if self.strength else self.defence

    def matches(self, patterns: Iterable[str]) -> bool:
        """Whether one of the patterns means the defence, or the defence at this strength."""
        return any(
            fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in (self.defence, self.stage)
        )

    def labels(self, config: StudyConfig, attack: str, **others: Any) -> Labels:
        """What rows in results.csv are called."""
        return {
            "dataset": config.dataset,
            "scenario": config.scenario,
            "network": config.network,
            "defence": self.defence,
            "strength": self.strength,
            "attack": attack,
            **others,
        }


def attack_stages(
    point: Point,
    name: str,
    attack: Attack,
    networks: Mapping[str, str],
    queries: Sequence[str],
    config: StudyConfig,
) -> Iterator[tuple[list[Stage], Labels]]:
    """For each epoch and countermeasure the stages, the attack's own last, and the labels of its rows.

    Args:
        networks: the attack's, with references to the stages made for this defence.
        queries: references to what it averages beside the defence's own features.
    """
    where, place = f"attacks.{name}", place_of(config.trainer)
    found = import_attack(attack.class_path, where)
    arguments = complete(found, attack.init_args, where, given={*networks, "encoder"})
    named = {"class_path": attack.class_path, "init_args": in_real_precision(arguments)}
    common = {"access": getattr(found, "access", "white"), "adaptive": attack.adaptive}
    for before, source, countermeasure in _sources(point, attack, queries, config.seed):
        for epoch in attack.epochs or [None]:
            used = networks if epoch is None else _at_epoch(networks, epoch, where, config)
            parts = [point.stage, name, *([countermeasure] if before else [])]
            labels = point.labels(config, name, **common, countermeasure=countermeasure)
            if epoch is not None:
                parts.append(f"epoch={epoch}")
                labels["epoch"] = epoch
            inputs = {
                "features": f"${{{source}}}/features",
                "defence": f"${{{point.stage}}}",
                "attack": named,
                "networks": dict(used),
                "batch_size": attack.batch_size,
                "seed": config.seed,
                "device": place,
            }
            cost = (attack.minutes, attack.megabytes)
            stage = Stage(".".join(parts), "attack", inputs, (), of_command(place, attack), *cost)
            yield [*before, stage], labels


def _sources(
    point: Point, attack: Attack, queries: Sequence[str], seed: int
) -> Iterator[tuple[list[Stage], str, str]]:
    """What the attack reads under each countermeasure: the stages that make it, its stage, its name."""
    if attack.averaging is None:
        yield [], point.stage, "none"
        return
    for countermeasure in attack.averaging.countermeasures:
        settings = {"countermeasure": countermeasure, "matching": attack.averaging.matching, "seed": seed}
        stage = _average_stage(point, [f"${{{point.stage}}}", *queries], settings)
        yield [stage], stage.name, countermeasure


def _at_epoch(networks: Mapping[str, str], epoch: int, where: str, config: StudyConfig) -> dict[str, str]:
    """The networks, those that keep weights of single epochs with the weights of this one."""
    kept = {name: _kept(reference, config) for name, reference in networks.items()}
    if not any(kept.values()):
        raise ValueError(f"{where}: epochs needs a network whose fit has `keep`")
    for name, epochs in kept.items():
        if epochs and epoch not in epochs:
            raise ValueError(
                f"{where}: epoch {epoch} of {networks[name]} is not kept; its fit keeps {epochs}"
            )
    return {
        name: f"{reference}/epoch={epoch}.ckpt" if kept[name] else reference
        for name, reference in networks.items()
    }


def _kept(reference: str, config: StudyConfig) -> list[int]:
    """Epochs kept by the fit that '${stage}' was made from: a tailored one ends in the fit's name."""
    return [
        epoch
        for stage in references(reference)
        if (fit := config.fits.get(stage.rpartition(".")[2]))
        for epoch in fit.keep
    ]


def _average_stage(point: Point, stores: Sequence[str], settings: Mapping[str, Any]) -> Stage:
    """What an attacker makes of several queries of the same images."""
    config = {"features": [f"{store}/features" for store in stores], **settings}
    name = f"{point.stage}.{settings['matching']}-{len(stores)}.{settings['countermeasure']}"
    return Stage(name, "average", config)
