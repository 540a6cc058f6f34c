"""Who attacks, and with what: every attack of the study in the words of its own class."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from experiments.classes import import_class
from experiments.report import names
from experiments.report.analysis import Analysis
from experiments.report.document import Block, Items, Text
from experiments.report.results import Results

TITLE = "What the attacker has and does"
THREAT = (
    "The attacker intercepts the features, has photographs of other people, and wants to know who is in the "
    "picture. They know which defence is used, and how. What each attack here has and does:"
)
OUTSIDE = (
    "Outside the model: an attacker who gets the photographs before they are protected, or who knows from "
    "another source who sends them. Attacks that adapt by exposure are outside it, too: they were given "
    "private pictures or features that leaked. They have a section and a worst case of their own. This "
    "report covers only attacks that were run. A better attack may find more."
)
ACCESS = {"white": "Has the encoder.", "black": "Can only query the encoder."}


def blocks(analysis: Analysis) -> Iterator[Block]:
    yield Text(THREAT)
    yield Items(list(describe_attacks(analysis.results)))
    yield Text(OUTSIDE)


def describe_attacks(results: Results) -> Iterator[str]:
    """A line for each attack and identification of the study, whether or not it was run yet."""
    config = results.config
    stages = [*results.measured(), *results.missing]
    access = {stage["labels"]["attack"]: stage["labels"].get("access") for stage in stages}
    for name, attack in config["attacks"].items():
        yield _line(name, attack, _own_words(attack.get("class_path")), access.get(name))
    for name, identification in (config.get("identifications") or {}).items():
        fit = config["fits"].get(str(identification["identifier"]).strip("${}"), {})
        class_path = fit.get("model", {}).get("class_path", "lightning_modules.FeatureIdentifier")
        yield _line(name, identification, _own_words(class_path), access.get(name))


def _line(name: str, attack: dict[str, Any], words: str, access: str | None) -> str:
    parts = [words, ACCESS.get(access or "", "")]
    if (adaptive := attack.get("adaptive", "none")) != "none":
        parts.append(f"Adapts to the defence ({adaptive}).")
    if epochs := attack.get("epochs"):
        parts.append(f"Run with its networks after epochs {', '.join(map(str, epochs))}.")
    if pairs := attack.get("pairs"):
        parts.append(f"Also run with only {', '.join(map(str, pairs))} of the answers that it learns from.")
    if layers := attack.get("layers"):
        parts.append(f"Reads what f makes of a feature in its layers {', '.join(layers)}.")
    if averaging := attack.get("averaging"):
        parts.append(_averages(averaging))
    if again := attack.get("again"):
        parts.append(f"Takes the mean of what it reads from {1 + len(again)} queries of a picture.")
    return f"{names.attack(name)}: {' '.join(filter(None, parts))}"


def _averages(averaging: dict[str, Any]) -> str:
    """What is averaged, and what the user does against it."""
    against = [name for name in averaging["countermeasures"] if name != "none"]
    countered = f", also against {', '.join(against)}" if against else ""
    return (
        f"Averages the features of {1 + len(averaging['queries'])} queries of a picture "
        f"({averaging['matching']}){countered}."
    )


def _own_words(class_path: str | None) -> str:
    """What a class says of itself, or else where it would be found."""
    if not class_path:
        return ""
    try:
        found = import_class(class_path, "the study's configuration")
    except Exception:  # whatever somebody's module raises, the attack was run and has to be named
        return f"{class_path}, which can no longer be imported."
    first_line = (inspect.getdoc(found) or "").partition("\n")[0]
    return getattr(found, "describe", "") or first_line or f"{class_path}."
