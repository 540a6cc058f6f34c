"""What a study's summary sends to Weights & Biases: the figures, under these names, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import wandb
import yaml
from conftest import ROOT
from made_up_study import AUC, write_study

from experiments import wandb_summary
from experiments.report.analysis import Analysis
from experiments.report.exports import write_table
from experiments.report.results import gather

PRIVATE = {"row": 17, "image": "0017.jpg", "identity": 4, "sha256": "c0ffee", "path": "faces/0017.jpg"}
STRENGTHS = ["beta=0.5", "beta=1", "beta=2", "beta=4"]


class Wandb(SimpleNamespace):
    """Stands for the package and keeps what it is told."""

    Error = wandb.Error
    Settings = dict

    def __init__(self) -> None:
        super().__init__(runs=[], plot=SimpleNamespace(line_series=lambda **lines: lines))

    def init(self, **arguments: Any) -> Run:
        self.runs.append(Run(arguments))
        return self.runs[-1]

    def Table(self, columns: list[str], data: list[list[Any]]) -> pd.DataFrame:
        return pd.DataFrame(data, columns=columns)

    def named(self, name: str) -> Run:
        (found,) = [run for run in self.runs if run.arguments["name"] == name]
        return found


class Run:
    """What is done with one run; that anything else is done raises an error."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.logged: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log(self, values: dict[str, Any]) -> None:
        assert not self.logged.keys() & values
        self.logged |= values


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("cache"))
    for name, table in Analysis(gather(folder), folder).tables().items():
        write_table(folder / name, table, also=())
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its tables have columns that are nobody else's business, and rows that a curve must not mix up."""
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)  # a fit in this process has set it
    folder = tmp_path / "comparison-7"
    folder.mkdir()
    (folder / "study.yaml").write_text((finished / "study.yaml").read_text())
    tables = {name: pd.read_csv(finished / f"{name}.csv") for name in ("results", "summary", "comparison")}
    results = tables["results"].assign(dataset="made-up", scenario="deployment", network="toy", seed=0)
    protected = results[(results["attack"] == "black_box") & (results["strength"] == "beta=1")]
    tables["results"] = pd.concat(
        [
            results.assign(countermeasure="none"),
            protected.assign(attack="a1_black_box", epoch=0, eval_acc=0.2, countermeasure="none"),
            protected.assign(attack="a1_black_box", epoch=5, eval_acc=0.3, countermeasure="none"),
            protected.assign(attack="a1_black_box", epoch=5, eval_acc=0.9, countermeasure="shuffle"),
            protected.assign(restart="1", eval_acc=1.0, countermeasure="none"),
        ]
    )
    tables["ranking"] = pd.DataFrame({"defence": ["crafter"], "place": [1], "verdict": ["lower"]})
    for name, frame in tables.items():
        frame.assign(**PRIVATE).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture
def recorded(study: Path, monkeypatch: pytest.MonkeyPatch) -> Wandb:
    fake = Wandb()
    monkeypatch.setattr(wandb_summary, "wandb", fake)
    wandb_summary.main(["--study", str(study), "--project", "faces"])
    return fake


def test_there_is_a_run_for_each_point_and_one_of_all(recorded: Wandb) -> None:
    names = [run.arguments["name"] for run in recorded.runs]
    assert names == ["none", *(f"crafter.{strength}" for strength in STRENGTHS), "summary"]
    for run in recorded.runs:
        assert run.arguments["project"] == "faces"
        assert run.arguments["group"] == "comparison-7", "that of the study's stages"
        assert run.arguments["mode"] == "offline"


def test_a_point_has_its_figures(recorded: Wandb) -> None:
    run = recorded.named("crafter.beta=1")
    setting = {"dataset": "made-up", "scenario": "deployment", "network": "toy", "seed": 0}
    assert run.arguments["config"] == {**setting, "defence": "crafter", "strength": "beta=1"}
    assert set(run.summary) == {
        *("auc", "worst_attack", "worst_oracle", "worst_eval_acc", "worst_eval_acc_lo", "worst_eval_acc_hi"),
        *("eval_acc/white_box", "eval_acc/black_box", "eval_acc/a1_black_box"),
    }
    assert run.summary["auc"] == AUC["beta=1"]
    assert run.summary["eval_acc/a1_black_box"] == 0.3, "its best epoch, without a countermeasure"
    assert run.summary["eval_acc/black_box"] < 0.2, "by the restart that the attack chose itself"
    assert not run.logged


def test_the_summary_has_curves_and_tables(recorded: Wandb) -> None:
    logged = recorded.named("summary").logged
    attacks = ("white_box", "black_box", "a1_black_box")
    curves = {f"curve/{attack}-{oracle}" for attack in attacks for oracle in ("classifier", "embedding")}
    tables = {f"table/{name}" for name in ("results", "summary", "comparison", "ranking")}
    assert set(logged) == {"curve/worst_case"} | curves | tables


def test_a_curve_runs_through_the_strengths_to_the_undefended_point(recorded: Wandb, study: Path) -> None:
    curve = recorded.named("summary").logged["curve/worst_case"]
    assert curve["keys"] == ["undefended", "crafter"]
    assert curve["xs"] == [[AUC[""]], [AUC[strength] for strength in [*STRENGTHS, ""]]]
    summary = pd.read_csv(study / "summary.csv").fillna({"strength": ""}).set_index("strength")
    leaks = [summary.loc[strength, "worst_eval_acc"] for strength in [*STRENGTHS, ""]]
    assert curve["ys"] == [leaks[-1:], leaks]


def test_nothing_about_a_picture_or_a_person_goes_out(recorded: Wandb, study: Path) -> None:
    tables = {name: frame for name, frame in recorded.named("summary").logged.items() if "table" in name}
    for name, frame in tables.items():
        source = pd.read_csv(study / f"{name.removeprefix('table/')}.csv")
        assert set(source.columns) - set(frame.columns) == set(PRIVATE)
        assert len(frame) == len(source)


def test_the_configuration_names_no_folder(recorded: Wandb, study: Path) -> None:
    sent = recorded.named("summary").arguments["config"]
    kept = yaml.safe_load((study / "study.yaml").read_text())
    folder = kept["data"]["init_args"]["cache_dir"]
    assert Path(folder).is_absolute()
    assert json.loads(json.dumps(kept).replace(folder, Path(folder).name)) == sent


def test_a_study_that_has_not_ended_is_named(study: Path) -> None:
    (study / "summary.csv").unlink()
    with pytest.raises(SystemExit, match=r"summary\.csv is missing; run experiments\.study"):
        wandb_summary.main(["--study", str(study)])


def test_a_study_of_no_defence_has_nothing_to_compare(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("results", "summary"):
        frame = pd.read_csv(study / f"{name}.csv")
        frame[frame["defence"] == "none"].to_csv(study / f"{name}.csv", index=False)
    (study / "comparison.csv").write_text("\n")
    fake = Wandb()
    monkeypatch.setattr(wandb_summary, "wandb", fake)
    wandb_summary.main(["--study", str(study)])
    assert [run.arguments["name"] for run in fake.runs] == ["none", "summary"]
    assert fake.named("summary").logged["table/comparison"].empty


@pytest.mark.slow
def test_what_is_written_offline_names_no_folder(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B notes the command line, the host and the packages where nobody forbids it."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(study.parent / "staged"))
    wandb.teardown()  # another test's wandb has read its environment already
    wandb_summary.main(["--study", str(study)])
    assert f"wandb sync {study}/wandb/offline-run-*" in capsys.readouterr().out
    runs = list(study.glob("wandb/offline-run-*"))
    assert len(runs) == 1 + len(STRENGTHS) + 1
    sent = [
        path for run in runs for path in [*run.glob("*.wandb"), *run.glob("files/**/*")] if path.is_file()
    ]
    assert len(sent) > len(runs)
    for path in sent:
        content = path.read_bytes()
        unwanted = (str(study), sys.executable, str(ROOT), "0017.jpg", "c0ffee")
        assert not [word for word in unwanted if word.encode() in content]
