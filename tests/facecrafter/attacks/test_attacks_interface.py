"""What all attacks have in common."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrafter import attacks
from facecrafter.attacks import Attack, Progress, Reconstruction

ATTACKS = [
    found
    for found in vars(attacks).values()
    if isinstance(found, type) and issubclass(found, Attack) and found is not Attack
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_says_what_its_attacker_has_and_does(attack: type[Attack]) -> None:
    """The threat model in the report is made of these sentences; what says nothing would vanish from it."""
    assert attack.access in ("white", "black")
    assert attack.describe.endswith(".")
    assert len(attack.describe) > 40
    assert sum(attack.describe == other.describe for other in ATTACKS) == 1


class Somebodys(Attack):
    """Returns what it was told to."""

    access = "black"
    describe = "Has nothing."

    def __init__(self, made: object) -> None:
        self.made = made

    def _reconstruct(
        self, features: Tensor, rows: Tensor, seed: int, progress: Progress | None
    ) -> Reconstruction:
        return self.made  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (torch.zeros(2, 3, 4, 4), "Somebodys._reconstruct returned a Tensor, not a Reconstruction"),
        (Reconstruction(torch.zeros(2, 3, 4, 4), torch.zeros(2)), "must be"),
        (Reconstruction(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 1)), "from 2 features"),
        (Reconstruction(torch.full((2, 1, 3, 4, 4), torch.nan), torch.zeros(2, 1)), "not finite"),
    ],
)
def test_what_an_attack_of_ones_own_makes_is_looked_at_where_it_is_made(made: object, said: str) -> None:
    """Not by a store or a judge, which do not know its name."""
    with pytest.raises(ValueError, match=said):
        Somebodys(made).reconstruct(torch.zeros(2, 5, 1, 1), torch.Generator())
