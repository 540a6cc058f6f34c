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
from experiments.study.config import StudyConfig, load
from experiments.study.keys import references
from experiments.study.layers import STANDARD, read
from experiments.study.plan import Plan

FACES = DATA["init_args"] | {"val_fraction": 0.4}
IN_THE_SUITE = {
    "at the split": {"white_box", "progressive", "black_box", "hybrid"},
    "adaptive": {"a1_black_box", "a1_hybrid", "a1_progressive", "a1_through_hidden"},
    "averaged": {"a3_progressive", "a3_black_box", "a3_linkage", "a3_matching", "a3_matching_answers"},
    "each query": {"a3_matching_each", "a3_matching_answers_each"},
    "linked": {"linkage", "linkage_network", "linkage_hidden", "linkage_logits"},
    "compared": {"matching", "matching_feature", "matching_answers", "a1_matching", "a1_matching_answers"},
    "compared with protected photographs": {"a1_matching_protected", "a1_matching_answers_protected"},
    "together": {"union", "fusion"},
}
"""What a published comparison rests on, beside `BEHIND_THE_SPLIT`."""
BEHIND_THE_SPLIT = {
    "through_block": {"0"},
    "through_hidden": {"hidden"},
    "through_logits": {"logits"},
    "through_several": {"feature", "0", "hidden"},
    "hidden_black_box": {"hidden"},
    "a1_through_hidden": {"hidden"},
    "linkage_hidden": {"hidden"},
    "linkage_logits": {"logits"},
}
"""The layers of f that an attack looks at."""


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


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    """The suite against noise, and against nothing."""
    study = tiny_study() | {"attacks": "standard"}
    study["fits"]["prior"] = {"model": model("Prior", latent_dim=8, width=4, critic_width=4)}
    study["defences"] = {
        "none": study["defences"]["none"],
        "noise": {"model": model("GaussianNoise", target="${target}"), "strengths": {"sigma": [1.0]}},
    }
    return load(write(study, tmp_path_factory.mktemp("suite") / "standard.yaml"))


def test_the_standard_suite_expands_on_any_defence(standard: StudyConfig) -> None:
    """Basic, adaptive and averaged attacks, linkage and what all find together, for every point."""
    config, plan = standard, Plan(standard)
    for point in ("none", "noise.sigma=1.0"):
        mine = {labels["attack"] for name, labels in plan.labels.items() if name.startswith(f"{point}.")}
        assert mine == {*config.attacks, *config.identifications, "union", "fusion"}
        searched = {name for name, attack in config.attacks.items() if attack.search}
        assert all(f"{point}.{name}.search" in plan.stages for name in searched)
        linked = plan.stages[f"{point}.a3_linkage.none.classifier"].config["averages"]
        assert linked == plan.stages[f"{point}.a3_progressive.none"].config["features"]
    adaptive = {labels["adaptive"] for labels in plan.labels.values()}
    assert adaptive == {"none", "A1", "A3"}


@pytest.mark.strict
@pytest.mark.parametrize("kind", IN_THE_SUITE)
def test_the_standard_suite_lacks_no_attack_that_a_defence_has_to_face(
    standard: StudyConfig, kind: str
) -> None:
    """By name, as what is left out of the suite breaks nothing else: every defence would only look safer."""
    faced = {labels["attack"] for name, labels in Plan(standard).labels.items() if name.startswith("noise.")}
    assert faced >= IN_THE_SUITE[kind]


@pytest.mark.strict
@pytest.mark.parametrize("attack", BEHIND_THE_SPLIT)
def test_the_standard_suite_looks_behind_the_split(standard: StudyConfig, attack: str) -> None:
    """A release in a stranger's feature leaks there alone: judged at the split it would look safe."""
    found = {name: one.layers for name, one in standard.attacks.items()}
    for name, one in standard.identifications.items():
        (fit,) = references(one.identifier)
        found[name] = standard.fits[fit].model["init_args"].get("layers", {})
    assert set(found[attack]) == BEHIND_THE_SPLIT[attack]


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
