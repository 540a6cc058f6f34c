"""What a study's YAML may say. Unknown and missing keys are named before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Fit:
    """A module to train.

    Attributes:
        model: `class_path` and `init_args` of a LightningModule.
        trainer: arguments of the Trainer, over the study's own.
        data: arguments of the datamodule, over the study's own (`fit_role`, `batch_size`, ...).
        minutes, megabytes: a guess for `--dry-run`, until the stage has run once.
    """

    model: dict[str, Any]
    trainer: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    megabytes: float | None = None


@dataclass
class DefenceFit(Fit):
    """A defence, at one or several strengths.

    Attributes:
        strengths: values of init args, such as {beta: [0.5, 1]}; several names give their product.
        replaces: the fit whose encoder this defence replaces by its own. Attackers then train their networks
            for the defence's encoder instead of that fit's.
    """

    strengths: dict[str, list[Any]] = field(default_factory=dict)
    replaces: str | None = None


@dataclass
class Attack:
    """An attack, run on the features of every defence. `networks` maps init args to '${fit}'."""

    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    batch_size: int = 64
    adaptive: str = "none"
    minutes: float | None = None
    megabytes: float | None = None


@dataclass
class Measure:
    """What is measured with beside the oracles: the prior for epsilon, LPIPS's backbone weights."""

    prior: str | None = None
    lpips_weights: str | None = None
    minutes: float | None = None
    megabytes: float | None = None


@dataclass
class StudyConfig:
    """A whole comparison. '${name}' anywhere stands for the artifact folder of the fit `name`."""

    name: str
    dataset: str
    network: str
    data: dict[str, Any]
    fits: dict[str, Fit]
    oracles: dict[str, Any]
    defences: dict[str, DefenceFit]
    attacks: dict[str, Attack]
    scenario: str = "deployment"
    seed: int = 0
    jobs: int = 2
    trainer: dict[str, Any] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)

    def resolved(self) -> dict[str, Any]:
        """The configuration with every default written out."""
        return asdict(self)


NESTED = {"fits": Fit, "defences": DefenceFit, "attacks": Attack}


def load(path: str | Path) -> StudyConfig:
    """Read a study's YAML.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or a key is unknown or missing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such study configuration; see experiments/configs/ for examples")
    try:
        content = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    return parse(content, str(path))


def parse(content: Any, where: str) -> StudyConfig:
    """Build a StudyConfig from plain dicts; `where` names the file in errors."""
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{where}: a study is a mapping with the keys {[item.name for item in fields(StudyConfig)]}"
        )
    content = dict(content)
    for section, kind in NESTED.items():
        if isinstance(content.get(section), Mapping):
            content[section] = {
                name: build(kind, item, f"{where}: {section}.{name}")
                for name, item in content[section].items()
            }
    content["measure"] = build(Measure, content.get("measure") or {}, f"{where}: measure")
    config = build(StudyConfig, content, where)
    _check(config, where)
    return config


def build(kind: type, content: Any, where: str) -> Any:
    """Call a dataclass with the keys of a mapping, or say which of them is unknown or missing."""
    known = {item.name: item for item in fields(kind)}
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: expected a mapping with the keys {sorted(known)}, not {content!r}")
    if unknown := sorted(set(content) - set(known)):
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; the keys are {sorted(known)}")
    required = {
        name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING
    }
    if missing := sorted(required - set(content)):
        raise ValueError(f"{where}: the key {missing[0]!r} is missing")
    return kind(**content)


def _check(config: StudyConfig, where: str) -> None:
    if "none" not in config.defences:
        raise ValueError(
            f"{where}: defences needs 'none', the undefended network that everything is compared with"
        )
    if not config.oracles or not config.attacks:
        raise ValueError(f"{where}: a study needs at least one of oracles and one of attacks")
    for kind in ("fits", "defences", "attacks", "oracles"):
        section = getattr(config, kind)
        if not isinstance(section, Mapping):
            raise ValueError(f"{where}: {kind} is a mapping from names, not {section!r}")
        if odd := [name for name in section if not str(name).replace("_", "").replace("-", "").isalnum()]:
            raise ValueError(f"{where}: {kind}.{odd[0]}: a name is made of letters, digits, '-' and '_'")
    if clash := sorted({*config.fits, "data"} & {*config.defences} | {"data"} & {*config.fits}):
        raise ValueError(f"{where}: the name {clash[0]!r} is used for two stages")
