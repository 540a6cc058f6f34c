"""From a study's configuration to its stages: data, fits, defences, attacks and measurements."""

from __future__ import annotations

import inspect
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, Trainer

from experiments.classes import complete, identity, import_class, plain
from experiments.stages import Stage, ordered, references, substitute
from experiments.study_config import Attack, DefenceFit, Fit, StudyConfig
from lightning_modules.artifacts import is_trained

# Trainer arguments that say where and how fast, or what is shown: the numbers do not depend on them.
MACHINE_TRAINER = {
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "logger",
    "enable_progress_bar",
    "enable_model_summary",
    "log_every_n_steps",
    "profiler",
}
VERSIONS = {"attack": 1, "measure": 2}
"""Raised when what the command itself computes changes."""


class Plan:
    """The stages of one study. What is wrong in the configuration is found while they are made.

    Attributes:
        stages: by name, each after those it builds on.
        labels: for each measure stage, what its rows in results.csv are called.
    """

    def __init__(self, config: StudyConfig) -> None:
        self.config = config
        self.labels: dict[str, dict[str, Any]] = {}
        self.found: dict[str, Stage] = {}
        self._fingerprints: dict[str, str] = {}
        self._data = _class_of(config.data, "data")
        self._add(self._data_stage())
        for name, fit in config.fits.items():
            self._add(self._fit(name, fit, f"fits.{name}"))
        for name, defence in config.defences.items():
            self._defence(name, defence)
        self.stages = ordered(self.found.values())

    def _add(self, stage: Stage) -> None:
        self.found.setdefault(stage.name, stage)

    # Data: everything else waits until it is decoded and checked.

    def _data_config(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        init_args = {**self.config.data.get("init_args", {}), **overrides}
        return {"class_path": self.config.data["class_path"], "init_args": init_args}

    def _fingerprint(self, overrides: Mapping[str, Any], where: str) -> str:
        config = self._data_config(overrides)
        text = json.dumps(config, sort_keys=True, default=str)
        if text not in self._fingerprints:
            module = make_data(self._data, config["init_args"], where)
            self._fingerprints[text] = module.fingerprint()
        return self._fingerprints[text]

    def _data_stage(self) -> Stage:
        fingerprint = self._fingerprint({}, "data")
        return Stage("data", "prepare", {"data": self._data_config({})}, {"fingerprint": fingerprint})

    # Fits: networks and defences.

    def _fit(self, name: str, fit: Fit, where: str) -> Stage:
        found = _class_of(fit.model, f"{where}.model")
        class_path = fit.model["class_path"]
        arguments = complete(found, fit.model.get("init_args", {}), f"{where}.model")
        if isinstance(fit, DefenceFit) and "seed" not in fit.model.get("init_args", {}):
            arguments = {**arguments, "seed": self.config.seed}
        trainer = {**self.config.trainer, **fit.trainer}
        _check_trainer(trainer, where)
        config = {
            "seed_everything": self.config.seed,
            "trainer": trainer,
            "model": {"class_path": class_path, "init_args": arguments},
            "data": self._data_config(fit.data),
        }
        numbers = {
            "model": identity(found, arguments),
            "seed": self.config.seed,
            "trainer": plain(_training(trainer)) if is_trained(found) else None,
            "data": self._fingerprint(fit.data, f"{where}.data"),
            "prepared": "${data}",
        }
        return Stage(name, "fit", config, numbers, fit.minutes, fit.megabytes)

    def _defence(self, name: str, defence: DefenceFit) -> None:
        for strength, init_args in _strengths(defence.strengths):
            model = {**defence.model, "init_args": {**defence.model.get("init_args", {}), **init_args}}
            stage = f"{name}.{strength}" if strength else name
            fit = DefenceFit(model, defence.trainer, defence.data, defence.minutes, defence.megabytes)
            self._add(self._fit(stage, fit, f"defences.{name}"))
            for attack_name, attack in self.config.attacks.items():
                networks = {
                    argument: self._network(
                        reference, defence.replaces, stage, f"attacks.{attack_name}.networks"
                    )
                    for argument, reference in attack.networks.items()
                }
                labels = {"defence": name, "strength": strength, "attack": attack_name}
                self._attack(stage, attack_name, attack, networks, labels)

    def _network(self, reference: str, replaced: str | None, defence: str, where: str) -> str:
        """The attacker's network, trained again if the defence replaces the encoder it was trained for."""
        if replaced is None:
            return reference
        if replaced not in self.config.fits:
            raise ValueError(
                f"{defence}: replaces names {replaced!r}; the fits are {sorted(self.config.fits)}"
            )

        def instead(name: str) -> str:
            if name == replaced:
                return f"${{{defence}}}"
            if name not in self.config.fits or replaced not in self._below(name):
                return f"${{{name}}}"
            fit = self.config.fits[name]
            copy = Fit(substitute(fit.model, instead), fit.trainer, fit.data, fit.minutes, fit.megabytes)
            self._add(self._fit(f"{defence}.{name}", copy, f"fits.{name}"))
            return f"${{{defence}.{name}}}"

        return substitute(reference, instead)

    def _below(self, name: str) -> set[str]:
        """Names of all fits that the fit `name` builds on."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            new = references(self.config.fits[waiting.pop()].model) & self.config.fits.keys() - found
            found |= new
            waiting.extend(new)
        return found

    # Attacks and what is measured on them.

    def _attack(
        self, defence: str, name: str, attack: Attack, networks: Mapping[str, str], labels: Mapping[str, Any]
    ) -> None:
        where = f"attacks.{name}"
        found = import_class(attack.class_path, where)
        arguments = complete(found, attack.init_args, where, given={*networks, "encoder"})
        seed = self.config.seed
        config = {
            "features": f"${{{defence}}}/features",
            "defence": f"${{{defence}}}",
            "attack": {"class_path": attack.class_path, "init_args": arguments},
            "networks": dict(networks),
            "batch_size": attack.batch_size,
            "seed": seed,
        }
        numbers = {
            "version": VERSIONS["attack"],
            "attack": identity(found, arguments),
            "networks": dict(networks),
            "features": f"${{{defence}}}",
            "seed": seed,
        }
        stage = Stage(f"{defence}.{name}", "attack", config, numbers, attack.minutes, attack.megabytes)
        self._add(stage)
        access, adaptive = getattr(found, "access", "white"), attack.adaptive
        self._measure(defence, stage.name, {**labels, "access": access, "adaptive": adaptive})

    def _measure(self, defence: str, attack: str, labels: Mapping[str, Any]) -> None:
        settings, config = self.config.measure, self.config
        labels = {
            "dataset": config.dataset,
            "scenario": config.scenario,
            "network": config.network,
            **labels,
            "countermeasure": "none",
        }
        numbers = {
            "features": f"${{{defence}}}",
            "reconstructions": f"${{{attack}}}",
            "oracles": plain(self.oracles),
            "prior": settings.prior,
            "lpips_weights": plain(self._lpips_weights),
            "labels": labels,
            "seed": config.seed,
        }
        inputs = {
            "data": self._data_config({}),
            "defence": f"${{{defence}}}",
            "features": f"${{{defence}}}/features",
            "reconstructions": f"${{{attack}}}/reconstructions",
            "oracles": self.oracles,
            "prior": settings.prior,
            "lpips_weights": self._lpips_weights,
            "labels": labels,
            "seed": config.seed,
        }
        numbers = {**numbers, "version": VERSIONS["measure"], "prepared": "${data}"}
        stage = Stage(f"{attack}.measure", "measure", inputs, numbers, settings.minutes, settings.megabytes)
        self._add(stage)
        self.labels[stage.name] = labels

    @cached_property
    def oracles(self) -> dict[str, Any]:
        """The oracles whose weights are there; a warning names the others."""
        found: dict[str, Any] = {}
        for name, oracle in self.config.oracles.items():
            where = f"oracles.{name}"
            if isinstance(oracle, str):
                found[name] = {"artifact": oracle}
                continue
            arguments = complete(_class_of(oracle, where), oracle.get("init_args", {}), where)
            if "weights" in arguments and _missing_weights(arguments["weights"], where):
                continue
            found[name] = {"class_path": oracle["class_path"], "init_args": arguments}
        if not found:
            raise ValueError(
                "oracles: none is left; name weights that exist, or an identity classifier '${...}'"
            )
        return found

    @cached_property
    def _lpips_weights(self) -> str | None:
        weights = self.config.measure.lpips_weights
        return None if weights and _missing_weights(weights, "measure.lpips_weights") else weights


def make_data(found: type, init_args: Mapping[str, Any], where: str) -> LightningDataModule:
    """Instantiate a datamodule, arguments checked."""
    if not issubclass(found, LightningDataModule) or not hasattr(found, "fingerprint"):
        raise ValueError(f"{where}: {found.__name__} is no face data; derive it from FaceDataModule")
    return found(**complete(found, init_args, where))


def _class_of(config: Any, where: str) -> type:
    if not isinstance(config, Mapping) or "class_path" not in config:
        raise ValueError(f"{where}: expected class_path and init_args, not {config!r}")
    if unknown := sorted(set(config) - {"class_path", "init_args"}):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; the keys are class_path and init_args")
    return import_class(config["class_path"], where)


def _check_trainer(trainer: Mapping[str, Any], where: str) -> None:
    known = inspect.signature(Trainer).parameters
    if unknown := sorted(set(trainer) - set(known)):
        raise ValueError(f"{where}.trainer: no such argument {unknown[0]!r}; the Trainer has {sorted(known)}")


def _training(trainer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trainer.items() if name not in MACHINE_TRAINER}


def _missing_weights(weights: str | None, where: str) -> bool:
    if weights is not None and Path(weights).is_file():
        return False
    reason = "no weights are named" if weights is None else f"{weights} does not exist"
    print(f"warning: {where} is left out: {reason}", file=sys.stderr)
    return True


def _strengths(grid: Mapping[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Label and init args of every strength: ('beta=1', {'beta': 1}); a name's trailing "_" is not shown."""
    for values in itertools.product(*grid.values()):
        init_args = dict(zip(grid, values, strict=True))
        yield ",".join(f"{name.rstrip('_')}={value}" for name, value in init_args.items()), init_args
