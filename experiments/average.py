"""Average what several queries of the same images show: the adaptive attack A3 (paper, section V-A).

    python -m experiments.average --config C.yaml

    features: [artifacts/query0/features, artifacts/query1/features]   # one store of features per query
    countermeasure: shuffle      # of the user: none, shuffle (another order every time) or record (see below)
    matching: matched            # of the attacker: plain (position by position) or matched (re-aligned first)
    defence: artifacts/crafter   # that answered: one without randomness may give the same answer again
    output: artifacts/a3         # receives features/, a store for any attack, and matching.json

The queries come from fits of one defence with `query: 0`, `query: 1`, ... The first query is in the order of
its batches, so the average at a position is a reconstruction's of that row. With `record` an image always
returns the same feature: every query shows the first one's. `experiments.measure` takes a query's own store
as `features`, since that is what the user released.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import auto_cli
from torch import Tensor
from tqdm import tqdm

from experiments.classes import draws_anew
from experiments.errors import ends_in_sentences
from facecrafter.attacks.averaging import average, match, shuffled
from facecrafter.documents import read_yaml
from facecrafter.files import checked_path, for_owner_alone, write_whole
from facecrafter.randomness import seeded
from facecrafter.store import TensorStore
from lightning_modules import parsing  # noqa: F401 - it says how jsonargparse reads
from lightning_modules.artifacts import CONFIG_FILE

VERSION = 2
"""Raised when what this command computes changes: a study then computes it again."""

Countermeasure = Literal["none", "shuffle", "record"]
Matching = Literal["plain", "matched"]
SAME = ("encoder", "shape", "dtype", "batches")
"""What the stores of all queries must have in common, and the averages then have too."""


def run(
    features: list[Path],
    output: Path,
    countermeasure: Countermeasure = "none",
    matching: Matching = "plain",
    seed: int = 0,
    defence: Path | None = None,
) -> None:
    """Write the averages of the queries' features, and how often an image's features came together.

    Args:
        features: folders of stores of features, one per query.
        output: folder that receives the store features/ and matching.json.
        countermeasure: what the user does against it.
        matching: how the attacker brings the queries into one order.
        seed: of the orders that the user shuffles into.
        defence: artifact folder of the defence that answered. Without it, the same answer twice is refused.
    """
    checked_path(output, "the output")
    queries = [TensorStore.open(path) for path in features]
    check_queries(queries, countermeasure, answers_alike(defence) if defence else False)
    meta = {
        "kind": "features",
        **{name: queries[0].meta[name] for name in SAME},
        "queries": [query.fingerprint() for query in queries],
        "countermeasure": countermeasure,
        "matching": matching,
        "seed": seed,
    }
    store = TensorStore.create(output / "features", meta)
    for number in tqdm(store.missing(), desc="averaging", unit="batch"):
        rows, shown = read_batch(queries, number)
        # Seeded by the batch, so that a run that is started again shuffles as it would have.
        rng = seeded(seed, number)
        store.write(number, row=rows, **average_batch(shown, countermeasure, matching, rng))
    write_whole(output / "matching.json", json.dumps(summary(store, len(queries)), indent=2) + "\n")


def summary(store: TensorStore, queries: int) -> dict[str, int | float]:
    """How many queries and images were averaged, and how often an image's own features came together."""
    aligned = store.load("aligned")["aligned"]
    return {"queries": queries, "images": len(aligned), "aligned": aligned.double().mean().item()}


def check_queries(queries: list[TensorStore], countermeasure: Countermeasure, alike: bool) -> None:
    """Refuse queries that cannot be averaged, or whose average would hide what averaging can do.

    Args:
        alike: whether the defence is known to answer alike.

    Raises:
        ValueError: there are fewer than two, one is of another encoder or unfinished, or two are the same
            though the defence is not known to answer alike.
    """
    if len(queries) < 2:
        raise ValueError(f"{len(queries)} query cannot be averaged; name the stores of at least two")
    first, *others = queries
    for other in others:
        if different := [name for name in SAME if other.meta[name] != first.meta[name]]:
            raise ValueError(
                f"{other.path} has another {different[0]} than {first.path}; protect the same images"
            )
    # An average of one answer with itself would pass for an attack that averaging does not help.
    fingerprints = [query.fingerprint() for query in queries]
    for number, query in enumerate(queries):
        again = fingerprints[number] in fingerprints[:number]
        if again and countermeasure != "record" and not alike:
            raise ValueError(
                f"{query.path} holds the same features as a query before it: protect with another `query`, "
                "or name the `defence`, if it is one without randomness"
            )


def answers_alike(defence: Path) -> bool:
    """Whether the artifact is of a defence without randomness: there the average of several queries is the
    one answer, and the attack on it the strongest that there is."""
    return not draws_anew(read_yaml(defence / CONFIG_FILE, "name the artifact folder of a defence")["model"])


def read_batch(queries: list[TensorStore], number: int) -> tuple[Tensor, Tensor]:
    """The rows (N,) of one batch, and its features (Q, N, C, h, w) in every query.

    Raises:
        ValueError: the queries' batches are not of the same images.
    """
    batches = [query.read(number) for query in queries]
    rows = batches[0]["row"]
    for query, batch in zip(queries, batches, strict=True):
        if not torch.equal(batch["row"], rows):
            raise ValueError(
                f"{query.file(number)} holds other images than {queries[0].file(number)}: "
                "protect the same data, with the same manifest"
            )
    return rows, torch.stack([batch["features"] for batch in batches])


def average_batch(
    queries: Tensor, countermeasure: Countermeasure, matching: Matching, rng: torch.Generator
) -> dict[str, Tensor]:
    """What the attacker makes of one batch of features (Q, N, C, h, w).

    Returns:
        The averaged features (N, C, h, w), and for each image the share of the later queries of which its
        own feature went into its average (N,).
    """
    shown, orders = COUNTERMEASURES[countermeasure](queries, rng)
    positions = match(shown) if matching == "matched" else _in_order(queries)
    together = shown[torch.arange(len(shown))[:, None], positions]
    # orders[q, p] is the image at position p of query q, positions[q, i] where the attacker looks for image i
    # there. The first query matches itself, and would hide a failure among few queries.
    own = orders.gather(1, positions)[1:] == torch.arange(queries.shape[1])
    return {"features": average(together).to(queries.dtype), "aligned": own.float().mean(dim=0)}


def _nothing(queries: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    return queries, _in_order(queries)


def _shuffle(queries: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    # The first query keeps its order: it says which position an average is of.
    later = [shuffled(query, rng) for query in queries[1:]]
    features, orders = zip((queries[0], torch.arange(queries.shape[1])), *later, strict=True)
    return torch.stack(features), torch.stack(orders)


def _record(queries: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    return queries[:1].expand_as(queries), _in_order(queries)


def _in_order(queries: Tensor) -> Tensor:
    return torch.arange(queries.shape[1]).expand(queries.shape[:2])


COUNTERMEASURES: dict[str, Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]] = {
    "none": _nothing,
    "shuffle": _shuffle,
    "record": _record,
}
"""Features (Q, N, C, h, w) of each query -> what leaves the device, and which image is where (Q, N)."""


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    auto_cli(run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
