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

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import auto_cli
from torch import Tensor, nn
from tqdm import tqdm

from datamodules.faces import FaceDataModule
from experiments import machine
from experiments.errors import ends_in_sentences
from experiments.evaluation.answers import answered
from facecrafter.crafter.codebook import Codebook
from facecrafter.crafter.reduced_rank import ReducedRank
from facecrafter.files import checked_path, for_owner_alone, write_whole
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
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(output / "kept.csv", file.getvalue())
    print(_readable(rows))


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
    whose = []
    for group in tqdm(groups, desc="groups of people", unit="group"):
        inside = torch.isin(pictures.identities, group)
        sought, others = pictures.of(inside), pictures.of(~inside)
        turns = list(_turns(sought.identities))
        whose += [sought.identities[turn] for turn in turns]
        for name, keep in _ways(others, bits, ranks).items():
            aucs.setdefault(name, []).append(mean_auc(keep(sought.answers), sought.attributes).value)
            for attacker, found in _attacked(keep, sought, others, turns, queries, seed).items():
                hits.setdefault(name, {}).setdefault(attacker, []).extend(found)
    people = len(groups[0])
    return [
        _line(
            name, aucs, {by: torch.cat(found) for by, found in hits[name].items()}, torch.cat(whose), people
        )
        for name in hits
    ]


def _ways(others: Answered, bits: Sequence[int], ranks: Sequence[int]) -> Mapping[str, nn.Module]:
    """What may be kept of answers, by its name, learnt on others."""
    ways: dict[str, nn.Module] = {"all": nn.Identity()}
    for rank in ranks:
        ways[f"rank={rank}"] = reduced = ReducedRank(others.answers.shape[1]).requires_grad_(False)
        reduced.learn(others.answers, others.attributes)
        reduced.rank = rank
    for number in bits:
        ways[f"bits={number}"] = codebook = Codebook(others.answers.shape[1], number).requires_grad_(False)
        codebook.learn(others.answers)
    return ways


def _turns(identities: Tensor) -> Iterator[Tensor]:
    """Positions of one picture of each person who has so many, turn by turn; the others are known then."""
    _, person, counts = torch.unique(identities, return_inverse=True, return_counts=True)
    order = torch.argsort(person, stable=True)
    first = counts.cumsum(0) - counts
    for turn in range(min(TURNS, int(counts.max()))):
        yield order[(first + turn)[counts > turn]]


def _attacked(
    keep: nn.Module, sought: Answered, others: Answered, turns: Sequence[Tensor], queries: int, seed: int
) -> dict[str, list[Tensor]]:
    """Whether each picture's person is named, turn by turn, by each of `ATTACKERS`."""
    model = SamePerson.learn_white(others.answers, others.identities)
    asked = torch.randperm(len(others.answers), generator=seeded(seed))[:queries]
    raw = others.answers[asked]
    channel = Channel.learn(model.coordinates(raw), model.coordinates(keep(raw)))
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
    name: str, aucs: Mapping[str, Sequence[float]], hits: Mapping[str, Tensor], whose: Tensor, people: int
) -> dict[str, Any]:
    auc, before = (sum(aucs[way]) / len(aucs[way]) for way in (name, "all"))
    most = max(ATTACKERS, key=lambda by: hits[by].double().mean().item())
    share = clustered_share(hits[most], whose)
    bits = int(name.removeprefix("bits=")) if name.startswith("bits=") else None
    return {
        "keeps": name,
        "auc": auc,
        "auc_lost": before - auc,
        **{by: hits[by].double().mean().item() for by in ATTACKERS},
        "named": share.value,
        "named_lo": share.lo,
        "named_hi": share.hi,
        "proved": None if bits is None else min(1.0, 2**bits / people),
        "n_images": len(whose),
        "n_identities": people,
    }


def _readable(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"{'keeps':10} {'AUC lost':>8}  {'named':24} {'proved':>7}"]
    for row in rows:
        share, low, high = (100 * row[key] for key in ("named", "named_lo", "named_hi"))
        proved = "" if row["proved"] is None else f"{100 * row['proved']:.1f}%"
        told = f"{share:.1f}% ({low:.1f}% to {high:.1f}%)"
        lines.append(f"{row['keeps']:10} {row['auc_lost']:8.3f}  {told:24} {proved:>7}")
    return "\n".join(lines)


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
