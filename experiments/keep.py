"""How much of f's answers to send: what fewer words or combinations cost f, and whom they still name.

    python -m experiments.keep --config C.yaml

    data: {class_path: datamodules.SyntheticFaces, init_args: {image_size: 64}}
    target: artifacts/target       # its head answers
    bits: [4, 6, 8]                # of a QuantisedDecoy
    ranks: [4, 8]                  # of a ReducedDecoy
    people: 100                    # among whom each picture is sought
    output: artifacts/keep         # receives kept.csv

No feature is made and nobody private is looked at: the answers to public people's pictures say it in seconds.
These people are parted into groups. Each picture of a group is sought among the people of the group by their
other pictures; words, combinations and what stays with a person are learnt on all others. So there are many
more pictures than in a study, of people whom f was trained on: what the answers cost and name there compares
with each other, and a study of the few that are chosen says what they are worth.

An attacker compares what is sent with raw answers to photographs (`named_raw`), after pairs that tell what is
kept (`named_queries`), or with photographs of which as much is kept (`named_alike`); `named` is the most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jsonargparse import auto_cli
from torch import Tensor, nn
from tqdm import tqdm

from datamodules.faces import FaceDataModule
from experiments import machine
from experiments.errors import ends_in_sentences
from experiments.evaluation.answers import PROVED, answered, proved
from experiments.evaluation.columns import interval_columns
from experiments.evaluation.rows import write_table
from experiments.report.formats import decimal, intervals, percent, percentage
from facecrafter.crafter.codebook import Codebook
from facecrafter.crafter.reduced_rank import ReducedRank
from facecrafter.files import checked_path, for_owner_alone
from facecrafter.metrics import SamePerson, clustered_share, identified
from facecrafter.metrics.matching import Channel, matched
from facecrafter.metrics.utility import mean_auc
from facecrafter.randomness import seeded
from lightning_modules import parsing  # noqa: F401 - it says how jsonargparse reads
from lightning_modules.artifacts import load_artifact
from lightning_modules.networks.target import TargetNetwork

GROUPS = 6
"""Of people, at most."""
TURNS = 5
"""Pictures of a person that are sought, at most."""
ATTACKERS = ("named_raw", "named_queries", "named_alike")


class Answered(NamedTuple):
    """f's answers (N, A), attributes (N, Y) and identities (N,) of some pictures."""

    answers: Tensor
    attributes: Tensor
    identities: Tensor

    def of(self, chosen: Tensor) -> Answered:
        """Those that are chosen (N,)."""
        return Answered(*(values[chosen] for values in self))


def run(
    data: FaceDataModule,
    target: Path,
    output: Path,
    bits: list[int] = [4, 6, 8],  # noqa: B006 - read only
    ranks: list[int] = [4, 8],  # noqa: B006 - read only
    people: int = 100,
    queries: int = 400,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure each of `bits` and `ranks`, and write kept.csv.

    Args:
        data: its public people teach and are sought.
        target: artifact folder of the target network.
        output: folder that receives kept.csv.
        bits: b of each codebook, of 2^b words.
        ranks: k of each set of combinations of the answers.
        people: among whom each picture is sought.
        queries: pairs from which an attacker learns what is kept.
        seed: of who is in which group, and of the pairs.
        device: auto (the GPU where there is one), cpu, cuda, cuda:1, ...
    """
    checked_path(output, "the output")
    machine.compute_on(device)
    network = load_artifact(target, TargetNetwork).to(machine.device())
    data.prepare_data()
    data.setup("test")
    public = data.faces("public")
    groups = _groups(public.identities, people, seed)
    if wrong := [rank for rank in ranks if not 1 <= rank <= network.n_outputs]:
        raise ValueError(f"ranks: {wrong} must lie between 1 and {network.n_outputs}, the number of answers")
    Codebook(network.n_outputs, max(bits, default=1))  # refuses what it cannot have

    answers = answered(network, public, torch.arange(len(public)))
    pictures = Answered(answers.numbers, public.attributes, public.identities)
    rows = _measured(pictures, groups, bits, ranks, queries, seed)
    write_table(output / "kept.csv", rows)
    print(_readable(pd.DataFrame(rows)))


def _groups(identities: Tensor, people: int, seed: int) -> list[Tensor]:
    """Who is in which group, at least one; as many people again are in none of them."""
    found, counts = torch.unique(identities, return_counts=True)
    several = found[counts > 1]
    if not 2 <= people <= len(several) // 2:
        raise ValueError(
            f"people={people} must lie between 2 and {len(several) // 2}, half of the public people who have "
            "two pictures: the others teach"
        )
    lot = several[torch.randperm(len(several), generator=seeded(seed))]
    return list(lot.split(people))[: min(GROUPS, len(several) // people)]


def _measured(
    pictures: Answered,
    groups: Sequence[Tensor],
    bits: Sequence[int],
    ranks: Sequence[int],
    queries: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The lines of kept.csv, that of all answers first."""
    hits: dict[str, dict[str, list[Tensor]]] = {}
    aucs: dict[str, list[float]] = {}
    whose: list[Tensor] = []
    for group in tqdm(groups, desc="groups of people", unit="group"):
        inside = torch.isin(pictures.identities, group)
        sought, others = pictures.of(inside), pictures.of(~inside)
        turns = list(_turns(sought.identities))
        whose += [sought.identities[turn] for turn in turns]
        model = SamePerson.learn_white(others.answers, others.identities)
        asked = others.answers[torch.randperm(len(others.answers), generator=seeded(seed))[:queries]]
        for name, keep in _ways(others, bits, ranks).items():
            aucs.setdefault(name, []).append(mean_auc(keep(sought.answers), sought.attributes).value)
            for attacker, found in _attacked(keep, sought, turns, model, asked).items():
                hits.setdefault(name, {}).setdefault(attacker, []).extend(found)
    told = {f"bits={number}": number for number in bits}
    return [
        _line(name, told.get(name), aucs, {by: torch.cat(found) for by, found in hits[name].items()}, whose)
        | {"n_identities": len(groups[0])}
        for name in hits
    ]


def _ways(others: Answered, bits: Sequence[int], ranks: Sequence[int]) -> Mapping[str, nn.Module]:
    """What may be kept of answers, by its name, learnt on others."""
    ways: dict[str, nn.Module] = {"all": nn.Identity()}
    if ranks:
        reduced = ReducedRank(others.answers.shape[1]).requires_grad_(False)
        reduced.learn(others.answers, others.attributes)
        ways |= {f"rank={rank}": _with(reduced, rank=rank) for rank in ranks}
    if bits:
        codebook = Codebook(others.answers.shape[1], max(bits)).requires_grad_(False)
        codebook.learn(others.answers)
        ways |= {f"bits={number}": _with(codebook, bits=number) for number in bits}
    return ways


def _with(learnt: nn.Module, **setting: int) -> nn.Module:
    """The same of another rank or number of bits, of which each is learnt on the way to the largest."""
    found = copy(learnt)
    for name, value in setting.items():
        setattr(found, name, value)
    return found


def _turns(identities: Tensor) -> Iterator[Tensor]:
    """Positions of one picture of each person who has so many, turn by turn; the others are known then."""
    _, person, counts = torch.unique(identities, return_inverse=True, return_counts=True)
    order = torch.argsort(person, stable=True)
    first = counts.cumsum(0) - counts
    for turn in range(min(TURNS, int(counts.max()))):
        yield order[(first + turn)[counts > turn]]


def _attacked(
    keep: nn.Module, sought: Answered, turns: Sequence[Tensor], model: SamePerson, asked: Tensor
) -> dict[str, list[Tensor]]:
    """Whether each picture's person is named, turn by turn, by each of `ATTACKERS`, who know the `model` of
    what stays with a person, and what was kept of the answers (N, A) `asked`."""
    channel = Channel.learn(model.coordinates(asked), model.coordinates(keep(asked)))
    _, person = torch.unique(sought.identities, return_inverse=True)
    sent = keep(sought.answers)
    found: dict[str, list[Tensor]] = {name: [] for name in ATTACKERS}
    for turn in turns:
        known = torch.ones(len(person), dtype=torch.bool).index_fill_(0, turn, False)
        probes, photographs, names = sent[turn], sought.answers[known], person[known]
        by_queries = matched(
            model, channel, model.coordinates(probes), model.coordinates(photographs), names, queries=1
        )
        scores = (
            model.scores(probes, photographs, names),
            by_queries,
            model.scores(probes, sent[known], names),
        )
        for name, score in zip(ATTACKERS, scores, strict=True):
            found[name].append(identified(score, person[turn]))
    return found


def _line(
    name: str,
    bits: int | None,
    aucs: Mapping[str, Sequence[float]],
    hits: Mapping[str, Tensor],
    whose: Sequence[Tensor],
) -> dict[str, Any]:
    auc, before = (sum(aucs[way]) / len(aucs[way]) for way in (name, "all"))
    most = max(ATTACKERS, key=lambda by: hits[by].double().mean().item())
    identities = torch.cat(list(whose))
    # Turn by turn: in each a word names one person, of whom there is one picture.
    bound = sum(proved(bits, turn)[PROVED.name] * len(turn) for turn in whose) / len(identities)
    return {
        "keeps": name,
        "auc": auc,
        "auc_lost": before - auc,
        **{by: hits[by].double().mean().item() for by in ATTACKERS},
        **interval_columns("named", clustered_share(hits[most], identities)),
        PROVED.name: bound,
        "n_images": len(identities),
    }


def _readable(table: pd.DataFrame) -> str:
    shown = pd.DataFrame(
        {
            "keeps": table["keeps"],
            "AUC lost": table["auc_lost"].map(decimal),
            "named": intervals(table, "named", percent),
            PROVED.title: table[PROVED.name].map(percentage),
        }
    )
    return shown.to_string(index=False)


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
