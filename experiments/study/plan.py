"""From a study's configuration to its stages: data, fits, defences, attacks and measurements."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from experiments.classes import complete
from experiments.evaluation.combining import FUSION, UNION
from experiments.evaluation.exposure import EXPOSURE
from experiments.folder import refuse_names_outside
from experiments.study.config import (
    DEFENCE,
    ORACLE,
    Attack,
    Averaging,
    DefenceFit,
    Fit,
    Identification,
    Search,
    StudyConfig,
)
from experiments.study.data import DATA_STAGE, StudyData, class_of
from experiments.study.derived import derived
from experiments.study.keys import Stage, ordered, references, substitute
from experiments.study.lineage import Lineage
from experiments.study.needs import held_to, of_trainer
from experiments.study.plan_attacks import Planned, Point, attack_stages, is_whole, of_pairs
from experiments.study.plan_averages import countermeasures, what_is_read
from experiments.study.plan_measures import ADAPTIVE, Identifies, Measured, Measures
from experiments.study.precision import in_real_precision
from experiments.what_counts import NO_NUMBER
from facecrafter.files import LONGEST_NAME
from lightning_modules.defences.base import Defence

LONGEST_STAGE = LONGEST_NAME - 40
"""Bytes in the name of a stage: its folder has a key, and files beside it while it is written, on top."""


class Plan:
    """The stages of one study. What is wrong in the configuration is found while they are made.

    Attributes:
        stages: by name, each after those it builds on.
        labels: for each stage that measures, what its rows in results.csv are called.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.data, self.lineage = StudyData(config.data), Lineage(config)
        self.measures = Measures(config, self.data)
        self.labels: dict[str, dict[str, Any]] = {}
        self.found: dict[str, Stage] = {}
        self.measured: list[Measured] = []
        self._add(self._data_stage())
        for name, fit in config.fits.items():
            if not self.lineage.is_tailored(name):
                self._add(self._fit(name, fit, f"fits.{name}"))
        points = [point for name, defence in config.defences.items() for point in _points(name, defence)]
        self._check_patterns(points)
        self._check_leaks()
        for point in points:
            self._defence(point)
        self.stages = ordered(self.found.values())

    def _check_patterns(self, points: Sequence[Point]) -> None:
        """Refuse a pattern that means no defence: an attack that is not run looks like one that failed."""
        for kind in ("attacks", "identifications"):
            for name, attack in getattr(self.config, kind).items():
                for pattern in attack.against:
                    if not any(point.matches([pattern]) for point in points):
                        raise ValueError(
                            f"{kind}.{name}.against: {pattern!r} means no defence; they are "
                            f"{', '.join(point.stage for point in points)}"
                        )

    def _check_leaks(self) -> None:
        """Refuse leaked pictures by another name: they would be a worst case of attackers who have none."""
        for kind in ("attacks", "identifications"):
            for name, attack in getattr(self.config, kind).items():
                leaked = self.lineage.leaked(references(asdict(attack)))
                if leaked and attack.adaptive != EXPOSURE:
                    raise ValueError(
                        f"{kind}.{name} uses the fit {leaked[0]}, which learns from private people's own "
                        f"pictures: say adaptive: {EXPOSURE}, so that it counts apart from other attackers"
                    )

    def _add(self, stage: Stage) -> None:
        if len(stage.name.encode()) > LONGEST_STAGE:
            raise ValueError(
                f"the stage {stage.name[:60]}... has a name of {len(stage.name.encode())} bytes, more than "
                f"{LONGEST_STAGE}: shorten those of defences, strengths, attacks or queries"
            )
        if self.found.setdefault(stage.name, stage) != stage:
            raise ValueError(f"two different stages are called {stage.name}: rename what one of them is for")

    def _data_stage(self) -> Stage:
        every = self.data.for_training({})
        self.data.instance(every, "data")
        return Stage(DATA_STAGE, "study.data", {"data": self.data.config(every)})

    # Fits: networks and defences.

    def _fit(self, name: str, fit: Fit, where: str) -> Stage:
        found = class_of(
            fit.model, f"{where}.model", Defence if isinstance(fit, DefenceFit) else LightningModule
        )
        class_path = fit.model["class_path"]
        data = fit.data if isinstance(fit, DefenceFit) else self.data.for_training(fit.data)
        faces = self.data.instance(data, f"{where}.data")
        given = derived(found, fit.model.get("init_args", {}), faces, f"{where}.model")
        arguments = complete(found, given, f"{where}.model")
        if isinstance(fit, DefenceFit) and "seed" not in given:
            arguments = {**arguments, "seed": self.config.seed}
        trainer = {**self.config.trainer, **fit.trainer}
        _check_trainer(trainer, where)
        needs = of_trainer(trainer, fit)
        trainer = held_to(needs, trainer)
        accelerator = trainer.get("accelerator", "auto")
        config = {
            "seed_everything": self.config.seed,
            "trainer": in_real_precision(trainer, accelerator),
            "model": {"class_path": class_path, "init_args": in_real_precision(arguments, accelerator)},
            "data": self.data.config(data),
        }
        if fit.keep:
            config |= {"keep": {"epochs": fit.keep}}
        return Stage(name, "fit", config, (DATA_STAGE,), needs, fit.minutes, fit.megabytes)

    def _defence(self, point: Point) -> None:
        """A defence at one strength, and everything that is done to its features."""
        replaced, fits = point.config.replaces, sorted(self.config.fits)
        if replaced is not None and replaced not in fits:
            raise ValueError(f"{point.stage}: replaces names {replaced!r}; the fits are {fits}")
        if unknown := sorted({*point.config.instead, *point.config.instead.values()} - set(fits)):
            raise ValueError(f"{point.stage}: instead names {unknown[0]!r}; the fits are {fits}")
        self._add(self._fit(point.stage, point.config, f"defences.{point.defence}"))
        head = self._for(point, point.config.head or self.config.measure.head)
        if not point.config.attacked:
            self._measure(self.measures.utility_stage(point, head))
            return
        linked = {name: getattr(self.config.measure, name) for name in ("second", "again")}
        self._add(self.measures.answers_stage(point, head, self._for(point, linked)))
        for name, attack in self.config.attacks.items():
            if point.matches(attack.against):
                for pairs in (*attack.pairs, None):
                    self._attack(point, self._planned(point, name, attack, pairs), head)
        for name, identification in self.config.identifications.items():
            if point.matches(identification.against):
                self._identify(point, name, identification, head)
        self._together(point)

    def _attack(self, point: Point, planned: Planned, head: str | None) -> None:
        """An attack in all its variants, each with its measurement."""
        answers = None
        if planned.attack.pairs and planned.pairs is None:
            answers = self._answers(point, self.config.attacks[planned.name], f"attacks.{planned.name}")
        for stages, labels in attack_stages(point, planned, self.config):
            for stage in stages:
                self._add(stage)
            made = stages[-1].name
            self._measure(self.measures.measure_stage(point, made, labels, head, answers), made)

    def _answers(self, point: Point, found: Attack | Identification, where: str) -> str:
        """The store of all answers that an attack of `pairs` learns from."""
        names = {point.config.instead.get(name, name) for name in references(asdict(found))}
        return self._for(point, self.lineage.answers(names, where))

    def _planned(self, point: Point, name: str, attack: Attack, pairs: int | None) -> Planned:
        """The attack, with references to what is made for this defence, from so many pairs or from all."""
        queries = self._queries(point, attack.averaging.queries if attack.averaging else [])
        search = attack.search
        if search is not None:
            candidates = {
                key: replace(one, networks=self._for(point, one.networks, pairs=pairs))
                for key, one in search.candidates.items()
            }
            query, *again = self._queries(point, [search.query, *search.again])
            search = Search(query, candidates, again)
        attack = replace(attack, networks=self._for(point, attack.networks, pairs=pairs), search=search)
        judge = {"data": self.data.config({}), "oracle": self._judge_of_strangers()}
        return Planned(name, attack, queries, judge, pairs)

    def _judge_of_strangers(self) -> Any:
        """Who judges public people: the first pretrained oracle; where there is none, the first that the
        study trains, which has learnt private ones."""
        oracles = list(self.measures.oracles.values())
        pretrained = [oracle for oracle in oracles if "class_path" in oracle]
        return (pretrained or oracles)[0]

    def _together(self, point: Point) -> None:
        """What all attacks on a point find together. Leaked images or features are another attacker's."""
        mine = [
            one
            for one in self.measured
            if one.labels["adaptive"] in ADAPTIVE
            and is_whole(one.labels)
            and (one.labels["defence"], one.labels["strength"]) == (point.defence, point.strength)
        ]
        # Of an attack over several epochs, an attacker has the last one's images.
        last = {one.labels["attack"]: one for one in mine if one.attack is not None}
        chosen = {UNION: mine, FUSION: list(last.values())}
        for way in self.config.together:
            if len(chosen[way]) > 1:
                stage = self.measures.together_stage(point, way, chosen[way])
                self._add(stage)
                self.labels[stage.name] = dict(stage.config["labels"])

    def _identify(self, point: Point, name: str, identification: Identification, head: str | None) -> None:
        """One measurement, or one for each judge where what identifies learns from '${oracle}'; and as many
        from fewer pairs."""
        fits = references(identification.identifier)
        by_judge = any(ORACLE in self.lineage.below(fit) for fit in fits)
        answers = (
            self._answers(point, identification, f"identifications.{name}") if identification.pairs else None
        )
        judges = list(self.measures.oracles) if by_judge else [None]
        read = list(self._averages(point, identification.averaging))
        variants = itertools.product(judges, (*identification.pairs, None), read)
        for oracle, pairs, (countermeasure, averages) in variants:
            one = Identifies(
                name,
                identification,
                self._for(point, identification.identifier, oracle, pairs),
                oracle=oracle,
                pairs=pairs,
                answers=answers if pairs is None else None,
                averages=averages,
                again=self._queries(point, identification.again),
                known=self._for(point, identification.known and f"${{{identification.known}}}"),
                countermeasure=countermeasure,
            )
            self._measure(self.measures.identification_stage(point, one, head))

    def _averages(self, point: Point, averaging: Averaging | None) -> Iterator[tuple[str, str | None]]:
        """Each countermeasure, and the store of what is averaged under it; None where nobody averages."""
        queries = self._queries(point, averaging.queries if averaging else [])
        for countermeasure in countermeasures(averaging):
            asked = [f"${{{point.stage}}}", *queries]
            stages, read = what_is_read(point.stage, asked, averaging, countermeasure, self.config.seed)
            for stage in stages:
                self._add(stage)
            yield countermeasure, read if averaging else None

    def _measure(self, stage: Stage, attack: str | None = None) -> None:
        """Add a stage that measures, of the images of the stage `attack` if there are any."""
        self._add(stage)
        self.labels[stage.name] = dict(stage.config["labels"])
        self.measured.append(Measured(stage.name, attack, stage.config["labels"]))

    # What is trained or protected for one defence only.

    def _queries(self, point: Point, names: Sequence[str]) -> list[str]:
        """References to what this defence makes in answer to the queries."""
        return [self._for(point, f"${{{name}}}") for name in names]

    def _for(self, point: Point, value: Any, oracle: str | None = None, pairs: int | None = None) -> Any:
        """`value` with every reference that depends on the defence pointing to what is made for this one, of
        so many `pairs` where not of all; and '${oracle}', if it is to stand for a judge, replaced by that
        one."""
        if oracle is not None:
            value = _replaced(value, f"${{{ORACLE}}}", _as_argument(self.measures.oracles[oracle]))
        return substitute(value, lambda name: f"${{{self._made_for(point, name, oracle, pairs)}}}")

    def _made_for(self, point: Point, name: str, oracle: str | None, pairs: int | None) -> str:
        """The stage that the reference `name` means where the defence is `point`."""
        name = point.config.instead.get(name, name)
        if name in (DEFENCE, point.config.replaces):
            return point.stage
        if name in self.config.queries:
            self._add(self._query(point, name))
            return f"{point.stage}.{name}"
        if not self.lineage.is_tailored(name, point.config.replaces):
            return name
        # What learns from raw features is trained once for all defences that leave them as they are.
        parts = [point.stage] if self.lineage.is_of_a_defence(name, point.config.replaces) else []
        if ORACLE in self.lineage.below(name):
            if oracle is None:
                raise ValueError(
                    f"fits.{name} learns from '${{{ORACLE}}}', so only an identification uses it"
                )
            parts.append(oracle)
        if pairs is not None and self.lineage.learns_from_pairs(name):
            parts.append(of_pairs(pairs))
        own = ".".join([*parts, name])
        if own not in self.found:
            fit = self.config.fits[name]
            model, data = (self._for(point, part, oracle, pairs) for part in (fit.model, fit.data))
            if pairs is not None and self.lineage.is_of_pairs(name):
                data = {**data, "init_args": {**data["init_args"], "pairs": pairs}}
            copy = replace(fit, model=model, data=data)
            self._add(self._fit(own, copy, f"fits.{name}"))
        return own

    def _query(self, point: Point, name: str) -> Stage:
        """Further images, or the same once more, protected by a defence that is there already."""
        query = self.config.queries[name]
        self.data.instance(query.data, f"queries.{name}.data")
        shown = {key: value for key, value in self.config.trainer.items() if key in NO_NUMBER["trainer"]}
        needs = of_trainer(self.config.trainer, query)
        trainer = {key: value for key, value in shown.items() if key != "logger"}
        config = {
            "defence": f"${{{point.stage}}}",
            "data": self.data.config(query.data),
            "query": query.query,
            "trainer": held_to(needs, trainer),
        }
        name, cost = f"{point.stage}.{name}", (query.minutes, query.megabytes)
        return Stage(name, "protect", config, (DATA_STAGE,), needs, *cost)


def _replaced(value: Any, placeholder: str, meaning: Any) -> Any:
    """A copy of a nested structure with `meaning` wherever `placeholder` stands."""
    if isinstance(value, Mapping):
        return {name: _replaced(item, placeholder, meaning) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, placeholder, meaning) for item in value]
    return meaning if value == placeholder else value


def _as_argument(oracle: Mapping[str, Any]) -> Any:
    """A judge, as `Measures.oracles` has it, for a class that takes an artifact folder or an oracle."""
    return oracle.get("artifact", dict(oracle))


def _check_trainer(trainer: Mapping[str, Any], where: str) -> None:
    known = inspect.signature(Trainer).parameters
    if unknown := sorted(set(trainer) - set(known)):
        raise ValueError(f"{where}.trainer: no such argument {unknown[0]!r}; the Trainer has {sorted(known)}")
    refuse_names_outside(trainer, f"{where}.trainer")
    for name in ("fast_dev_run", "limit_predict_batches"):
        if trainer.get(name):
            raise ValueError(
                f"{where}.trainer: {name} would protect some images, but a study attacks all: leave it "
                "out, and try the fit alone with experiments.fit"
            )


def _points(name: str, defence: DefenceFit) -> Iterator[Point]:
    """The defence at each of its strengths: {'beta': 1} is called 'beta=1'; a trailing "_" is not shown."""
    for values in itertools.product(*defence.strengths.values()):
        init_args = dict(zip(defence.strengths, values, strict=True))
        strength = ",".join(f"{key.rstrip('_')}={value}" for key, value in init_args.items())
        model = {**defence.model, "init_args": {**defence.model.get("init_args", {}), **init_args}}
        yield Point(name, strength, replace(defence, model=model))
