"""What all attacks have in common."""

from __future__ import annotations

import pytest

from facecrafter import attacks
from facecrafter.attacks import Attack

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
