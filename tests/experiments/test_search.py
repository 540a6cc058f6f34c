"""Settings chosen on public people: by whom, from what, and that the attack then has them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pandas as pd
import pytest
import torch
from test_combine import Pixels
from tiny_study import DATA, TRAINER, model, tiny_study, write

from datamodules import SyntheticFaces
from experiments.evaluation.public_judge import PublicJudge
from experiments.study import carry_out
from experiments.study.config import load
from experiments.study.layers import STANDARD, read
from experiments.study.plan import Plan

FACES = DATA["init_args"] | {"val_fraction": 0.4}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> SyntheticFaces:
    data = SyntheticFaces(**FACES, cache_dir=str(tmp_path_factory.mktemp("cache")))
    data.prepare_data()
    data.setup("test")
    return data


def test_public_people_are_known_by_photographs_that_are_not_attacked(faces: SyntheticFaces) -> None:
    """Else the clean image itself would stand in the gallery, and every attack would be near it."""
    public = faces.faces("public_val")
    whole = public.identities == public.identities[0]  # of this person every photograph is attacked
    attacked = public.rows[whole | (torch.arange(len(public)) % 5 == 1)]
    judge = PublicJudge(Pixels(), faces, attacked)
    assert len(judge.gallery) == len(public) - len(attacked) + 1
    assert judge.judged.tolist() == (attacked != public.rows[whole][0]).tolist()
    clean = public.images(torch.searchsorted(public.rows, attacked))
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(0))
    assert judge.score(clean) > judge.score(0.3 * clean + 0.7 * noise)


def test_too_few_public_people_are_refused(faces: SyntheticFaces) -> None:
    few = SyntheticFaces(**FACES | {"val_fraction": 0.1}, cache_dir=str(faces.cache_dir))
    few.prepare_data()
    few.setup("test")
    with pytest.raises(ValueError, match="raise the data's val_fraction"):
        PublicJudge(Pixels(), few, few.faces("public_val").rows)


@pytest.mark.slow
def test_an_attack_has_the_settings_that_find_most_public_people(tmp_path: Path) -> None:
    study = tiny_study()
    study["data"] = {**DATA, "init_args": FACES}
    study["defences"] = {"none": study["defences"]["none"]}
    study["fits"]["trained"] = study["fits"]["decoder"] | {"trainer": {**TRAINER, "max_epochs": 6}}
    study["queries"] = {"tuning": {"data": {"predict_role": "public_val", "predict_limit": 6}}}
    study["attacks"]["searched"] = study["attacks"]["black_box"] | {
        "search": {
            "query": "tuning",
            "candidates": {"poor": {}, "better": {"networks": {"decoder": "${trained}"}}},
        }
    }
    output = tmp_path / "study"
    assert carry_out.run(write(study, tmp_path / "tiny.yaml"), output) == 0
    folders = {
        line["name"]: output / line["folder"] for line in json.loads((output / "plan.json").read_text())
    }
    choice = json.loads((folders["none.searched.search"] / "choice.json").read_text())
    found = choice["candidates"]
    assert choice["chosen"] == max(found, key=lambda one: (found[one]["identified"], found[one]["margin"]))
    used = json.loads((folders["none.searched"] / "reconstructions" / "meta.json").read_text())
    plain = json.loads((folders["none.black_box"] / "reconstructions" / "meta.json").read_text())
    assert (used["networks"] == plain["networks"]) == (choice["chosen"] == "poor")
    rows = pd.read_csv(output / "results.csv")
    (budget,) = set(rows[rows["attack"] == "searched"]["budget"])
    assert budget == "2 settings tried on public people"


def test_the_standard_suite_expands_on_any_defence(tmp_path: Path) -> None:
    """Basic, adaptive and averaged attacks, linkage and what all find together, for every point."""
    study = tiny_study() | {"attacks": "standard"}
    study["fits"]["prior"] = {"model": model("Prior", latent_dim=8, width=4, critic_width=4)}
    study["defences"] = {
        "none": study["defences"]["none"],
        "noise": {"model": model("GaussianNoise", target="${target}"), "strengths": {"sigma": [1.0]}},
    }
    config = load(write(study, tmp_path / "standard.yaml"))
    plan = Plan(config)
    for point in ("none", "noise.sigma=1.0"):
        mine = {labels["attack"] for name, labels in plan.labels.items() if name.startswith(f"{point}.")}
        assert mine == {*config.attacks, *config.identifications, "union", "fusion"}
        searched = {name for name, attack in config.attacks.items() if attack.search}
        assert all(f"{point}.{name}.search" in plan.stages for name in searched)
        linked = plan.stages[f"{point}.a3_linkage.none.classifier"].config["averages"]
        assert linked == plan.stages[f"{point}.a3_progressive.none"].config["features"]
    adaptive = {labels["adaptive"] for labels in plan.labels.values()}
    assert adaptive == {"none", "A1", "A3"}


@pytest.mark.parametrize("order", [["classifier", "strangers"], ["strangers", "classifier"]])
def test_a_pretrained_judge_chooses_settings_wherever_it_stands(
    order: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the order in which a study's files are put together would decide what the attacks find."""
    study = tiny_study() | {"attacks": "standard"}
    study["fits"]["prior"] = {"model": model("Prior", latent_dim=8, width=4, critic_width=4)}
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "external_defences")
    oracles = {"strangers": model("guess.Pixels"), **study["oracles"]}
    study["oracles"] = {name: oracles[name] for name in order}
    plan = Plan(load(write(study, tmp_path / "standard.yaml")))
    judges = [stage.config["oracle"] for stage in plan.stages.values() if stage.command == "search"]
    assert judges
    assert all(judge["class_path"] == "guess.Pixels" for judge in judges)


@pytest.mark.parametrize("name", ["demo", "demo-rivals", "crafter-parts", "demo-attacks"])
def test_the_standard_suite_takes_the_place_of_what_a_study_has_chosen(name: str, tmp_path: Path) -> None:
    """Of its own attacks a study spares some defence one, or fixes the epochs that the suite looks for."""
    config = load(write({"extends": f"{name}.yaml", "attacks": "standard"}, tmp_path / "standard.yaml"))
    suite = read(STANDARD)
    assert config.attacks.keys() == suite["attacks"].keys()
    assert all(
        attack.against == ["*"] for attack in (*config.attacks.values(), *config.identifications.values())
    )
    plan = Plan(config)
    faced: dict[tuple[str, str], set[str]] = defaultdict(set)
    for labels in plan.labels.values():
        faced[labels["defence"], labels["strength"]].add(labels["attack"])
    assert all(
        met == {*suite["attacks"], *suite["identifications"], "union", "fusion"} for met in faced.values()
    )
    networks = {fit: config.fits[fit].model["init_args"] for fit in ("decoder", "a1_decoder")}
    for size in ("width", "blocks"):
        assert networks["decoder"].get(size) == networks["a1_decoder"].get(size), "it goes on from that one"
