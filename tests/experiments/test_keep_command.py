"""What fewer answers cost and name, on public people: from cases that are known, and by the command."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from tiny_study import DATA, TRAINER, model, write

from experiments import fit, keep
from experiments.keep import Answered, _groups, _measured

pytestmark = pytest.mark.filterwarnings("ignore:LightningCLI's args parameter", "ignore:Checkpoint directory")
PEOPLE, EACH, ANSWERS = 60, 5, 6
IDENTITIES = torch.arange(PEOPLE).repeat_interleave(EACH) + 7
GROUPS = [torch.arange(20) + 7, torch.arange(20, 40) + 7]


def pictures(of_person: float, of_picture: float) -> Answered:
    """Answers that stay with a person so much, and change from picture to picture so much."""
    rng = torch.Generator().manual_seed(0)
    stays = torch.randn(PEOPLE, ANSWERS, generator=rng).repeat_interleave(EACH, 0)
    changes = torch.randn(PEOPLE * EACH, ANSWERS, generator=rng)
    answers = of_person * stays + of_picture * changes
    return Answered(answers, (answers > 0).float(), IDENTITIES)


def measured(answered: Answered) -> dict[str, dict[str, float]]:
    rows = _measured(answered, GROUPS, bits=[1, 3], ranks=[1, ANSWERS], queries=60, seed=0)
    return {row["keeps"]: row for row in rows}


def test_answers_that_stay_with_a_person_name_them_and_few_words_do_not() -> None:
    """Whom words name is bounded in each turn, whatever the attacker; that is what they are for."""
    found = measured(pictures(1.0, 0.05))
    assert found["all"]["named"] == found[f"rank={ANSWERS}"]["named"] == 1
    assert found["rank=1"]["named"] < 0.8
    for bits in (1, 3):
        row = found[f"bits={bits}"]
        assert row["proved"] == 2**bits / 20
        assert 0 < max(row[by] for by in keep.ATTACKERS) <= row["proved"]
    assert found["bits=3"]["named"] > found["bits=1"]["named"]
    assert (found["all"]["n_images"], found["all"]["n_identities"]) == (200, 20)


def test_what_is_proved_holds_where_few_people_have_many_pictures() -> None:
    """In a later turn fewer people are sought, of whom as many words name more."""
    nth = torch.arange(len(IDENTITIES)) % EACH
    kept = (nth < 2) | (IDENTITIES % 10 == 0)
    found = measured(pictures(1.0, 0.01).of(kept))
    for bits in (1, 3):
        row = found[f"bits={bits}"]
        turns = [20, 20, 2, 2, 2] * 2
        assert row["n_images"] == sum(turns)
        assert row["proved"] == pytest.approx(sum(min(2**bits, turn) for turn in turns) / sum(turns))
        assert max(row[by] for by in keep.ATTACKERS) <= row["proved"]


def test_a_picture_is_never_among_those_that_it_is_compared_with() -> None:
    """Answers of which nothing stays name nobody; were a picture known, they would name everybody."""
    found = measured(pictures(0.0, 1.0))
    assert found["all"]["named"] < 0.15
    assert found["bits=3"]["named"] < 0.15


def test_what_is_kept_costs_no_more_where_all_is_and_more_where_less_is() -> None:
    """Against the attributes that the answers decide exactly."""
    found = measured(pictures(1.0, 1.0))
    assert found["all"]["auc"] == 1
    assert abs(found[f"rank={ANSWERS}"]["auc_lost"]) < 1e-6
    assert found["rank=1"]["auc_lost"] > 0.1
    assert found["bits=1"]["auc_lost"] > found["bits=3"]["auc_lost"] > 0.05


def test_groups_are_of_different_people_who_have_several_pictures() -> None:
    identities = torch.cat([IDENTITIES, torch.tensor([1000])])
    groups = _groups(identities, 10, seed=0)
    assert [len(group) for group in groups] == [10] * 6
    assert len(torch.cat(groups).unique()) == 60
    assert 1000 not in torch.cat(groups)
    with pytest.raises(ValueError, match="people=31 must lie between 2 and 30, half of the public people"):
        _groups(identities, 31, seed=0)


def test_the_command_writes_a_line_for_each_and_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    fitted = {"trainer": TRAINER, "model": model("TargetNetwork", n_outputs=17), "data": DATA}
    fit.main(["--config", str(write(fitted, tmp_path / "fit.yaml")), "--output", str(target)])
    config = {"data": DATA, "target": str(target), "output": str(tmp_path / "out"), "device": "cpu"}
    config |= {"people": 2, "bits": [1, 2], "ranks": [3]}
    keep.main(["--config", str(write(config, tmp_path / "keep.yaml"))])
    with (tmp_path / "out" / "kept.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["keeps"] for row in rows] == ["all", "rank=3", "bits=1", "bits=2"]
    assert float(rows[0]["auc_lost"]) == 0
    assert [row["proved"] for row in rows] == ["", "", "1.0", "1.0"]
    told = capsys.readouterr().out
    assert "bits=1" in told
    assert "100.0%" in told
    outside = r"ranks: \[18\] must lie between 1 and 17"
    for wrong, says in (({"ranks": [18]}, outside), ({"bits": [0]}, "bits=0")):
        with pytest.raises(ValueError, match=says):
            keep.main(["--config", str(write(config | wrong, tmp_path / "wrong.yaml"))])
