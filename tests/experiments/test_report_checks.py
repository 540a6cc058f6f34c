"""Whether a comparison may be believed, from results made up by hand."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from experiments.report.statistics.checks import believed, check


def row(attack: str, eval_acc: float, **other: Any) -> dict[str, Any]:
    return {
        "defence": "none",
        "attack": attack,
        "adaptive": "none",
        "access": "white" if attack.startswith("white") else "black",
        "oracle": "classifier",
        "clean_acc": 0.9,
        "n_identities": 50,
        "eval_acc": eval_acc,
        "eval_acc_lo": eval_acc - 0.05,
        **other,
    }


@pytest.mark.strict
def test_a_weak_undefended_attack_makes_the_comparison_meaningless() -> None:
    """8% of 50 people is far from chance to the eye, yet its lower bound is not 5 times chance."""
    checks = check(pd.DataFrame([row("white_box", 0.08), row("black_box", 0.6)]))
    assert [item.passed for item in checks] == [True, False, True]
    assert not believed(checks)


def test_a_weak_attack_beside_a_strong_one_does_no_harm() -> None:
    rows = [row("white_box", 0.6), row("a2_stylegan", 0.06, access="white")]
    assert believed(check(pd.DataFrame(rows))) == {"classifier"}


def test_an_oracle_that_knows_few_clean_images_cannot_judge() -> None:
    """It would call protected what it could not have told from the photograph itself."""
    checks = check(pd.DataFrame([row("white_box", 0.6, clean_acc=0.4)]))
    assert [item.passed for item in checks] == [True, True, False]


def test_one_oracle_that_passes_is_enough() -> None:
    """A judge who knows nobody beside a good one cannot lower the worst case, so the answer stands."""
    rows = [row("white_box", 0.6), row("white_box", 0.6, oracle="blind", eval_acc_lo=0.01)]
    assert believed(check(pd.DataFrame(rows))) == {"classifier"}


def test_reading_features_does_not_vouch_for_an_oracle() -> None:
    """Identification without images, and a defence that is left alone, have rows that no oracle judged."""
    rows = [row("exposure_features", 0.8, oracle="itself"), row("none", float("nan"), oracle="none")]
    assert check(pd.DataFrame(rows)) == []


@pytest.mark.strict
def test_the_union_of_attacks_that_guess_vouches_for_nothing() -> None:
    """It is as many times as good as chance as there are attacks."""
    rows = [row("white_box", 0.06), row("union", 0.6, access="white")]
    assert not believed(check(pd.DataFrame(rows)))


@pytest.mark.strict
def test_an_attack_with_leaked_pictures_vouches_for_no_other() -> None:
    """It would call a study believable whose attackers of the threat model guess."""
    rows = [row("white_box", 0.06), row("exposure_images", 0.6, access="white", adaptive="exposure")]
    assert not believed(check(pd.DataFrame(rows)))


def test_a_study_without_its_undefended_point_cannot_be_believed() -> None:
    checks = check(pd.DataFrame([row("white_box", 0.6, defence="crafter")]))
    assert [item.passed for item in checks] == [False]
