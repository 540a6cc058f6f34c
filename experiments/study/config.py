"""What a study's YAML may say. Unknown and missing keys are named before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Cost:
    """A guess for `--dry-run`, until the stage has run once."""

    minutes: float | None = field(default=None, kw_only=True)
    megabytes: float | None = field(default=None, kw_only=True)


@dataclass
class Query(Cost):
    """What every defence is asked to protect beside the private-test images.

    Attributes:
        data: arguments of the datamodule, over the study's own (`predict_role`, `predict_limit`, ...).
        query: how often the same images were protected before; see Defence.
    """

    data: dict[str, Any] = field(default_factory=dict)
    query: int = 0


@dataclass
class Fit(Cost):
    """A module to train. One that refers to '${defence}' or to a query is trained for every defence anew.

    Attributes:
        model: `class_path` and `init_args` of a LightningModule.
        trainer: arguments of the Trainer, over the study's own.
        data: arguments of the datamodule, over the study's own (`fit_role`, `batch_size`, ...); or
            `class_path` and `init_args` of another one, which is given the study's as its `data`.
        keep: epochs whose weights are kept, for an attack's curve.
    """

    model: dict[str, Any]
    trainer: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    keep: list[int] = field(default_factory=list)


@dataclass
class DefenceFit(Fit):
    """A defence, at one or several strengths.

    Attributes:
        strengths: values of init args, such as {beta: [0.5, 1]}; several names give their product.
        replaces: the fit whose encoder this defence replaces by its own. Attackers then train their networks
            for the defence's encoder instead of that fit's.
        instead: fits that attackers of this defence have in place of others: {a1_decoder: a1_simulated}.
        head: what reads the attributes for this defence, in place of `measure.head`.
        attacked: False where no feature leaves the device, so that only utility is measured.
    """

    strengths: dict[str, list[Any]] = field(default_factory=dict)
    replaces: str | None = None
    instead: dict[str, str] = field(default_factory=dict)
    head: str | None = None
    attacked: bool = True


@dataclass
class Averaging:
    """The queries whose features an attacker averages: A3.

    Attributes:
        queries: names of queries of the private-test images; the defence's own features come first.
        matching: how the attacker aligns them, plain or matched; see experiments.average.
        countermeasures: what the user does against it: none, shuffle, record.
    """

    queries: list[str]
    matching: str = "plain"
    countermeasures: list[str] = field(default_factory=lambda: ["none"])


@dataclass
class AgainstDefences:
    """Runs against these defences: patterns of their names, or of names and strengths ('crafter.beta=1')."""

    against: list[str] = field(default_factory=lambda: ["*"], kw_only=True)
    adaptive: str = field(default="none", kw_only=True)


@dataclass
class Attack(AgainstDefences, Cost):
    """An attack on features.

    Attributes:
        networks: maps init args to '${fit}'.
        epochs: runs once with the weights of each, instead of the last; the networks' fits keep them.
        averaging: reads the averages of several queries.
    """

    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    batch_size: int = 64
    epochs: list[int] = field(default_factory=list)
    averaging: Averaging | None = None

    def __post_init__(self) -> None:
        if self.averaging is not None:
            self.averaging = build(Averaging, self.averaging, f"the averaging of {self.class_path}")


@dataclass
class Identification(AgainstDefences, Cost):
    """Identities read from features, without an image: the FeatureIdentifier '${fit}'."""

    identifier: str


@dataclass
class Measure(Cost):
    """What is measured with beside the oracles.

    Attributes:
        prior: the prior for epsilon.
        lpips_weights: LPIPS's backbone.
        metrics: further image metrics, `class_path` and `init_args` each, of one's own too.
        head: in the development scenario the fit, a HeadTraining, that learns from protected features.
    """

    prior: str | None = None
    lpips_weights: str | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)
    head: str | None = None


@dataclass
class StudyConfig:
    """A whole comparison. '${name}' anywhere stands for the artifact folder of the fit or query `name`."""

    name: str
    dataset: str
    network: str
    data: dict[str, Any]
    fits: dict[str, Fit]
    oracles: dict[str, Any]
    defences: dict[str, DefenceFit]
    attacks: dict[str, Attack]
    queries: dict[str, Query] = field(default_factory=dict)
    identifications: dict[str, Identification] = field(default_factory=dict)
    scenario: str = "deployment"
    seed: int = 0
    jobs: int = 2
    trainer: dict[str, Any] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)

    def resolved(self) -> dict[str, Any]:
        """The configuration with every default written out."""
        return asdict(self)


NESTED = {
    "queries": Query,
    "fits": Fit,
    "defences": DefenceFit,
    "attacks": Attack,
    "identifications": Identification,
}
DEFENCE = "defence"
"""'${defence}' stands for the defence, at one strength, that a network is trained for."""


def load(path: str | Path) -> StudyConfig:
    """Read a study's YAML, and before it the one that it `extends`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or a key is unknown or missing.
    """
    return parse(read(Path(path)), str(path))


def read(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """The content of a YAML file, laid over that of the file it `extends` (relative to its own folder)."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such study configuration; see experiments/configs/ for examples")
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, Mapping) or "extends" not in content:
        return content
    base = path.parent / str(content["extends"])
    if base.resolve() in (above := (*above, path.resolve())):
        raise ValueError(f"{path} extends {base}, which extends it in turn")
    return overlay(read(base, above), {name: value for name, value in content.items() if name != "extends"})


def overlay(base: Any, over: Any) -> Any:
    """`over` in place of `base`, but mappings are merged; a key whose value is null is left out."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    merged = {name: overlay(base.get(name), value) for name, value in over.items() if value is not None}
    return {**{name: value for name, value in base.items() if name not in over}, **merged}


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
    for kind in (*NESTED, "oracles"):
        section = getattr(config, kind)
        if not isinstance(section, Mapping):
            raise ValueError(f"{where}: {kind} is a mapping from names, not {section!r}")
        if odd := [name for name in section if not str(name).replace("_", "").replace("-", "").isalnum()]:
            raise ValueError(f"{where}: {kind}.{odd[0]}: a name is made of letters, digits, '-' and '_'")
    names = ["data", DEFENCE, *config.fits, *config.queries, *config.defences]
    if clash := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{where}: the name {clash[0]!r} is used twice")
