"""The stages that attack one defence at one strength."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.attack import import_attack
from experiments.classes import complete
from experiments.study.config import Attack, DefenceFit, StudyConfig
from experiments.study.data import DATA_STAGE
from experiments.study.keys import Stage, references
from experiments.study.needs import of_command, place_of
from experiments.study.plan_averages import countermeasures, what_is_read
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


@dataclass(frozen=True)
class Planned:
    """An attack on a point, with references to what is made for this defence.

    Attributes:
        attack: as configured; its networks, and its search's queries and networks, are references to stages.
        queries: what it averages beside the defence's own features, references too.
        judge: the data and the oracle by which the candidates of a search are judged.
        pairs: how many pairs its networks learn from, where not from all.
    """

    name: str
    attack: Attack
    queries: Sequence[str]
    judge: Mapping[str, Any]
    pairs: int | None = None

    @property
    def stage(self) -> str:
        """What its stages are called at one point."""
        return self.name if self.pairs is None else f"{self.name}.{of_pairs(self.pairs)}"


def is_whole(labels: Mapping[str, Any]) -> bool:
    """Whether rows are of an attacker with all answers, on the defence as it is: a countermeasure makes
    another one, and whoever has few answers has less than who has all."""
    return labels.get("countermeasure", "none") == "none" and "queries" not in labels


def of_pairs(number: int) -> str:
    """What stages are called that know of so many pairs alone."""
    return f"pairs={number}"


def attack_stages(
    point: Point, planned: Planned, config: StudyConfig
) -> Iterator[tuple[list[Stage], Labels]]:
    """For each epoch and countermeasure the stages, the attack's own last, and the labels of its rows."""
    name, attack, where = planned.name, planned.attack, f"attacks.{planned.name}"
    found = import_attack(attack.class_path, where)
    common = {"access": getattr(found, "access", "white"), "adaptive": attack.adaptive}
    asked = [f"${{{point.stage}}}", *planned.queries]
    for countermeasure in countermeasures(attack.averaging):
        before, read = what_is_read(point.stage, asked, attack.averaging, countermeasure, config.seed)
        searches, settings = _settings(point, planned, found, config, countermeasure)
        for epoch, setting in settings.items():
            parts = [point.stage, planned.stage, *([countermeasure] if before else [])]
            labels = point.labels(config, name, **common, countermeasure=countermeasure)
            if planned.pairs is not None:
                labels["queries"] = planned.pairs
            if epoch is not None:
                parts.append(f"epoch={epoch}")
                labels["epoch"] = epoch
            if attack.search:
                labels["budget"] = f"{len(attack.search.candidates)} settings tried on public people"
            inputs = {"features": read, **setting}
            cost = (attack.minutes, attack.megabytes)
            stage = Stage(
                ".".join(parts), "attack", inputs, (), of_command(place_of(config.trainer), attack), *cost
            )
            yield [*searches, *before, stage], labels


def _settings(
    point: Point, planned: Planned, found: type, config: StudyConfig, countermeasure: str
) -> tuple[list[Stage], dict[int | None, dict[str, Any]]]:
    """The search if there is one, with what it reads, and by epoch what else than features the attack is
    given."""
    attack, where = planned.attack, f"attacks.{planned.name}"
    arguments = complete(found, attack.init_args, where, given=_given(attack))
    shared = {
        "defence": f"${{{point.stage}}}",
        "attack": {"class_path": attack.class_path, "init_args": in_real_precision(arguments)},
        "batch_size": attack.batch_size,
        "seed": config.seed,
        "device": place_of(config.trainer),
        **({"layers": attack.layers} if attack.layers else {}),
    }
    if attack.search is None:
        return [], {
            epoch: shared | {"networks": _at_epoch(attack.networks, epoch, where, config)}
            for epoch in attack.epochs or [None]
        }
    if attack.epochs:
        raise ValueError(f"{where}: epochs and search exclude each other: a candidate names its epoch")
    tried = {"candidates": dict(_candidates(attack, found, where, config))}
    asked = [attack.search.query, *attack.search.again]
    before, read = what_is_read(point.stage, asked, attack.averaging, countermeasure, config.seed)
    against = [countermeasure] if countermeasure != "none" else []
    stage = ".".join([point.stage, planned.stage, *against, "search"])
    search = Stage(
        stage,
        "search",
        shared | {"features": read, **planned.judge} | tried,
        (DATA_STAGE,),
        of_command(place_of(config.trainer), attack),
        attack.minutes,
    )
    return [*before, search], {None: shared | tried | {"choice": f"${{{stage}}}/choice.json"}}


def _given(attack: Attack) -> set[str]:
    """The arguments that networks are given for."""
    candidates = attack.search.candidates.values() if attack.search else []
    return {"encoder", *attack.networks, *(name for one in candidates for name in one.networks)}


def _candidates(
    attack: Attack, found: type, where: str, config: StudyConfig
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each candidate of the search adds to the attack, with all that its class checks."""
    assert attack.search is not None
    for name, one in attack.search.candidates.items():
        place = f"{where}.search.candidates.{name}"
        complete(found, {**attack.init_args, **one.init_args}, place, given=_given(attack))
        networks = {**attack.networks, **one.networks}
        yield (
            name,
            {
                "init_args": dict(one.init_args),
                "networks": _at_epoch(networks, one.epoch, place, config),
            },
        )


def _at_epoch(
    networks: Mapping[str, str], epoch: int | None, where: str, config: StudyConfig
) -> dict[str, str]:
    """The networks, those that keep weights of single epochs with the weights of this one if it is named."""
    if epoch is None:
        return dict(networks)
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
        for epoch in sorted(fit.keep)
    ]
