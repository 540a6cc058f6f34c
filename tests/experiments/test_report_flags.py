"""Flags: each is raised by the case it is about, and not by its neighbour."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from test_report_worst_case import outcomes, row

from experiments.report.results import Results
from experiments.report.sections.flags import _averaged, doubts
from experiments.report.statistics.checks import Check


def flags(
    rows: list[dict[str, Any]],
    class_path: str = "lightning_modules.Disco",
    folder: Path | None = None,
    checks: tuple[Check, ...] = (),
    **init_args: Any,
) -> list[str]:
    model = {"class_path": class_path, "init_args": init_args}
    config = {"defences": {"crafter": {"model": model}}, "identifications": {"linkage": {}}}
    stages = [{"name": "crafter.beta=1", "folder": "."}] if folder else []
    best = pd.DataFrame(rows)
    results = Results(folder or Path(), config, stages, best, pd.DataFrame(), [])
    return list(doubts(SimpleNamespace(best=best, outcomes=outcomes(rows), results=results, checks=checks)))


def attack(name: str, hits: int, **other: Any) -> dict[str, Any]:
    return row(name, hits, **{"access": "white" if name.startswith("white") else "black", **other})


def test_black_box_over_white_box_is_flagged_where_the_defence_makes_it_so() -> None:
    protected = [attack("white_box", 2), attack("black_box", 30)]
    none = {"defence": "none", "strength": ""}
    strong = [attack("white_box", 36, **none), attack("black_box", 30, **none)]
    (flag,) = flags(protected + strong)
    assert flag.startswith("Gradients masked?")
    assert "black-box decoder (75.0%) beats every white-box attack (white-box search, 5.0%)" in flag
    weak = [attack("white_box", 2, **none), attack("black_box", 30, **none)]
    (flag,) = flags(protected + weak)
    assert flag.startswith("Even undefended")


@pytest.mark.parametrize("name", ["linkage", "fusion", "union"])
def test_what_makes_no_image_of_its_own_masks_no_gradient(name: str) -> None:
    assert not flags([attack("white_box", 2), attack(name, 30)])


def test_a_judge_who_failed_a_check_cannot_tell() -> None:
    """Else his low figures would stand there as if a defence had made them."""
    checks = (
        Check("classifier", "the strongest attack identifies enough of the undefended images", True),
        Check(
            "blind", "blind identifies 4.0% of the clean images; no attack may be shown to exceed that", False
        ),
    )
    (flag,) = flags([attack("white_box", 2)], checks=checks)
    assert flag.startswith(
        "The figures of blind cannot tell. Failed check: blind identifies 4.0% of the clean"
    )


def test_a_defence_that_draws_at_random_needs_several_queries() -> None:
    (flag,) = flags([attack("white_box", 2)], "lightning_modules.GaussianNoise")
    assert "was judged on one query" in flag
    averaged = attack("white_box_a3", 3, adaptive="A3")
    assert not flags([attack("white_box", 2), averaged], "lightning_modules.GaussianNoise")


def test_several_queries_that_find_less_than_one_were_averaged_wrongly() -> None:
    """Each answer of a release in strangers' features is kept, and in the mean of the features none:
    averaging would look as if it gained nothing. The strongest of what averages counts, of the same kind."""
    answers = {"class_path": "Matcher", "init_args": {"layers": ["logits"]}}
    pairs = {"init_args": {"features": "${public}/features"}}
    config = {
        "fits": {"raw": {"model": answers}, "learnt": {"model": answers, "data": pairs}},
        "attacks": {"white_box": {"class_path": "WhiteBox"}, "a3_average": {"class_path": "WhiteBox"}},
        "identifications": {
            "matching": {"identifier": "${raw}"},
            "a1_matching": {"identifier": "${learnt}"},
            "a3_matching": {"identifier": "${learnt}"},
            "a3_matching_each": {"identifier": "${learnt}"},
        },
    }

    def found(*rows: dict[str, Any]) -> list[str]:
        every = pd.DataFrame(rows)
        return list(_averaged(every, outcomes(list(rows)), config))

    raw, learnt = attack("matching", 38), attack("a1_matching", 32, adaptive="A1")
    averaged = attack("a3_matching", 4, adaptive="A3")
    (flag,) = found(raw, learnt, averaged)
    assert "(10.0%) finds less" in flag
    assert "(80.0%)" in flag, "of the one that has learnt as much"
    assert not found(raw, averaged)
    assert not found(raw, learnt, averaged, attack("a3_matching_each", 33, adaptive="A3"))
    (flag,) = found(attack("white_box", 30), attack("a3_average", 4, adaptive="A3"))
    assert "search on the average of several queries (A3)" in flag


def test_a_decoy_under_a_secret_answers_the_same_every_time() -> None:
    """There is nothing to average, so nothing is missing where nobody did."""
    decoy = "lightning_modules.Decoy"
    assert flags([attack("white_box", 2)], decoy)
    assert not flags([attack("white_box", 2)], decoy, secret="known to the device")


@pytest.mark.parametrize(
    ("hits", "flag"),
    [
        ({0: 30, 5: 30, 20: 4}, "is weaker than its own epoch 0"),
        ({0: 2, 5: 4, 20: 30}, "has not converged"),
        ({0: 2, 5: 30, 20: 30}, ""),
        ({0: 2, 20: 30}, ""),  # to find more than before is what adapting is for
    ],
)
def test_what_training_made_worse_or_would_still_make_better(hits: dict[int, int], flag: str) -> None:
    rows = [attack("a1", n, epoch=epoch) for epoch, n in hits.items()]
    found = flags(rows)
    assert [flag in one for one in found] == ([True] if flag else [])


def test_what_adapting_gains_where_there_is_nothing_to_adapt_to_is_training() -> None:
    """A decoder that was trained for too short a time goes on learning from answers: what A1 seems to gain
    under a defence would pass for false security."""
    hits = {0: 2, 20: 30}
    rows = [attack("a1", n, epoch=epoch, defence="none", strength="") for epoch, n in hits.items()]
    (flag,) = flags(rows)
    assert "though there is nothing to adapt to" in flag


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        (["nan", "nan"], "ended after 2 epochs and had not settled (too few epochs to tell)"),
        (["nan", "0.01", "0.23"], "had not settled (it was still changing by 23.0%)"),
        (["nan", "0.23", "0.01"], ""),
    ],
)
def test_a_game_that_was_over_before_it_had_settled(changes: list[str], flag: str, tmp_path: Path) -> None:
    """A rival that was played short of its strength loses a comparison that it might win."""
    (tmp_path / "logs").mkdir()
    lines = [f"{epoch},0.5,{change}" for epoch, change in enumerate(changes)]
    (tmp_path / "logs" / "settling.csv").write_text("\n".join(["epoch,val/task,change", *lines]))
    found = flags([attack("white_box", 2)], folder=tmp_path)
    assert [flag in one for one in found] == ([True] if flag else [])


@pytest.mark.parametrize(
    ("chosen", "identified", "flagged"),
    [
        ("late", {"basic": 0.1, "early": 0.2, "late": 0.7}, True),
        ("early", {"basic": 0.1, "early": 0.7, "late": 0.2}, False),  # later ones were tried
        ("late", {"basic": 0.1, "early": 0.68, "late": 0.7}, False),  # as good before
        ("late", {"basic": 0.68, "early": 0.1, "late": 0.7}, False),  # and before it adapted
        ("late", {"basic": 0.1, "early": 0.1, "late": 0.2}, False),  # 6 and 12 of 60: no difference shown
        (
            "other",
            {"basic": 0.1, "early": 0.2, "late": 0.6, "other": 0.7},
            False,
        ),  # what was not tried earlier
    ],
)
def test_an_epoch_chosen_on_public_people_was_the_last_of_those_tried(
    chosen: str, identified: dict[str, float], flagged: bool, tmp_path: Path
) -> None:
    """The standard suite chooses epochs by a search; unconverged attacks would go unnoticed there."""
    found = {name: {"identified": share} for name, share in identified.items()}
    choice = {"chosen": chosen, "images": 60, "candidates": found}
    (tmp_path / "choice.json").write_text(json.dumps(choice))
    rows = [attack("a1", 2)]
    tried: dict[str, Any] = {"basic": {"epoch": 0}, "early": {"epoch": 10}, "late": {"epoch": 40}}
    tried["other"] = {"epoch": 40, "init_args": {"tv": 1.0}}
    config = {"defences": {}, "attacks": {"a1": {"search": {"candidates": tried}}}}
    stages = [{"name": "crafter.beta=1.a1.search", "folder": "."}]
    results = Results(tmp_path, config, stages, pd.DataFrame(rows), pd.DataFrame(), [])
    analysis = SimpleNamespace(best=pd.DataFrame(rows), outcomes=outcomes(rows), results=results, checks=[])
    flag = (
        "Under Crafter β = 1, a1 has not converged: it identifies 70.0% of public people's pictures with "
        "epoch = 40, the most that was tried, and 20.0% with less."
    )
    assert list(doubts(analysis)) == ([flag] if flagged else [])


@pytest.mark.parametrize(
    ("candidates", "flagged"),
    [
        ({"short": {"iterations": 15}, "long": {"iterations": 40}}, True),
        ({"short": {"iterations": 15}, "long": {}}, True),  # 40 by its class
        ({"short": {"iterations": 15}, "long": {"iterations": 40, "tv": 1.0}}, False),  # not alike
        ({"short": {"iterations": 40}, "long": {"iterations": 15}}, False),  # less was chosen
    ],
)
def test_iterations_chosen_on_public_people_were_the_most_of_those_tried(
    candidates: dict[str, dict[str, float]], flagged: bool, tmp_path: Path
) -> None:
    """A search that still finds more with more iterations would stand as the strongest there is."""
    found = {"short": {"identified": 0.2}, "long": {"identified": 0.7}}
    choice = {"chosen": "long", "images": 60, "candidates": found}
    (tmp_path / "choice.json").write_text(json.dumps(choice))
    rows = [attack("search", 2)]
    tried = {
        name: {"init_args": init_args, "networks": {}, "epoch": None}
        for name, init_args in candidates.items()
    }
    searched = {
        "class_path": "facecrafter.attacks.WhiteBox",
        "networks": {"prior": "${prior}"},
        "search": {"candidates": tried},
    }
    config = {"defences": {}, "attacks": {"search": searched}}
    stages = [{"name": "crafter.beta=1.search.search", "folder": "."}]
    results = Results(tmp_path, config, stages, pd.DataFrame(rows), pd.DataFrame(), [])
    analysis = SimpleNamespace(best=pd.DataFrame(rows), outcomes=outcomes(rows), results=results, checks=[])
    assert ["iterations = 40" in text for text in doubts(analysis)] == ([True] if flagged else [])


@pytest.mark.parametrize(
    ("identified", "people", "flagged"), [(0.3, 4, True), (0.6, 4, False), (0.3, 40, False)]
)
def test_settings_that_a_judge_chose_by_chance_are_flagged(
    identified: float, people: int, flagged: bool, tmp_path: Path
) -> None:
    """Else the budget of a search would stand beside a setting that a coin chose."""
    choice = {
        "chosen": "a",
        "images": 60,
        "people": people,
        "candidates": {"a": {"identified": identified}, "b": {"identified": 0.2}},
    }
    (tmp_path / "choice.json").write_text(json.dumps(choice))
    rows = [attack("hybrid", 2, defence="none", strength="")]
    searched = {"search": {"candidates": {"a": {}, "b": {}}}}
    config = {"defences": {}, "attacks": {"hybrid": searched}}
    stages = [{"name": "none.hybrid.search", "folder": "."}]
    results = Results(tmp_path, config, stages, pd.DataFrame(rows), pd.DataFrame(), [])
    analysis = SimpleNamespace(best=pd.DataFrame(rows), outcomes=outcomes(rows), results=results, checks=[])
    found = [text for text in doubts(analysis) if "no more than chance" in text]
    assert [f"30.0% of 60 pictures of {people} people" in text for text in found] == (
        [True] if flagged else []
    )
