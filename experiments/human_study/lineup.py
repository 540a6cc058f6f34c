"""Line-ups whose fillers fit the description: else whoever knows the hair colour finds the right photograph.

A mock witness has never seen the face, and has its attributes alone. Who is likely to be meant follows from
how attributes stay with a person, as it is learned on public people (`facecrafter.metrics.SamePerson`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from datamodules.faces import FaceDataModule
from facecrafter.metrics import SamePerson


def mock_witness(data: FaceDataModule) -> Tensor:
    """(N, P): log-density of the attributes of each protected picture, if it is of each private person.

    Raises:
        ValueError: the data has no attributes, or no public person has two pictures.
    """
    public, known, shown = data.faces("public"), data.faces("private_train"), data.protected_faces()
    if not shown.attributes.shape[1]:
        raise ValueError("the data has no attributes")
    comparison = SamePerson.learn_white(public.attributes, public.identities)
    return comparison.scores(shown.attributes, known.attributes, known.identities)


def effective_sizes(likeness: Tensor, people: Tensor) -> Tensor:
    """How many photographs of each line-up a mock witness has to choose between (Tredoux 1998), 1 to F.

    Args:
        likeness: (Q, P), log-densities of what is described.
        people: (Q, F) int64, whose the photographs are.

    Returns:
        (Q,): 1/Σp² of their probabilities. F where the description tells none of them apart.
    """
    return 1 / likeness.gather(1, people).softmax(dim=1).square().sum(dim=1)


def named_by_description(likeness: Tensor, people: Tensor, right: Tensor) -> float:
    """The share of line-ups with the right person in which the description fits that person best.

    Args:
        likeness: (Q, P), log-densities of what is described.
        people: (Q, F) int64, whose the photographs are.
        right: (Q,) int64, place of the right one, F and more where there is none.
    """
    has_it = right < people.shape[1]
    first = likeness.gather(1, people).argmax(dim=1)
    return (first == right)[has_it].double().mean().item()


def fillers(likeness: Tensor, others: Sequence[int], count: int, rng: torch.Generator) -> list[int]:
    """Those `count` of the `others` whom the description (P,) fits best, in an order drawn by lot, as are
    those whom it fits alike."""
    drawn = torch.tensor(others)[torch.randperm(len(others), generator=rng)]
    nearest = drawn[likeness[drawn].sort(descending=True, stable=True).indices[:count]]
    return nearest[torch.randperm(len(nearest), generator=rng)].tolist()
