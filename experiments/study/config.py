"""What a study's YAML may say. Every mistake is named, with its place, before anything runs."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from experiments.study.layers import Layer, alike, combined, idle_nulls, layers
from experiments.study.mistakes import sentences

DEFENCE = "defence"
"""'${defence}' stands for the defence, at one strength, that a network is trained for."""
ORACLE = "oracle"
"""'${oracle}' stands for one judge after the other, where an identification's network learns from it."""
SECTIONS = ("queries", "fits", "oracles", "defences", "attacks", "identifications")
"""Those that hold entries by name; an entry may be `like` another, and say only what is new."""


LONGEST = 60
"""Letters in a name; several make up that of an artifact's folder."""
RESERVED = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"


def _named(form: str, pattern: str) -> AfterValidator:
    """Text that becomes a part of file names, and so may not lead out of a folder."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text) or ".." in text:
            raise PydanticCustomError("form", form)
        if len(text) > LONGEST or not unicodedata.is_normalized("NFC", text):
            raise PydanticCustomError("form", f"of at most {LONGEST} letters, accented ones as one character")
        if re.fullmatch(RESERVED, text, re.IGNORECASE):
            raise PydanticCustomError("form", "another name: on some file systems this one is a device's")
        return text

    return AfterValidator(check)


def _strength(value: Any) -> Any:
    is_name = isinstance(value, str) and re.fullmatch(r"\w[\w.+-]*", value) and ".." not in value
    is_number = isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    if not (is_name or is_number) or len(str(value)) > LONGEST:
        raise PydanticCustomError(
            "form", "a finite number, true or false, or a short name of letters, digits, '-', '_' and '.'"
        )
    return value


def _class(section: dict[str, Any]) -> dict[str, Any]:
    known = {"class_path": str, "init_args": dict}
    if (
        "class_path" not in section
        or section.keys() - known.keys()
        or not all(isinstance(value, known[key]) for key, value in section.items())
    ):
        raise PydanticCustomError("form", "{class_path: package.Class, init_args: {name: value}}")
    return section


def _oracle(value: Any) -> Any:
    if isinstance(value, dict):
        return _class(value)
    if isinstance(value, str) and value:
        return value
    raise PydanticCustomError("form", "'${fit}', or class_path and init_args of an oracle")


# Strict: a value that YAML reads as another type than asked for is a mistake, whose meaning is not guessed.
Text = Annotated[str, Field(strict=True, min_length=1)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
YesNo = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(strict=True), _named("made of letters, digits, '-' and '_'", r"\w[\w-]*")]
StudyName = Annotated[
    str, Field(strict=True), _named("made of letters, digits, '-', '_' and '.'", r"\w[\w.-]*")
]
Arguments = dict[Annotated[str, Field(strict=True)], Any]
ClassSection = Annotated[Arguments, AfterValidator(_class)]
Strengths = Annotated[list[Annotated[Any, AfterValidator(_strength)]], Field(min_length=1)]
Adaptive = Literal["none", "A1", "A2", "A3", "exposure"]
KNOWN_KEYS = ConfigDict(extra="forbid")


@dataclass(config=KNOWN_KEYS)
class Cost:
    """What a stage takes.

    Attributes:
        minutes, megabytes: time and disk as guessed for `--dry-run`, until the stage has run once.
        memory: GiB, for executors that share machines out.
        cpus: cores, for them too.
    """

    minutes: Amount | None = field(default=None, kw_only=True)
    megabytes: Amount | None = field(default=None, kw_only=True)
    memory: Amount | None = field(default=None, kw_only=True)
    cpus: Positive | None = field(default=None, kw_only=True)


@dataclass(config=KNOWN_KEYS)
class Query(Cost):
    """What every defence is asked to protect beside the private-test images.

    Attributes:
        data: arguments of the datamodule, over the study's own (`predict_role`, `predict_limit`, ...).
        query: how often the same images were protected before; see Defence.
    """

    data: Arguments = field(default_factory=dict)
    query: Whole = 0


@dataclass(config=KNOWN_KEYS)
class Fit(Cost):
    """A module to train. One that refers to '${defence}' or to a query is trained for every defence anew.

    Attributes:
        model: `class_path` and `init_args` of a LightningModule.
        trainer: arguments of the Trainer, over the study's own.
        data: arguments of the datamodule, over the study's own (`fit_role`, `batch_size`, ...); or
            `class_path` and `init_args` of another one, which is given the study's as its `data`.
        keep: epochs whose weights are kept, for an attack's curve.
    """

    model: ClassSection
    trainer: Arguments = field(default_factory=dict)
    data: Arguments = field(default_factory=dict)
    keep: list[Whole] = field(default_factory=list)


@dataclass(config=KNOWN_KEYS)
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

    strengths: dict[Name, Strengths] = field(default_factory=dict)
    replaces: Text | None = None
    instead: dict[Name, Text] = field(default_factory=dict)
    head: Text | None = None
    attacked: YesNo = True


@dataclass(config=KNOWN_KEYS)
class Averaging:
    """The queries whose features an attacker averages: A3.

    Attributes:
        queries: names of queries of the private-test images; the defence's own features come first.
        matching: how the attacker aligns them, plain or matched; see experiments.average.
        countermeasures: what the user does against it: none, shuffle, record.
    """

    queries: list[Text]
    matching: Literal["plain", "matched"] = "plain"
    countermeasures: list[Literal["none", "shuffle", "record"]] = field(default_factory=lambda: ["none"])


@dataclass(config=KNOWN_KEYS)
class AgainstDefences:
    """What every way to find people says of itself.

    Attributes:
        against: patterns of defences' names, or of names and strengths ('crafter.beta=1').
        adaptive: how it answers the defence.
        pairs: runs also with networks that learn from so many of their ProtectedPairs alone: a curve over the
            number of queries. What it finds with all of them is what counts.
        averaging: reads the averages of several queries.
    """

    against: list[Text] = field(default_factory=lambda: ["*"], kw_only=True)
    adaptive: Adaptive = field(default="none", kw_only=True)
    pairs: list[Positive] = field(default_factory=list, kw_only=True)
    averaging: Averaging | None = field(default=None, kw_only=True)


@dataclass(config=KNOWN_KEYS)
class Candidate:
    """Settings of an attack that are tried on public people.

    Attributes:
        init_args, networks: over the attack's own.
        epoch: of the networks whose fits keep several.
    """

    init_args: Arguments = field(default_factory=dict)
    networks: dict[Name, Text] = field(default_factory=dict)
    epoch: Whole | None = None


@dataclass(config=KNOWN_KEYS)
class Search:
    """A choice among settings, made for each defence on public people.

    Attributes:
        query: the query of public_val images that it is made on.
        candidates: by name.
        again: further queries of these images, as many as the attack averages: what reads one query best need
            not read the average of several best.
    """

    query: Text
    candidates: dict[Name, Candidate]
    again: list[Text] = field(default_factory=list)


@dataclass(config=KNOWN_KEYS)
class Attack(AgainstDefences, Cost):
    """An attack on features.

    Attributes:
        networks: maps init args to '${fit}'.
        epochs: runs once with the weights of each, instead of the last; the networks' fits keep them.
        search: chooses settings on public people, in place of `epochs`.
        layers: weights of layers of f, which the attacker knows too: inverts what f makes of a feature there.
    """

    class_path: Text
    init_args: Arguments = field(default_factory=dict)
    networks: dict[Name, Text] = field(default_factory=dict)
    batch_size: Positive = 64
    epochs: list[Whole] = field(default_factory=list)
    search: Search | None = None
    layers: dict[Annotated[str, Field(strict=True)], Annotated[float, Field(gt=0)]] = field(
        default_factory=dict
    )


@dataclass(config=KNOWN_KEYS)
class Identification(AgainstDefences, Cost):
    """Identities read from features, without an image: the FeatureIdentifier, Linker or Matcher '${fit}'.

    Attributes:
        again: names of further queries of the same images: it takes the mean of what it reads of all, where
            `averaging` reads the mean of their features.
        known: the query of private_train pictures that a Matcher compares with, photographs that the attacker
            had protected, too; without one it encodes all of them as they are.
    """

    identifier: Text
    again: list[Text] = field(default_factory=list)
    known: Text | None = None


@dataclass(config=KNOWN_KEYS)
class Measure(Cost):
    """What is measured with beside the oracles.

    Attributes:
        prior: the prior for epsilon.
        lpips_weights: LPIPS's backbone.
        metrics: further image metrics, `class_path` and `init_args` each, of one's own too.
        head: in the development scenario the fit, a HeadTraining, that learns from protected features.
        unseen: attributes that f is not trained for, which a probe reads.
        second: the query of private_train pictures whose features are linked with those of the same people.
        again: the query of the protected pictures once more, whose features are linked with the first ones.
    """

    prior: Text | None = None
    lpips_weights: Text | None = None
    metrics: list[ClassSection] = field(default_factory=list)
    head: Text | None = None
    unseen: list[Text] = field(default_factory=list)
    second: Text | None = None
    again: Text | None = None


@dataclass(config=KNOWN_KEYS)
class StudyConfig:
    """A whole comparison. '${name}' anywhere stands for the artifact folder of the fit or query `name`.

    Attributes:
        together: what is also measured of all attacks on a point together; see experiments.combine.
    """

    name: StudyName
    dataset: Text
    network: Text
    data: ClassSection
    fits: dict[Name, Fit]
    oracles: dict[Name, Annotated[Any, AfterValidator(_oracle)]]
    defences: dict[Name, DefenceFit]
    attacks: dict[Name, Attack]
    queries: dict[Name, Query] = field(default_factory=dict)
    identifications: dict[Name, Identification] = field(default_factory=dict)
    together: list[Literal["union", "fusion"]] = field(default_factory=list)
    scenario: Literal["deployment", "development"] = "deployment"
    seed: Whole = 0
    jobs: Positive = 2
    trainer: Arguments = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)

    def resolved(self) -> dict[str, Any]:
        """The configuration with every default written out."""
        return asdict(self)


def load(path: str | Path) -> StudyConfig:
    """Read a study's YAML, and before it the files that it `extends`; see layers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or says what a study cannot mean; every mistake has a sentence.
    """
    return _build(layers(Path(path)))


def parse(content: Any, where: str) -> StudyConfig:
    """Build a StudyConfig from plain dicts; `where` names the file in errors."""
    return _build([Layer(Path(where), content)])


def _build(found: Sequence[Layer]) -> StudyConfig:
    where = found[-1].file
    if mistakes := idle_nulls(found):
        raise _refusal(where, mistakes)
    try:
        config = TypeAdapter(StudyConfig).validate_python(alike(combined(found), SECTIONS, where))
    except ValidationError as error:
        raise _refusal(where, sentences(error, StudyConfig, found)) from None
    if contradictions := _contradictions(config):
        raise _refusal(where, [f"{where}: {contradiction}" for contradiction in contradictions])
    return config


def _refusal(where: Path, mistakes: Sequence[str]) -> ValueError:
    if len(mistakes) == 1:
        return ValueError(mistakes[0])
    return ValueError("\n  ".join([f"{where} has {len(mistakes)} mistakes:", *mistakes]))


def _contradictions(config: StudyConfig) -> list[str]:
    """Mistakes for which no single value is to blame."""
    found = []
    if "none" not in config.defences:
        found.append("defences needs 'none', the undefended network that everything is compared with")
    for kind in ("oracles", "attacks"):
        if not getattr(config, kind):
            found.append(f"{kind} is empty; a study needs at least one")
    for name, attack in config.attacks.items():
        averaged = len(attack.averaging.queries) if attack.averaging else 0
        if attack.search and len(attack.search.again) != averaged:
            found.append(
                f"attacks.{name}: search.again names {len(attack.search.again)} further queries of public "
                f"people, but averaging {averaged} of private ones: settings are chosen on as many"
            )
    for name, one in config.identifications.items():
        if one.again and one.adaptive != "A3":
            found.append(
                f"identifications.{name}: `again` reads several queries, which is an attack of its own: say "
                "adaptive: A3"
            )
        if one.known and one.adaptive == "none":
            found.append(
                f"identifications.{name}: `known` has photographs protected, which only who may query the "
                "defence can: say adaptive: A1, or A3 with `again` or `averaging`"
            )
        if one.again and one.averaging:
            found.append(
                f"identifications.{name}: `again` takes the mean of what is read of several queries, "
                "`averaging` reads that of their features: leave one of them out"
            )
    names = ["data", DEFENCE, ORACLE, *config.fits, *config.queries, *config.defences]
    twice = sorted({name for name in names if names.count(name) > 1})
    return found + [f"the name {name!r} is used twice" for name in twice]
