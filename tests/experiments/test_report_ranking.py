"""Who leaks less at equal utility, from worst cases made up by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from experiments.report.sections.equal_utility import orders, shown_better, standings
from experiments.report.sections.question import answer
from experiments.report.statistics.checks import Check
from experiments.report.statistics.floor import against_floor
from experiments.report.statistics.paired_tests import Outcomes
from experiments.report.statistics.ranking import against_none, ranking, strengths

N = 40
PASSED = [Check("classifier", "", True)]


def point(defence: str, strength: str, auc: float, hits: int, **other: Any) -> dict[str, Any]:
    """A line of the summary, whose worst attack finds the first `hits` of 40 people."""
    bounds = {"auc_lo": auc - 0.01, "auc_hi": auc + 0.01}
    share = hits / N
    worst = {"worst_attack": "white_box", "worst_oracle": "classifier", "worst_epoch": math.nan}
    leak = {"worst_eval_acc": share, "worst_eval_acc_lo": share - 0.1, "worst_eval_acc_hi": share + 0.1}
    names = {"defence": defence, "strength": strength, "auc": auc, "false_security": None, "hits": hits}
    names |= {"not_faced": "", "against_floor": "", "n_identities": N, "acquainted": False}
    return names | bounds | worst | leak | other


def tables(*points: dict[str, Any]) -> tuple[pd.DataFrame, Outcomes]:
    lines = [
        {"defence": p["defence"], "strength": p["strength"], "trial": "white_box", "oracle": "classifier"}
        | {"row": image, "identity": image, "correct": int(image < p["hits"])}
        for p in points
        for image in range(N)
    ]
    return pd.DataFrame(list(points)), Outcomes(pd.DataFrame(lines))


def found(*points: dict[str, Any]) -> str:
    summary, outcomes = tables(*points)
    card = answer(summary, against_none(summary, outcomes), outcomes, PASSED)
    return "\n".join([card.headline, *(f"{fact.question}: {fact.answer}" for fact in card.facts)])


def test_only_points_of_equal_utility_are_compared() -> None:
    """Each AUC has to be in the other's interval: overlap alone would compare 0.80 with 0.815."""
    summary, outcomes = tables(
        point("a", "s=1", 0.80, 5),
        point("b", "s=1", 0.81, 20),
        point("b", "s=2", 0.815, 20),
        point("a", "s=2", 0.80, 20),
    )
    pairs = ranking(summary, outcomes)
    assert pairs[["strength", "other_strength"]].to_numpy().tolist() == [["s=1", "s=1"], ["s=1", "s=2"]]


def test_of_two_pairs_one_is_told_apart() -> None:
    """5 against 20 of 40: fifteen people, all one way, p = 2/2^15; 19 against 20: one person, p = 1."""
    summary, outcomes = tables(
        point("a", "s=1", 0.80, 5), point("a", "s=2", 0.81, 19), point("b", "", 0.805, 20)
    )
    table = ranking(summary, outcomes)
    assert table["verdict"].tolist() == ["lower", "no difference shown"]
    assert table["p"].tolist() == pytest.approx([2 / 2**15, 1.0])
    assert table["p_holm"].tolist() == pytest.approx([4 / 2**15, 1.0])
    assert table["change"].tolist() == pytest.approx([-15 / 40, -1 / 40])


@pytest.mark.strict
def test_holm_takes_away_what_many_comparisons_gave() -> None:
    """Seven people more is p = 2/2^7 = 0.016 alone, but 0.094 as the least of six."""
    alone = ranking(*tables(point("a", "", 0.8, 5), point("b", "", 0.8, 12)))
    assert alone["verdict"].tolist() == ["lower"]
    many = ranking(
        *tables(*(point(name, "", 0.8, hits) for name, hits in zip("abcd", (5, 12, 5, 12), strict=True)))
    )
    assert set(many["verdict"]) == {"no difference shown"}
    assert many["p_holm"].min() == pytest.approx(6 * 2 / 2**7)


@pytest.mark.strict
def test_only_attacks_that_both_faced_are_compared() -> None:
    """Else the defence that more attacks were run on would leak more for that alone."""
    summary, _ = tables(point("a", "", 0.8, 5), point("b", "", 0.8, 20))
    alone = {"defence": "a", "strength": "", "oracle": "classifier", "countermeasure": "none"}
    countered = alone | {"trial": "a3_average, against shuffle", "countermeasure": "shuffle"}
    lines = [
        {"defence": name, "strength": "", "trial": "white_box", "oracle": "classifier"}
        | {"row": image, "identity": image, "correct": int(image < hits), "countermeasure": "none"}
        for name, hits in (("a", 5), ("b", 20))
        for image in range(N)
    ]
    for more in (alone | {"defence": "b", "trial": "progressive"}, countered, countered | {"defence": "b"}):
        lines += [more | {"row": image, "identity": image, "correct": 1} for image in range(N)]
    (pair,) = ranking(summary, Outcomes(pd.DataFrame(lines))).to_dict("records")
    assert (pair["worst_attack"], pair["other_worst_attack"]) == ("white_box", "white_box")
    assert (pair["change"], pair["verdict"]) == (pytest.approx(-15 / 40), "lower")


@pytest.mark.strict
@pytest.mark.parametrize(("all_it_faced", "verdict"), [(8, "lower"), (20, None), (40, None)])
def test_what_leaks_less_has_to_stand_by_all_that_it_faced(all_it_faced: int, verdict: str | None) -> None:
    """An attack that adapts to a defence, and was not run on the other, would else count for nothing: noise
    that averaging undoes would be called better than no defence. And of the other it shows nothing."""
    for other in ("none", "b"):
        points = [point("a", "", 0.8, 5), point(other, "", 0.8, 20)]
        summary, _ = tables(*points)
        lines = [
            {"defence": name, "strength": "", "trial": trial, "oracle": "classifier"}
            | {"row": image, "identity": image, "correct": int(image < hits)}
            for name, trial, hits in (
                ("a", "white_box", 5),
                ("a", "a3_progressive", all_it_faced),
                (other, "white_box", 20),
            )
            for image in range(N)
        ]
        outcomes = Outcomes(pd.DataFrame(lines))
        table = against_none(summary, outcomes) if other == "none" else ranking(summary, outcomes)
        (pair,) = table.to_dict("records")
        assert pair["worst_attack"] == "a3_progressive"
        assert pair["change"] == pytest.approx((all_it_faced - 20) / N)
        assert pair["verdict"] == (verdict or "no difference shown")


def test_an_f_that_knows_the_people_is_neither_ranked_nor_recommended() -> None:
    """Its AUC is of people it trained on: it would be the best of all for that alone."""
    points = [point("none", "", 0.82, 35), point("a", "", 0.81, 12)]
    known = point("b", "", 0.81, 5, acquainted=True)
    assert ranking(*tables(*points, known)).empty
    text = found(*points, known)
    assert text.startswith("Use a\n")
    assert "Left out, since they cannot be compared: b (12 in a hundred, AUC 0.810): trained on the" in text


def test_what_sends_nothing_is_named_where_it_is_of_as_much_use() -> None:
    """The best defence of all leaks nothing, and has no worst case."""
    points = [point("none", "", 0.82, 35), point("a", "", 0.80, 5)]
    nothing = {"worst_attack": None, "worst_eval_acc": math.nan, "false_security": None}
    useful = point("public_only", "", 0.81, 0) | nothing
    assert "Better still, without any private picture: public images alone (AUC 0.810)" in found(
        *points, useful
    )
    assert "Better still" not in found(*points, useful | {"auc": 0.79})


def test_as_good_is_also_what_was_not_shown_to_help() -> None:
    """That one is shown to help and another is not shows no difference between the two."""
    text = found(point("none", "", 0.82, 20), point("a", "", 0.80, 12), point("b", "", 0.815, 15))
    assert text.startswith("Use a\n")
    assert "b (38 in a hundred, AUC 0.815): no difference shown (b not shown to help)" in text


def test_the_answer_leaves_out_what_escaped_the_worst_attack_and_says_so() -> None:
    """It could not be believed; but who only reads the answer would think that it was found worse."""
    escaped = (
        "a s = 2 (12 in a hundred, AUC 0.810): not attacked by white-box search of all layers, the strongest"
    )
    points = [point("none", "", 0.82, 35), point("a", "s=2", 0.81, 5, not_faced="progressive")]
    text = found(*points, point("a", "s=1", 0.80, 12))
    assert text.startswith("Use a s = 1\n")
    assert f"Left out, so that they may be better: {escaped}" in text
    nobody = found(*points)
    assert nobody.startswith("No defence was shown to help\n")
    assert escaped in nobody


def test_what_escaped_and_leaks_more_all_the_same_is_not_named() -> None:
    text = found(
        point("none", "", 0.82, 35),
        point("a", "s=1", 0.80, 5),
        point("a", "s=2", 0.81, 12, not_faced="progressive"),
    )
    assert "Left out" not in text


def test_no_defence_is_no_rival() -> None:
    """That every defence is less useful than none says nothing about which to choose."""
    assert ranking(*tables(point("a", "", 0.8, 5), point("none", "", 0.8, 20))).empty


def test_what_is_shown_is_said() -> None:
    table = standings(ranking(*tables(point("a", "", 0.8, 25), point("b", "", 0.8, 5))))
    assert shown_better(table) == "Shown: b is better than a."
    assert shown_better(table.assign(better="")) == "No defence is shown to be better than another."


def test_who_is_better_than_several_is_named_once_as_people_call_them() -> None:
    """Else a reader meets 'adv_learning' in one sentence and 'Adv Learning' in the next."""
    found = [("adv_learning", "decoy", "decoy"), ("lowkey", "decoy", "decoy"), ("a", "lowkey", "lowkey")]
    table = pd.DataFrame(found, columns=["defence", "other_defence", "better"])
    assert shown_better(table) == "Shown: Decoy is better than Adv Learning, LowKey; LowKey is better than a."


def test_a_point_that_is_not_attacked_is_not_ranked() -> None:
    nothing = {"worst_attack": None, "worst_eval_acc": math.nan}
    assert ranking(*tables(point("a", "", 0.8, 5), point("b", "", 0.8, 20, **nothing))).empty


@pytest.mark.parametrize(("auc", "better"), [(0.805, "a"), (0.8, "a"), (0.799, "")])
def test_less_leak_at_less_utility_is_not_better(auc: float, better: str) -> None:
    summary, outcomes = tables(point("a", "", auc, 5), point("b", "", 0.8, 25))
    (line,) = standings(ranking(summary, outcomes)).to_dict("records")
    counts = {"pairs": 1, "less": 1, "more": 0}
    assert line == {"defence": "a", "other_defence": "b", **counts, "better": better}


def test_what_overlaps_is_not_ranked() -> None:
    (line,) = standings(ranking(*tables(point("a", "", 0.8, 5), point("b", "", 0.8, 7)))).to_dict("records")
    assert (line["less"], line["more"], line["better"]) == (0, 0, "")


def test_two_that_each_win_once_are_not_ranked() -> None:
    points = [point("a", "s=1", 0.80, 5), point("b", "s=1", 0.80, 25)]
    points += [point("a", "s=2", 0.90, 35), point("b", "s=2", 0.90, 10)]
    (line,) = standings(ranking(*tables(*points))).to_dict("records")
    assert (line["less"], line["more"], line["better"]) == (1, 1, "")


@pytest.mark.parametrize(
    ("hits", "sentence"),
    [
        ((5, 15, 30), "order privacy: the leak rises at every step of s = 0, s = 1, s = 2"),
        ((30, 15, 5), "order privacy: the leak falls at every step of s = 0, s = 1, s = 2"),
        (
            (5, 6, 30),
            "in part. Along s = 0, s = 1, s = 2 the leak rises. This is shown for 2 of 3 pairs; no",
        ),
        ((5, 30, 5), "do not order privacy: the leak rises from s = 0 to s = 1, falls from s = 1 to s = 2"),
        ((5, 6, 7), "no difference is shown between any two of s = 0, s = 1, s = 2"),
    ],
)
def test_whether_the_strengths_order_privacy(hits: tuple[int, ...], sentence: str) -> None:
    points = [point("a", f"s={number}", 0.8, hit) for number, hit in enumerate(hits)]
    (line,) = orders(strengths(*tables(*points)))
    assert sentence in line


def test_one_strength_has_no_order() -> None:
    assert orders(strengths(*tables(point("a", "", 0.8, 5)))) == []


def test_the_answer_names_what_it_cannot_tell_apart() -> None:
    """Both are shown to help, and 5 of 40 against 6 is no reason to prefer either."""
    text = found(point("none", "", 0.82, 35), point("a", "", 0.80, 5), point("b", "s=1", 0.81, 6))
    assert text.startswith("Use a\n")
    assert "this study shows: b s = 1 (15 in a hundred, AUC 0.810): no difference shown." in text


def test_of_many_equals_the_answer_names_the_most_useful() -> None:
    points = [
        point(name, "", 0.80 + hits / 1000, hits) for name, hits in zip("abcde", (5, 6, 7, 8, 9), strict=True)
    ]
    text = found(point("none", "", 0.82, 35), *points)
    assert "this study shows: e (22 in a hundred, AUC 0.809), d (20" in text
    assert "AUC 0.807) and 1 more: no difference shown." in text


def test_the_answer_prefers_what_is_affordable() -> None:
    text = found(point("none", "", 0.90, 35), point("a", "", 0.80, 2), point("b", "", 0.86, 12))
    assert text.startswith("Use b\n")
    assert "No other point that costs as little and faced the same attacks." in text


def test_the_answer_says_when_only_dear_points_help() -> None:
    text = found(point("none", "", 0.90, 35), point("a", "", 0.80, 2))
    assert text.startswith("Use a if its cost is acceptable\n")


def test_the_answer_claims_nothing_that_is_not_shown() -> None:
    text = found(point("none", "", 0.82, 20), point("a", "", 0.80, 18))
    assert text.startswith("No defence was shown to help\n")
    assert "Use" not in text


@pytest.mark.parametrize(("hits", "floor"), [(4, math.nan), (20, 0.45)])
def test_without_room_above_the_floor_nothing_is_shown(hits: int, floor: float) -> None:
    """Undefended 10% (give or take 10) where chance is 2.5%, or 50% where the answers alone name 45%."""
    known = {"floor_raw": floor, **{f"floor{bound}": floor for bound in ("", "_lo", "_hi")}}
    points = point("none", "", 0.82, hits, **known), point("a", "", 0.80, hits - 1, **known)
    assert found(*points).startswith("Not shown: undefended, the attacks find too little")
    summary, outcomes = tables(*points)
    assert against_none(summary, outcomes)["verdict"].tolist() == ["not shown"]
    assert against_floor(summary) == ["", "" if math.isnan(floor) else "not shown"]


def test_who_is_protected_to_the_floor() -> None:
    """The worst case's upper bound (the share and 10 points) has to be within 5 points of the floor."""
    lines = [
        point("none", "", 0.82, 36, floor=0.3, floor_raw=0.3),
        point("a", "", 0.80, 10, floor=0.30),
        point("b", "", 0.80, 11, floor=0.30),
        point("far", "", 0.80, 15, floor=0.30),
        point("c", "", 0.80, 4, floor=0.30, not_faced="progressive"),
        point("d", "", 0.80, 4, floor=math.nan),
    ]
    told = ["protected to the floor", "near the floor", "above the floor"]
    assert against_floor(pd.DataFrame(lines)) == ["", *told, "", ""]


@pytest.mark.parametrize(
    ("false_security", "words"),
    [
        (None, "They were not tried"),
        (False, "They were not shown to find more"),
        (True, "They find more than basic attacks do here"),
        ("not shown", "they find too little to tell, even undefended"),
    ],
)
def test_the_answer_says_how_far_the_attacks_went(false_security: Any, words: str) -> None:
    assert words in found(point("none", "", 0.82, 35), point("a", "", 0.80, 5, false_security=false_security))


def test_of_points_that_leak_equally_little_the_most_useful_is_the_answer() -> None:
    """Whichever came first would cost the cloud something for nothing."""
    none, dear, cheap = point("none", "", 0.82, 35), point("a", "", 0.79, 5), point("b", "", 0.81, 5)
    for points in ((dear, cheap), (cheap, dear)):
        assert found(none, *points).startswith("Use b")


def test_a_failed_check_is_the_answer() -> None:
    summary, outcomes = tables(point("none", "", 0.82, 35))
    failed = [Check("classifier", "", True), Check("classifier", "", False)]
    card = answer(summary, against_none(summary, outcomes), outcomes, failed)
    assert card.headline == "The comparison means nothing yet"
    assert [fact.answer for fact in card.facts] == [
        "No: 1 of 2 checks failed. A low identification rate may only show that the attack is weak."
    ]
