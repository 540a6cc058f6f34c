"""The stages that measure: what an attack's images give away, and what the cloud still reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.classes import complete
from experiments.evaluation.combining import FUSION
from experiments.evaluation.likeness import metric_columns
from experiments.evaluation.rows import describe_columns
from experiments.study.config import Cost, Identification, StudyConfig
from experiments.study.data import DATA_STAGE, StudyData, class_of
from experiments.study.keys import Stage
from experiments.study.needs import of_command, place_of
from experiments.study.plan_attacks import Point, of_pairs
from facecrafter.metrics import ImageMetric
from lightning_modules.networks.oracle import IdentityOracle

ANSWERS = "answers"
"""The command that measures what f's answers give away, and the last part of its stages' names."""
ADAPTIVE = ("none", "A1", "A2", "A3")
"""From an attacker who knows nothing of the defence to those who answer it."""


@dataclass(frozen=True)
class Measured:
    """A measurement of one attack on a point.

    Attributes:
        stage: its name.
        attack: the stage that made the images; None where there are none.
        labels: of its rows.
    """

    stage: str
    attack: str | None
    labels: Mapping[str, Any]


@dataclass(frozen=True)
class Identifies:
    """What reads identities from a point's features, without an image.

    Attributes:
        name, config: of the identification.
        identifier: the reference to what is trained for this defence.
        oracle: the judge whose photographs features are matched with, None where there is no other judge than
            the attack itself.
        pairs: how many the identifier learned from, where not from all.
        answers: the store that it learned from, where the number of all is asked for.
        averages: the store of averages that it reads, None for the features as they were released.
        again: further queries of the same images, of all of which it takes the mean of what it reads.
        known: the query of photographs that it compares with, None for raw ones.
        countermeasure: what the user does against averaging.
    """

    name: str
    config: Identification
    identifier: str
    oracle: str | None = None
    pairs: int | None = None
    answers: str | None = None
    averages: str | None = None
    again: Sequence[str] = ()
    known: str | None = None
    countermeasure: str = "none"


class Measures:
    """How a study measures.

    Args:
        config: the study.
        data: its faces.

    Raises:
        ValueError: they have no attribute that `measure.unseen` names; no trial of a few pictures reads them.
    """

    def __init__(self, config: StudyConfig, data: StudyData) -> None:
        self.config, self.data = config, data
        if unseen := config.measure.unseen:
            try:
                data.instance({"attributes": unseen}, "measure.unseen").sizes()
            except ValueError as error:
                raise ValueError(f"measure.unseen: {error}") from error

    def measure_stage(
        self,
        point: Point,
        attack: str,
        labels: Mapping[str, Any],
        head: str | None = None,
        answers: str | None = None,
    ) -> Stage:
        """What the images of the stage `attack` give away; `head` reads the attributes in development, and
        `answers` is the store from which the attacker learned, where their number is asked for."""
        return self._stage(point, f"{attack}.measure", attack, labels, head, answers)

    def utility_stage(self, point: Point, head: str | None) -> Stage:
        """The utility alone, where no feature leaves the device."""
        labels = point.labels(self.config, "none", access="none", adaptive="none", countermeasure="none")
        return self._stage(point, f"{point.stage}.measure", None, labels, head, None)

    def identification_stage(self, point: Point, one: Identifies, head: str | None) -> Stage:
        """Identities read from the features themselves: attack and measurement in one."""
        labels = point.labels(
            self.config,
            one.name,
            access="black",  # whoever learns from answers, or compares with them, differentiates nothing
            adaptive=one.config.adaptive,
            countermeasure=one.countermeasure,
        )
        parts = [point.stage, one.name, *([one.countermeasure] if one.averages else [])]
        if one.pairs is not None:
            parts.append(of_pairs(one.pairs))
            labels["queries"] = one.pairs
        inputs = self._inputs(point, labels, head, one.answers) | {"identifier": one.identifier}
        if one.averages is not None:
            inputs["averages"] = one.averages
        if one.again:
            inputs["again"] = [f"{query}/features" for query in one.again]
        if one.known is not None:
            inputs["known"] = f"{one.known}/features"
        if one.oracle is not None:
            parts.append(one.oracle)
            inputs["oracles"] = {one.oracle: self.oracles[one.oracle]}
        return _stage(".".join(parts), inputs, one.config)

    def together_stage(self, point: Point, way: str, attacks: Sequence[Measured]) -> Stage:
        """What the attacks on a point find together, as a `union` or a `fusion`."""
        adaptive = max((str(one.labels["adaptive"]) for one in attacks), key=ADAPTIVE.index)
        is_white = any(one.labels["access"] == "white" for one in attacks)
        access = "white" if is_white else "black"
        labels = point.labels(self.config, way, access=access, adaptive=adaptive, countermeasure="none")
        inputs = {
            "data": self.data.config({}),
            "measured": [f"${{{one.stage}}}" for one in attacks],
            "oracles": self.oracles,
            "labels": labels,
            "seed": self.config.seed,
            "device": place_of(self.config.trainer),
        }
        if way == FUSION:
            inputs["reconstructions"] = [f"${{{one.attack}}}/reconstructions" for one in attacks]
        cost = self.config.measure
        return Stage(
            f"{point.stage}.{way}",
            "combine",
            inputs,
            (DATA_STAGE,),
            of_command(inputs["device"], cost),
            cost.minutes,
        )

    def answers_stage(self, point: Point, head: str | None, queries: Mapping[str, str | None]) -> Stage:
        """What f's answers to a point's features give away, the floor of every attack on them, and whether
        they can be linked with those that were made in answer to `queries`."""
        inputs = self._inputs(point, {"defence": point.defence, "strength": point.strength}, head)
        inputs.pop("unseen", None)
        inputs |= {name: f"{query}/features" for name, query in queries.items() if query}
        name, needs = f"{point.stage}.{ANSWERS}", of_command(inputs["device"], self.config.measure)
        return Stage(name, ANSWERS, inputs, (DATA_STAGE,), needs, self.config.measure.minutes)

    def _stage(
        self,
        point: Point,
        name: str,
        attack: str | None,
        labels: Mapping[str, Any],
        head: str | None,
        answers: str | None,
    ) -> Stage:
        settings = self.config.measure
        inputs = self._inputs(point, labels, head, answers) | {
            "reconstructions": attack and f"${{{attack}}}/reconstructions",
            "oracles": self.oracles,
            "prior": settings.prior,
            "metrics": self.metrics,
            "lpips_weights": self._lpips_weights,
        }
        return _stage(name, inputs, settings)

    def _inputs(
        self, point: Point, labels: Mapping[str, Any], head: str | None, answers: str | None = None
    ) -> dict[str, Any]:
        """What every measurement is given."""
        return {
            "data": self.data.config({}),
            "defence": f"${{{point.stage}}}",
            "features": f"${{{point.stage}}}/features",
            "labels": labels,
            "seed": self.config.seed,
            "device": place_of(self.config.trainer),
            **({"head": head} if head else {}),
            **({"answers": answers} if answers else {}),
            **({"unseen": self.config.measure.unseen} if self.config.measure.unseen else {}),
        }

    @cached_property
    def oracles(self) -> dict[str, Any]:
        """The oracles whose weights are there; a warning names the others."""
        found: dict[str, Any] = {}
        for name, oracle in self.config.oracles.items():
            where = f"oracles.{name}"
            if isinstance(oracle, str):
                found[name] = {"artifact": oracle}
                continue
            given = oracle.get("init_args", {})
            arguments = complete(class_of(oracle, where, IdentityOracle), given, where)
            if "weights" in given and _missing_weights(given["weights"], where):
                continue
            found[name] = {"class_path": oracle["class_path"], "init_args": arguments}
        if not found:
            raise ValueError(
                "oracles: none is left; name weights that exist, or an identity classifier '${...}'"
            )
        return found

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The further image metrics, with all their arguments."""
        found = []
        for number, metric in enumerate(self.config.measure.metrics):
            where = f"measure.metrics[{number}]"
            kind = class_of(metric, where, ImageMetric)
            arguments = complete(kind, metric.get("init_args", {}), where)
            found.append({"class_path": metric["class_path"], "init_args": arguments})
        describe_columns(metric_columns([class_of(metric, "measure.metrics") for metric in found]))
        return found

    @cached_property
    def _lpips_weights(self) -> str | None:
        weights = self.config.measure.lpips_weights
        return None if weights and _missing_weights(weights, "measure.lpips_weights") else weights


def _stage(name: str, inputs: Mapping[str, Any], cost: Cost) -> Stage:
    needs = of_command(inputs["device"], cost)
    return Stage(name, "measure", inputs, (DATA_STAGE,), needs, cost.minutes, cost.megabytes)


def _missing_weights(weights: str | None, where: str) -> bool:
    if weights is not None and Path(weights).is_file():
        return False
    reason = "no weights are named" if weights is None else f"{weights} does not exist"
    print(f"warning: {where} is left out: {reason}", file=sys.stderr)
    return True
