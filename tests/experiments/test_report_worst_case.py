"""The worst case and false security, from results made up by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from experiments.report.document import Table
from experiments.report.results import trial
from experiments.report.sections.worst_case import blocks
from experiments.report.statistics.paired_tests import Outcomes
from experiments.report.statistics.worst_case import adaptive_gains, compare, summarise

N = 40


def row(attack: str, hits: int, **other: Any) -> dict[str, Any]:
    """A result in which the first `hits` of 40 images are identified."""
    labels = {
        "defence": "crafter",
        "strength": "beta=1",
        "attack": attack,
        "adaptive": "none",
        "countermeasure": "none",
        "epoch": None,
        "oracle": "classifier",
        **other,
    }
    share = {"eval_acc": hits / N, "eval_acc_lo": hits / N - 0.05, "eval_acc_hi": hits / N + 0.05}
    return {
        "auc": 0.9,
        "auc_lo": 0.88,
        "auc_hi": 0.92,
        "n_identities": 100,
        **share,
        **labels,
        "trial": trial(labels),
        "hits": hits,
    }


def outcomes(rows: list[dict[str, Any]]) -> Outcomes:
    """Image by image; every person has two."""
    lines = [
        row | {"row": image, "identity": image // 2, "correct": int(image < row["hits"])}
        for row in rows
        for image in range(N)
    ]
    return Outcomes(pd.DataFrame(lines))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table = pd.DataFrame(rows)
    (line,) = summarise(table, adaptive_gains(table, outcomes(rows))).to_dict("records")
    return line


def test_the_worst_case_is_the_attack_and_the_judge_that_find_most() -> None:
    line = summary([row("white_box", 4), row("black_box", 12), row("black_box", 6, oracle="embedding")])
    assert (line["worst_attack"], line["worst_oracle"]) == ("black_box", "classifier")
    assert line["worst_eval_acc"] == 0.3
    assert line["worst_eval_acc_hi"] == pytest.approx(0.35)


@pytest.mark.strict
def test_a_point_that_escaped_the_worst_attack_of_others_says_so() -> None:
    """Its worst case is over fewer attacks: in a figure it would look the safer for it."""
    rows = [
        row("white_box", 4),
        row("progressive", 20),
        row("white_box", 10, strength="beta=2"),
        row("white_box", 8, strength="beta=3"),
        row("progressive", 5, strength="beta=3"),
    ]
    table = summarise(pd.DataFrame(rows), adaptive_gains(pd.DataFrame(rows), outcomes(rows)))
    assert table["worst_attack"].tolist() == ["progressive", "white_box", "white_box"]
    assert table["not_faced"].tolist() == ["", "progressive", ""]


@pytest.mark.strict
def test_nobody_has_to_average_answers_that_are_all_alike() -> None:
    """Such a defence would be left out of every verdict, for want of an attack that finds nothing more."""
    rows = [
        row("white_box", 4),
        row("a3_white_box", 20, adaptive="A3"),
        row("white_box", 10, defence="decoy", strength=""),
    ]
    table = pd.DataFrame(rows)
    for repeating, missing in (([], "a3_white_box"), (["decoy"], "")):
        found = summarise(table, adaptive_gains(table, outcomes(rows)), (), repeating)
        assert found.set_index("defence").loc["decoy", "not_faced"] == missing


def test_without_an_adaptive_attack_nothing_is_said_of_false_security() -> None:
    assert summary([row("white_box", 4)])["false_security"] is None


@pytest.mark.parametrize(("hits", "expected"), [(5, False), (24, True)])
def test_false_security_is_tested_on_the_same_images(hits: int, expected: bool) -> None:
    """4 of 40 against 5 may be chance; against 24, ten more people are found and none is lost."""
    rows = [row("black_box", 4), row("a1_black_box", hits, adaptive="A1", epoch=5)]
    line = summary(rows)
    assert line["false_security"] is expected
    assert (line["worst_attack"], line["worst_epoch"]) == ("a1_black_box", 5)


@pytest.mark.strict
def test_intervals_that_overlap_can_still_be_told_apart() -> None:
    """10 against 24 of 40: seven people are found in addition, and none is lost."""
    rows = [row("black_box", 10), row("a1_black_box", 24, adaptive="A1", epoch=5)]
    rows[0] |= {"eval_acc_hi": 0.6}
    assert summary(rows)["false_security"] is True


def test_epoch_0_is_the_basic_attack() -> None:
    """It is where training on protected features starts, so it is no gain of adapting."""
    rows = [row("white_box", 4), row("a1_black_box", 30, adaptive="A1", epoch=0)]
    assert summary(rows)["false_security"] is None
    rows.append(row("a1_black_box", 31, adaptive="A1", epoch=5))
    line = summary(rows)
    assert line["false_security"] is False
    assert line["worst_epoch"] == 5


def test_the_best_epoch_counts() -> None:
    rows = [
        row("a1_black_box", hits, adaptive="A1", epoch=epoch) for epoch, hits in ((0, 4), (5, 20), (9, 8))
    ]
    assert summary(rows)["worst_epoch"] == 5


@pytest.mark.strict
def test_a_countermeasure_belongs_to_the_defence() -> None:
    """What averaging finds among shuffled features says nothing of a defence that does not shuffle."""
    rows = [row("black_box", 4), row("a3_average", 30, adaptive="A3", countermeasure="shuffle")]
    line = summary(rows)
    assert line["worst_attack"] == "black_box"
    assert line["false_security"] is None


def test_many_adaptive_attacks_are_corrected_for_their_number() -> None:
    """Six people more and none less: p = 2/2^6 = 0.031; among two such attacks Holm makes it 0.0625."""
    alone = [row("black_box", 4), row("a1_black_box", 16, adaptive="A1", epoch=5)]
    assert summary(alone)["false_security"] is True
    both = [*alone, row("a2_generator2", 16, adaptive="A2")]
    gains = adaptive_gains(pd.DataFrame(both), outcomes(both))
    assert gains["p"].tolist() == pytest.approx([2 / 2**6] * 2)
    assert gains["p_holm"].tolist() == pytest.approx([4 / 2**6] * 2)
    assert summary(both)["false_security"] is False


def test_a_defence_that_is_left_alone_has_a_utility_only() -> None:
    alone = row("none", 0, oracle="none", defence="public_only", eval_acc=None)
    rows = [row("white_box", 4), alone]
    table = summarise(pd.DataFrame(rows), adaptive_gains(pd.DataFrame(rows), outcomes(rows[:1])))
    line = table.set_index("defence").loc["public_only"]
    assert line["auc"] == 0.9
    assert line[["worst_attack", "worst_eval_acc", "false_security"]].isna().all()


def test_each_attack_against_none_on_the_same_images() -> None:
    rows = [row("white_box", 20, defence="none", strength="")]
    rows += [row("white_box", 20, strength="beta=9"), row("white_box", 2), row("hybrid", 2)]
    table = compare(pd.DataFrame(rows), outcomes(rows)).set_index("strength")
    assert len(table) == 2, "hybrid was not run where nothing is defended"
    assert table.loc["beta=9", "verdict"] == "no difference shown"
    assert table.loc["beta=1", "verdict"] == "lower"
    assert table.loc["beta=1", "change"] == pytest.approx(-18 / 40)
    assert table.loc["beta=1", "left"] == pytest.approx(0.1)
    assert table.loc["beta=1", "p_holm"] == pytest.approx(2 * 2 / 2**9), "nine people, two lines"


def test_nothing_to_compare_is_an_empty_table() -> None:
    rows = [row("white_box", 20, defence="none", strength="")]
    assert compare(pd.DataFrame(rows), outcomes(rows)).empty


@pytest.mark.strict
def test_of_attacks_that_find_as_many_the_same_one_is_named_every_time() -> None:
    """A set has another order in every process, and the paired test would be of another attack each time."""
    rows = [
        row(attack, 8, strength=strength) for strength in ("beta=1", "beta=2") for attack in ("b", "c", "a")
    ]
    first, second = (pd.Series({"defence": "crafter", "strength": s}) for s in ("beta=1", "beta=2"))
    *pair, _ = outcomes(rows).strongest(first, second)
    assert [key.trial for key in pair] == ["b", "b"], (
        "the first in the order of the results, as in the summary"
    )


@pytest.mark.strict
def test_leaked_pictures_and_what_is_put_together_adapt_to_no_defence() -> None:
    """The answer said that attackers who adapt find more, of a study in which nobody adapted."""
    where = [{}, {"defence": "none", "strength": ""}]
    rows = [row("white_box", 20, **one) for one in where]
    rows += [row("exposure_images", 39, adaptive="exposure", **one) for one in where]
    rows += [row("fusion", 40, adaptive="A1", **one) for one in where]
    best = pd.DataFrame(rows)
    table = adaptive_gains(best, outcomes(rows))
    assert set(table["attack"]) == {"exposure_images"}, "what leaked has a section of its own"
    assert summarise(best, table)["false_security"].isna().all()
    rows += [row("a1", 36, adaptive="A1", **one) for one in where]
    best = pd.DataFrame(rows)
    said = summarise(best, adaptive_gains(best, outcomes(rows))).set_index("defence")["false_security"]
    assert said["crafter"] is True
    assert said["none"] is None, "there is no defence to adapt to"


@pytest.mark.strict
def test_leaked_pictures_are_no_worst_case_of_attackers_who_have_none() -> None:
    """The headline was that of an attacker whom the threat model excludes: 39 of 40 in place of 20, also at
    the first epoch of a generator that was trained with the leaked pictures."""
    rows = [row("white_box", 20), row("exposure_images", 30, adaptive="exposure")]
    rows.append(row("exposure_epochs", 39, adaptive="exposure", epoch=0))
    line = summary(rows)
    assert (line["worst_attack"], line["worst_eval_acc"]) == ("white_box", 0.5)
    assert (line["leaked_attack"], line["leaked_epoch"]) == ("exposure_epochs", 0)
    assert line["leaked_eval_acc_hi"] == pytest.approx(39 / 40 + 0.05)
    assert line["not_faced"] == ""
    gains = adaptive_gains(pd.DataFrame(rows), outcomes(rows))
    assert gains["basic_attack"].tolist() == ["white_box"] * 2, "what leaked is no basic attack"
    alone = summary(rows[1:])
    assert (alone["worst_attack"], alone["leaked_attack"]) == (None, "exposure_epochs")
    assert summary(rows[:1])["leaked_attack"] is None


@pytest.mark.strict
def test_leaked_pictures_decide_no_verdict_between_two_points() -> None:
    """By the attacks of the threat model the first leaks less; with leaked pictures all of it is found."""
    rows = [row("white_box", 4), row("exposure_images", 40, adaptive="exposure")]
    rows += [
        row("white_box", 30, strength="beta=2"),
        row("exposure_images", 5, adaptive="exposure", strength="beta=2"),
    ]
    first, second = (pd.Series({"defence": "crafter", "strength": s}) for s in ("beta=1", "beta=2"))
    one, other, tellable = outcomes(rows).strongest(first, second)
    assert (one.trial, other.trial, tellable) == ("white_box", "white_box", "lower")


def gains(undefended: int, protected: int) -> tuple[str, Any]:
    """The verdict on an A1 attack that finds so many of 40 undefended and protected, and the summary's."""
    rows = [
        row("white_box", 30, defence="none", strength=""),
        row("a1", undefended, adaptive="A1", defence="none", strength=""),
        row("white_box", 6),
        row("a1", protected, adaptive="A1"),
    ]
    best = pd.DataFrame(rows)
    table = adaptive_gains(best, outcomes(rows))
    verdict = table[table["defence"] == "crafter"]["verdict"].iloc[0]
    return verdict, summarise(best, table).set_index("defence").loc["crafter", "false_security"]


@pytest.mark.strict
def test_that_adapting_gains_nothing_is_shown_only_by_an_attack_that_works() -> None:
    """One that finds 2 of 40 where nothing is defended shows nothing where something is."""
    assert gains(20, 6) == ("no difference shown", False)
    assert gains(2, 6) == ("not shown", "not shown")
    assert gains(2, 30) == ("higher", True)


@pytest.mark.strict
@pytest.mark.parametrize(
    ("basic", "verdict"), [(20, "no difference shown"), (2, "not shown"), (None, "not shown")]
)
def test_what_was_never_run_undefended_is_as_strong_as_what_it_adapts(
    basic: int | None, verdict: str
) -> None:
    """What averages has nothing to average there. Taken at its word, one that works nowhere would show that
    averaging gains nothing."""
    rows = [row("white_box", 30, defence="none", strength=""), row("white_box", 6)]
    rows += [row("a3_hybrid", 6, adaptive="A3")]
    if basic is not None:
        rows += [row("hybrid", basic, defence="none", strength="")]
    table = adaptive_gains(pd.DataFrame(rows), outcomes(rows))
    assert table[table["defence"] == "crafter"]["verdict"].tolist() == [verdict]


def test_an_attack_that_finds_little_undefended_compares_nothing() -> None:
    for hits, verdict in ((2, "not shown"), (12, "no difference shown")):
        rows = [row("white_box", hits, defence="none", strength=""), row("white_box", hits)]
        assert compare(pd.DataFrame(rows), outcomes(rows))["verdict"].tolist() == [verdict]


def test_what_all_attacks_find_together_stands_beside_the_worst_of_them() -> None:
    """By the judge who sees most of it. A bound of many attempts that passed for one attack's find, or stood
    in the line of another point, would mislead whoever reads the short page."""
    rows = [
        row("white_box", 4),
        row("union", 20),
        row("union", 24, oracle="embedding"),
        row("fusion", 8),
        row("white_box", 10, strength="beta=2"),
        row("union", 12, strength="beta=2"),
    ]
    table, nothing = pd.DataFrame(rows), pd.DataFrame({"defence": [], "strength": [], "seconds": []})
    analysis = SimpleNamespace(
        best=table,
        summary=summarise(table, adaptive_gains(table, outcomes(rows))),
        protection=pd.DataFrame(),
        results=SimpleNamespace(acquainted=[], seconds_an_image=lambda: nothing),
    )
    shown, *texts = blocks(analysis)
    assert isinstance(shown, Table)
    lines = shown.readable.set_index("defence")
    worst = lines["identified by the worst attack"].str.split(" ").str[0]
    assert worst.tolist() == ["20.0%", "25.0%"], "an attacker can compute a fusion, and no union"
    assert lines["union of all attacks"].str.split(" ").str[0].tolist() == ["60.0%", "30.0%"]
    assert lines["fusion of all images"].str.split(" ").str[0].tolist()[0] == "20.0%"
    assert any("Nobody knows which of them is right" in text.text for text in texts)
