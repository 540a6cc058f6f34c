"""The stages of a study cut down to trials: the same commands on a sample, a few steps of each loop."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule

from experiments.classes import import_class
from experiments.study.config import DefenceFit
from experiments.study.keys import Stage, substitute
from experiments.study.plan import Plan

COUNTS = {"iterations": 2, "restarts": 2, "rungs": 2, "refinements": 1, "queries": 16}
"""Arguments that say how often something is done, and how often a trial does it: the time is in proportion.
A class whose arguments are called otherwise has an attribute `TRIAL` like this."""
DRAWS = {"starts": 16, "samples": 512, "population": 8}
"""The same where the time is not in proportion."""
TURNS = ("adversary_from", "pretraining")
"""Arguments that name the epoch in which a training changes: a trial trains an epoch before and one after."""
STOPWATCH = {"class_path": "experiments.study.preflight.stopwatch.Stopwatch"}
EPOCH = re.compile(r"(\$\{[^}]*\}/epoch=)\d+(\.ckpt)")
ALONE: dict[str, Any] = {
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "logger": False,
    "limit_val_batches": 1,
    "num_sanity_val_steps": 0,
    "check_val_every_n_epoch": 1,
    "val_check_interval": None,
    "min_epochs": None,
    "max_steps": -1,
    "min_steps": None,
    "max_time": None,
}


@dataclass
class Trial:
    """What is tried in place of a stage.

    Attributes:
        stage: the cut-down one, under the stage's own name.
        work: how much more often the stage itself repeats what the trial does, per image.
        phases: epochs of the stage for which each epoch of the trial stands.
        kept: checkpoints of single epochs that the stage leaves for each of the trial's.
    """

    stage: Stage
    work: float = 1.0
    phases: list[int] = field(default_factory=list)
    kept: float = 1.0


def pictures(stages: Mapping[str, Stage]) -> int:
    """How many pictures of a role make the largest batch that a stage works on."""
    sizes = [2]
    for stage in stages.values():
        for section in _data_sections(stage.config):
            made = section.get("init_args", {})
            sizes += [made.get(name, 64) for name in ("batch_size", "manifest_batch_size")]
    return max(sizes)


def representatives(plan: Plan, names: Collection[str]) -> dict[str, str]:
    """For each of the stages the first of them that runs the same code: of a defence's strengths, one.

    What reads the features of a defence of `lightning_modules` that has the target's encoder and head runs
    the code that it runs without a defence, and what measures reconstructions that of any attack: that both
    have the shape and the range that they should is seen where they are made (`checks.mistakes`).

    Args:
        names: of stages, with all that they build on.
    """
    first: dict[str, str] = {}
    runs: dict[str, str] = {}  # what a stage runs
    seen: dict[str, str] = {}  # what those see of it that read what it leaves
    found = {}
    for name in (name for name in plan.stages if name in names):
        stage = plan.stages[name]
        config = {**_without_strength(plan, stage), "labels": None}
        if stage.command in ("measure", "combine"):
            config = _of_any_attack(config)
        # A defence that is asked again does what it does, not what its readers see of it.
        read = runs if stage.command == "protect" else seen
        runs[name] = seen[name] = _signature(stage, config, read)
        if stage.command == "protect":
            seen[name] = _signature(stage, config, seen)
        elif _has_the_targets_encoder(plan, stage):
            seen[name] = f"features of {substitute(config['model']['init_args']['target'], seen.__getitem__)}"
        found[name] = first.setdefault(runs[name], name)
    return found


def _signature(stage: Stage, config: Mapping[str, Any], known: Mapping[str, str]) -> str:
    text = json.dumps(substitute(_epochs(config, 0), known.__getitem__), sort_keys=True, default=str)
    return hashlib.sha256(f"{stage.command} {text}".encode()).hexdigest()


def _of_any_attack(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a measurement without whose images it measures, or what is put together."""
    attacks = {name: "of any attack" for name in ("reconstructions", "measured") if config.get(name)}
    return {**config, **attacks, "answers": None}


def _fitted_defence(plan: Plan, stage: Stage) -> DefenceFit | None:
    """The defence of which a stage is one strength."""
    defence = plan.config.defences.get(stage.name.split(".")[0])
    if defence is None or stage.command != "fit" or "model" not in stage.config:
        return None
    return defence if stage.config["model"]["class_path"] == defence.model["class_path"] else None


def _has_the_targets_encoder(plan: Plan, stage: Stage) -> bool:
    defence = _fitted_defence(plan, stage)
    if defence is None or defence.replaces or "target" not in stage.config["model"]["init_args"]:
        return False
    return import_class(defence.model["class_path"], "class_path").__module__.startswith("lightning_modules.")


def _without_strength(plan: Plan, stage: Stage) -> Mapping[str, Any]:
    """The configuration of a defence without the numbers by which its points differ."""
    if (defence := _fitted_defence(plan, stage)) is None:
        return stage.config
    numbers = {
        name
        for name, values in defence.strengths.items()
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    }
    model = stage.config["model"]
    init_args = {name: value for name, value in model["init_args"].items() if name not in numbers}
    return {**stage.config, "model": {**model, "init_args": init_args}}


def trial(stage: Stage, count: int, cache: Path) -> Trial:
    """Cut down one stage.

    Args:
        count: pictures of the sample in each role.
        cache: where they are decoded to.
    """
    config = copy.deepcopy(dict(stage.config))
    found = Trial(stage)
    if stage.command == "fit":
        _cut_fit(config, found)
    elif stage.command in ("attack", "search"):
        found.work = _cut(config["attack"])
        config["batch_size"] = max(1, min(config["batch_size"], count // 2))  # two parts: one is warm
        for part in {"networks", "candidates"} & config.keys():
            config[part] = _epochs(config[part], 1)
        for candidate in config.get("candidates", {}).values():
            _cut({"class_path": config["attack"]["class_path"], "init_args": candidate["init_args"]})
    config = _sampled(config, count, cache)
    # A trial is short, and several at a time find mistakes sooner than one with all devices.
    needs = replace(stage.needs, cpus=1, gpus=min(stage.needs.gpus, 1))
    found.stage = replace(stage, config=config, needs=needs)
    return found


def _cut_fit(config: dict[str, Any], found: Trial) -> None:
    trainer = config["trainer"]
    epochs = trainer.get("max_epochs") or 1
    turns = _turns(config["model"], epochs)
    edges = [0, *turns, epochs]
    found.phases = [after - before for before, after in pairwise(edges)]
    for name in TURNS:
        value = config["model"]["init_args"].get(name)
        if isinstance(value, int) and value:
            config["model"]["init_args"][name] = turns.index(value) + 1 if value in turns else len(edges)
    found.work = _cut(config["model"])
    accepted = {name: value for name, value in ALONE.items() if name in trainer or value is not None}
    callbacks = [*(trainer.get("callbacks") or []), STOPWATCH]
    config["trainer"] = {**trainer, **accepted, "max_epochs": len(found.phases), "callbacks": callbacks}
    if "keep" in config:
        kept = config["keep"]["epochs"]
        config["keep"] = {"epochs": [0, 1]}
        found.kept = len(kept) / 2


def _turns(model: Mapping[str, Any], epochs: int) -> list[int]:
    values = (model.get("init_args", {}).get(name) for name in TURNS)
    return sorted({value for value in values if isinstance(value, int) and 0 < value < epochs})


def _cut(section: dict[str, Any]) -> float:
    """Let a class do little of all that it does; returns how many times as much it would do."""
    own = getattr(import_class(section["class_path"], "class_path"), "TRIAL", {})
    arguments, work = section.get("init_args") or {}, 1.0
    for name, few in {**COUNTS, **DRAWS, **own}.items():
        value = arguments.get(name)
        if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value) and value:
            arguments[name] = [min(item, few) for item in value]
            full, cut = sum(value), sum(arguments[name])
        elif isinstance(value, int) and not isinstance(value, bool) and value > few:
            arguments[name] = few
            full, cut = value, few
        else:
            continue
        work *= full / cut if name not in DRAWS else 1.0
    return work


def _epochs(value: Any, epoch: int) -> Any:
    """`value` with the checkpoint of another epoch in place of each that is named."""
    if isinstance(value, Mapping):
        return {name: _epochs(item, epoch) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_epochs(item, epoch) for item in value]
    return EPOCH.sub(rf"\g<1>{epoch}\g<2>", value) if isinstance(value, str) else value


def _sampled(config: dict[str, Any], count: int, cache: Path) -> dict[str, Any]:
    if "data" in config:
        config["data"] = _wrapped(config["data"], count, cache)
    return config


def _wrapped(section: Mapping[str, Any], count: int, cache: Path) -> dict[str, Any]:
    init_args = section.get("init_args") or {}
    if "data" in init_args:
        return {**section, "init_args": {**init_args, "data": _wrapped(init_args["data"], count, cache)}}
    sample = {"data": dict(section), "pictures": count, "cache_dir": str(cache)}
    return {"class_path": "datamodules.sample.SampleFaces", "init_args": sample}


def _data_sections(value: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return
    if "class_path" in value and "data" not in (value.get("init_args") or {}):
        if issubclass(import_class(value["class_path"], "data"), LightningDataModule):
            yield value
        return
    for item in value.values():
        yield from _data_sections(item)
