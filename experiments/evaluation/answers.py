"""What the answer itself gives away: who is named by what f reads.

Whoever asks f learns its answers, whatever is done to the features: no defence that keeps them can leave less
than what they say of a person. So this, and not chance, is the floor of a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datamodules.datasets import FaceDataset
from experiments.evaluation.batches import of_photographs
from experiments.evaluation.columns import Column, interval_columns
from facecrafter.metrics import Interval, SamePerson, clustered_balanced_accuracy, clustered_share, identified

NAMED = (
    "name the right person, when compared with known photographs of everybody by what was learned on public "
    "people"
)
SHARES = (
    Column(
        "floor",
        "floor: answers",
        f"Share of the pictures for which f's answers to the protected features {NAMED}. A defence that "
        "keeps these answers cannot leave less.",
        ".1%",
        interval=True,
    ),
    Column(
        "floor_raw",
        "floor: answers to raw features",
        f"Share of the pictures for which f's answers to raw features {NAMED}.",
        ".1%",
        interval=True,
    ),
    Column(
        "floor_attributes",
        "floor: true attributes",
        f"Share of the pictures for which the true attributes {NAMED}, as if f never erred.",
        ".1%",
        interval=True,
    ),
)
BITS = Column(
    "answer_bits",
    "bits in raw answers",
    "Bits that f's answers to raw features tell about who it is, by the normal model that was learned on "
    "public people. It is no bound, and too high where the model is overconfident.",
    ".1f",
)
PROVED = Column(
    "proved",
    "proved: at most",
    "Share of the pictures whose person anybody can name at most who has the feature of one picture at a "
    "time. It is proved for the release, by the bits that a picture's features tell: each of 2^bits words "
    "names one person, who has so many of the pictures. Empty where nothing is proved.",
    ".1%",
)
DECISIONS = (
    Column(
        "balanced_accuracy",
        "balanced accuracy",
        "How often f's answers to the protected features decide right at f's own threshold: the mean of the "
        "share among pictures with an attribute and the share among those without it, averaged over the "
        "attributes, 0 to 1; guessing has 0.5. The AUC does not see a shift of the answers, but a cloud that "
        "sets no new threshold does.",
        interval=True,
    ),
    Column(
        "turned",
        "decisions turned",
        "Share of f's decisions at its own threshold that differ between protected and raw features; for "
        "classes, the share of the choices. Empty where the defence has trained networks of its own.",
        ".1%",
    ),
)
COLUMNS = (*SHARES, BITS, PROVED, *DECISIONS)
STRANGERS = 4000
"""Pictures of `public`, and as many of `public_val`, that comparing is learned on, at most; whole people."""
NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Pictures:
    """Some numbers (N, A) of each picture, and whose it is (N,)."""

    numbers: Tensor
    identities: Tensor


@dataclass(frozen=True)
class Asked:
    """Pictures of three kinds, of which the same numbers are known.

    Attributes:
        strangers: of public people, to learn on.
        known: of the private people, enrolled.
        probes: of the private people, to be named.
    """

    strangers: Pictures
    known: Pictures
    probes: Pictures


def compared(asked: Asked) -> tuple[SamePerson, Tensor]:
    """What was learned on strangers, and whether each probe's right person is named by it, (N,) bool.

    Raises:
        ValueError: it cannot be told, and why.
    """
    if not asked.probes.numbers.shape[1]:
        raise ValueError("there are no attributes")
    comparison = SamePerson.learn_white(asked.strangers.numbers, asked.strangers.identities)
    known, probes = asked.known, asked.probes
    scores = comparison.scores(probes.numbers, known.numbers, known.identities)
    return comparison, identified(scores, probes.identities)


def floors(asked: Mapping[str, Asked], seed: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The columns of each floor and `BITS`, whether each picture's person was named, and `floor_note`: why a
    floor is empty."""
    columns: dict[str, Any] = {BITS.name: math.nan}
    hits: dict[str, Tensor] = {}
    notes = []
    for name, pictures in asked.items():
        share = NOTHING
        try:
            comparison, hits[name] = compared(pictures)
            if name == "floor_raw":
                columns[BITS.name] = comparison.bits
            share = clustered_share(hits[name], pictures.probes.identities, seed)
        except ValueError as error:
            notes.append(f"{name}: {error}")
        columns |= interval_columns(name, share)
    return columns | {"floor_note": "; ".join(notes) or None}, hits


def proved(bits: int | None, identities: Tensor) -> dict[str, float]:
    """The column `PROVED`, of features of N pictures of these people (N,) that tell so many bits each at most
    (`Defence.bits`): one of 2^bits words names one person, who has so many of the pictures."""
    if bits is None:
        return {PROVED.name: math.nan}
    most = int(torch.unique(identities, return_counts=True)[1].max())
    return {PROVED.name: min(1.0, 2**bits * most / len(identities))}


def at_threshold(
    answers: Pictures, raw: Tensor | None, truth: Tensor, task: str, seed: int
) -> dict[str, float]:
    """The columns of `DECISIONS`, NaN where f tells people apart and decides nothing.

    Args:
        answers: f's to the protected features.
        raw: f's to raw ones (N, A); None where there is no such f.
        truth: attributes of these pictures (N, A) in {0, 1}.
        task: that f was trained for: each of the `attributes`, or the one of A `classes`.
        seed: of the bootstrap.
    """
    if task not in ("attributes", "classes"):
        return {**interval_columns("balanced_accuracy", NOTHING), "turned": math.nan}
    decided = _decided(answers.numbers, task)
    balanced = clustered_balanced_accuracy(decided, truth, answers.identities, seed)
    turned = math.nan if raw is None else _share_of_others(decided, _decided(raw, task), task)
    return {**interval_columns("balanced_accuracy", balanced), "turned": turned}


def _decided(answers: Tensor, task: str) -> Tensor:
    """(N, A) -> (N, A) in {0, 1}."""
    if task == "classes":
        return F.one_hot(answers.argmax(dim=1), answers.shape[1])
    return (answers > 0).long()


def _share_of_others(decided: Tensor, before: Tensor, task: str) -> float:
    others = decided != before
    return (others.any(dim=1) if task == "classes" else others).double().mean().item()


def of_people(faces: FaceDataset, most: int, seed: int) -> Tensor:
    """Positions, ascending, of all pictures of people drawn by lot until there are `most` pictures."""
    order = np.random.default_rng(seed).permutation(faces.identities.unique().numpy())
    counts = torch.bincount(faces.identities)[torch.from_numpy(order)]
    chosen = torch.from_numpy(order)[counts.cumsum(0) <= max(most, int(counts[:1].sum()))]
    return torch.isin(faces.identities, chosen).nonzero()[:, 0]


def answered(read: Callable[[Tensor], Tensor], faces: FaceDataset, positions: Tensor) -> Pictures:
    """What `read`, images -> answers (N, A), says of some pictures of `faces`."""
    answers = of_photographs(read, lambda at: faces.images(positions[at]), len(positions))
    return Pictures(answers.flatten(1), faces.identities[positions])


def together(parts: Iterable[Pictures]) -> Pictures:
    """All of them as one."""
    found = list(parts)
    return Pictures(torch.cat([one.numbers for one in found]), torch.cat([one.identities for one in found]))
