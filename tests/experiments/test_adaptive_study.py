"""A study with attackers who query the defence: what is trained for whom, and that it all runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny_study import DATA, model, tiny_study, write

from experiments.study import carry_out
from experiments.study.config import load
from experiments.study.config import parse as parse_config
from experiments.study.keys import ancestors, keys
from experiments.study.layers import overlay
from experiments.study.plan import Plan

LINKER = model("RidgeLinker", encoder="${defence}", oracle="${oracle}", layers={"hidden": 1.0})

BLACK_BOX = "facecrafter.attacks.BlackBox"


def adaptive_study() -> dict[str, Any]:
    """The tiny study with A1, A3 and feature exposure, on noise that differs from query to query."""
    pairs = {"features": "${public}/features", "data": {"batch_size": 4}, "val_fraction": 0.3}
    study = tiny_study()
    study["fits"] |= {
        "a1_decoder": {
            "model": model(
                "Decoder", encoder="${defence}", start="${decoder}", image_size=32, width=8, blocks=1
            ),
            "data": {"class_path": "datamodules.ProtectedPairs", "init_args": pairs},
            "keep": [0, 1],
        },
        "linker": {
            "model": LINKER,
            "data": {"class_path": "datamodules.ProtectedPairs", "init_args": pairs},
        },
        "raw_matcher": {"model": model("Matcher", encoder="${target}", directions=[8, 8])},
        "matcher": {
            "model": model("Matcher", encoder="${defence}", directions=[8, 8], start="${raw_matcher}"),
            "data": {"class_path": "datamodules.ProtectedPairs", "init_args": pairs},
        },
        "hidden_decoder": {
            "model": model(
                "Decoder", encoder="${target}", image_size=32, width=8, blocks=1, layers={"hidden": 1.0}
            ),
        },
        "identifier": {
            "model": model("FeatureIdentifier", encoder="${target}", n_identities=4),
            "data": {"fit_role": "private_train"},
        },
    }
    study["queries"] = {
        "public": {"data": {"predict_role": "public", "predict_limit": 20}},
        "again": {"query": 1},
    }
    study["defences"] = {
        "none": study["defences"]["none"],
        "noise": {
            "model": model("GaussianNoise", target="${target}"),
            "strengths": {"sigma": [0.5, 1.0]},
        },
    }
    study["attacks"] |= {
        "a1_black_box": {
            "class_path": BLACK_BOX,
            "networks": {"decoder": "${a1_decoder}"},
            "epochs": [0, 1],
            "pairs": [12],
            "adaptive": "A1",
            "against": ["none", "noise.sigma=1.0"],
        },
        "through_head": {
            "class_path": BLACK_BOX,
            "networks": {"decoder": "${hidden_decoder}"},
            "layers": {"hidden": 1.0},
            "against": ["noise.sigma=1.0"],
        },
        "a3_matched": {
            "class_path": BLACK_BOX,
            "networks": {"decoder": "${decoder}"},
            "averaging": {
                "queries": ["again"],
                "matching": "matched",
                "countermeasures": ["none", "shuffle"],
            },
            "adaptive": "A3",
            "against": ["none", "noise.sigma=1.0"],
        },
    }
    study["together"] = ["union", "fusion"]
    study["identifications"] = {
        "exposure_features": {"identifier": "${identifier}", "adaptive": "exposure", "against": ["noise*"]},
        "linkage": {
            "identifier": "${linker}",
            "adaptive": "A1",
            "pairs": [12],
            "against": ["noise.sigma=1.0"],
        },
        "matching": {"identifier": "${raw_matcher}", "against": ["noise.sigma=1.0"]},
        "a1_matching": {"identifier": "${matcher}", "adaptive": "A1", "against": ["noise.sigma=1.0"]},
        "a3_matching_each": {
            "identifier": "${matcher}",
            "again": ["again"],
            "adaptive": "A3",
            "against": ["noise.sigma=1.0"],
        },
        "a3_linkage": {
            "identifier": "${linker}",
            "averaging": {
                "queries": ["again"],
                "matching": "matched",
                "countermeasures": ["none", "shuffle"],
            },
            "adaptive": "A3",
            "against": ["noise.sigma=1.0"],
        },
    }
    return study


def plan_of(study: dict[str, Any]) -> Plan:
    return Plan(parse_config(study, "test"))


def keys_of(study: dict[str, Any]) -> dict[str, str]:
    plan = plan_of(study)
    return keys(plan.stages, plan.data.fingerprint)


@pytest.mark.parametrize(
    ("kind", "name"), [("attacks", "a1_black_box"), ("identifications", "exposure_features")]
)
def test_a_pattern_that_means_no_defence_is_named(kind: str, name: str) -> None:
    """The attack would not be run, and the defence look as if it had been spared nothing."""
    study = adaptive_study()
    study[kind][name]["against"] = ["none", "noise.sigma=1"]
    with pytest.raises(ValueError, match=rf"{kind}.{name}.against: 'noise.sigma=1' means no defence; they"):
        plan_of(study)


@pytest.mark.strict
def test_leaked_pictures_go_by_no_other_name() -> None:
    """The worst case of attackers with public pictures alone would be that of one who has private ones."""
    study = adaptive_study()
    study["identifications"]["exposure_features"].pop("adaptive")
    with pytest.raises(
        ValueError, match=r"exposure_features uses the fit identifier.*say adaptive: exposure"
    ):
        plan_of(study)
    study = adaptive_study()
    study["fits"]["decoder"]["data"] = {"private_exposure": 0.1}
    with pytest.raises(ValueError, match=r"attacks.black_box uses the fit decoder, .* own pictures"):
        plan_of(study)


def test_a_network_for_each_defence_is_trained_on_what_that_defence_protects() -> None:
    stages = plan_of(adaptive_study()).stages

    fit = stages["noise.sigma=1.0.a1_decoder"]
    assert fit.config["model"]["init_args"]["encoder"] == "${noise.sigma=1.0}"
    assert fit.config["model"]["init_args"]["start"] == "${decoder}"  # one for all
    assert fit.config["data"]["init_args"]["features"] == "${noise.sigma=1.0.public}/features"
    faces = fit.config["data"]["init_args"]["data"]["init_args"]
    assert faces == DATA["init_args"] | {"batch_size": 4}
    assert fit.config["keep"] == {"epochs": [0, 1]}
    public = stages["noise.sigma=1.0.public"]
    assert (public.command, public.config["defence"]) == ("protect", "${noise.sigma=1.0}")
    assert public.config["data"]["init_args"]["predict_role"] == "public"


def test_a_linker_learns_from_every_judge_whom_it_is_measured_with() -> None:
    """A linker measured with another network's photographs would find nobody."""
    study = adaptive_study()
    other = {"class_path": "lightning_modules.EmbeddingOracle", "init_args": {"weights": __file__}}
    study["oracles"]["embedding"] = other
    plan = plan_of(study)
    for oracle, meant in (("classifier", "${classifier}"), ("embedding", other["class_path"])):
        fit = plan.stages[f"noise.sigma=1.0.{oracle}.linker"].config["model"]["init_args"]
        found = fit["oracle"]
        assert (found if isinstance(found, str) else found["class_path"]) == meant
        assert fit["encoder"] == "${noise.sigma=1.0}"
        measured = plan.stages[f"noise.sigma=1.0.linkage.{oracle}"].config
        assert list(measured["oracles"]) == [oracle]
        assert measured["identifier"] == f"${{noise.sigma=1.0.{oracle}.linker}}"
    study["fits"]["linker"] = {"model": overlay(LINKER, {"init_args": {"encoder": "${target}"}})}
    study["identifications"]["linkage"] = {"identifier": "${linker}"}
    plan = plan_of(study)
    for point in ("none", "noise.sigma=1.0"):
        for oracle in study["oracles"]:
            identifier = plan.stages[f"{point}.linkage.{oracle}"].config["identifier"]
            assert identifier == f"${{{oracle}.linker}}", "one that learns from raw features serves all"
    study["attacks"]["black_box"]["networks"]["decoder"] = "${linker}"
    with pytest.raises(
        ValueError, match=r"fits.linker learns from '\$\{oracle\}', so only an identification"
    ):
        plan_of(study)


def test_together_are_attacks_on_one_point_by_one_attacker() -> None:
    """Leaked features are another attacker's, and a countermeasure makes another defence; of an attack over
    epochs, an attacker has the last one's images."""
    plan = plan_of(adaptive_study())
    union, fusion = (plan.stages[f"noise.sigma=1.0.{way}"].config for way in ("union", "fusion"))
    attacks = ["black_box", "a1_black_box.epoch=0", "a1_black_box.epoch=1", "through_head", "a3_matched.none"]
    names = [f"${{noise.sigma=1.0.{attack}.measure}}" for attack in attacks]
    linked = [
        "linkage.classifier",
        "matching",
        "a1_matching",
        "a3_matching_each",
        "a3_linkage.none.classifier",
    ]
    assert union["measured"] == [*names, *(f"${{noise.sigma=1.0.{name}}}" for name in linked)]
    assert fusion["measured"] == [name for name in names if "epoch=0" not in name]
    assert fusion["reconstructions"][-1] == "${noise.sigma=1.0.a3_matched.none}/reconstructions"
    labels = plan.labels["noise.sigma=1.0.union"]
    assert (labels["attack"], labels["access"], labels["adaptive"]) == ("union", "black", "A3")
    assert "noise.sigma=0.5.union" not in plan.stages  # one attack alone has no union


def test_each_point_is_asked_what_its_answers_give_away() -> None:
    """With the other pictures and the repetition that this very defence protects, if the study says so."""
    stages = plan_of(adaptive_study() | {"measure": {"again": "${again}"}}).stages
    stage = stages["noise.sigma=0.5.answers"]
    assert stage.command == "answers"
    assert stage.config["features"] == "${noise.sigma=0.5}/features"
    assert stage.config["again"] == "${noise.sigma=0.5.again}/features"
    assert "second" not in stage.config
    plain, same = keys_of(adaptive_study()), keys_of(adaptive_study() | {"measure": {"again": "${again}"}})
    assert {name for name, key in plain.items() if same[name] != key} == {
        name for name in plain if name.endswith(".answers")
    }


def test_photographs_may_be_what_this_very_defence_makes_of_them() -> None:
    """Those of another defence, or raw ones, would make an attack that compares like with like look weak."""
    study = adaptive_study()
    study["queries"]["known"] = {"data": {"predict_role": "private_train"}}
    study["identifications"]["a1_matching"] |= {"known": "known"}
    plan = plan_of(study)
    assert plan.stages["noise.sigma=1.0.a1_matching"].config["known"] == "${noise.sigma=1.0.known}/features"
    assert plan.stages["noise.sigma=1.0.known"].config["data"]["init_args"]["predict_role"] == "private_train"
    plain = keys_of(adaptive_study())
    assert {name for name, key in keys_of(study).items() if plain.get(name) != key} == {
        "noise.sigma=1.0.known",
        "noise.sigma=1.0.a1_matching",
        *(name for name in plain if name.endswith(".union") and "sigma=1.0" in name),
    }
    study["identifications"]["a1_matching"]["adaptive"] = "none"
    with pytest.raises(ValueError, match=r"a1_matching: `known` has photographs protected.*say adaptive: A1"):
        plan_of(study)


def test_fewer_pairs_are_a_curve_of_the_same_attack() -> None:
    """Everything that learns from pairs learns from as many, other networks stay as they are, and so does
    what all pairs give."""
    plan = plan_of(adaptive_study())
    whole = plan.stages["noise.sigma=1.0.a1_decoder"].config
    part = plan.stages["noise.sigma=1.0.pairs=12.a1_decoder"].config
    assert part["data"]["init_args"]["pairs"] == 12
    assert "pairs" not in whole["data"]["init_args"]
    assert part["model"] == whole["model"]
    attack = plan.stages["noise.sigma=1.0.a1_black_box.pairs=12.epoch=1"].config
    assert attack["networks"] == {"decoder": "${noise.sigma=1.0.pairs=12.a1_decoder}/epoch=1.ckpt"}
    measured = "noise.sigma=1.0.a1_black_box.pairs=12.epoch=1.measure"
    assert (plan.labels[measured]["attack"], plan.labels[measured]["queries"]) == ("a1_black_box", 12)
    all_ = plan.stages["noise.sigma=1.0.a1_black_box.epoch=1.measure"].config
    assert (all_["answers"], all_["labels"].get("queries")) == ("${noise.sigma=1.0.public}/features", None)
    linked = plan.stages["noise.sigma=1.0.linkage.pairs=12.classifier"].config
    assert linked["identifier"] == "${noise.sigma=1.0.classifier.pairs=12.linker}"
    for way in ("union", "fusion"):
        assert "pairs=12" not in str(plan.stages[f"noise.sigma=1.0.{way}"].config)
    plain = adaptive_study()
    for section, name in (("attacks", "a1_black_box"), ("identifications", "linkage")):
        del plain[section][name]["pairs"]
    with_curve, without = keys_of(adaptive_study()), keys_of(plain)
    assert {name for name in without if with_curve[name] != without[name]} == {
        "none.a1_black_box.epoch=0.measure",
        "none.a1_black_box.epoch=1.measure",
        "noise.sigma=1.0.a1_black_box.epoch=0.measure",
        "noise.sigma=1.0.a1_black_box.epoch=1.measure",
        "noise.sigma=1.0.linkage.classifier",
        *(f"{point}.{way}" for point in ("none", "noise.sigma=1.0") for way in ("union", "fusion")),
    }, "these say the number of all pairs"


def test_what_links_features_reads_averages_beside_the_utility_of_what_was_released() -> None:
    """The same averages that an attack reconstructs from, under every countermeasure."""
    plan = plan_of(adaptive_study())
    for countermeasure in ("none", "shuffle"):
        name = f"noise.sigma=1.0.a3_linkage.{countermeasure}.classifier"
        linked = plan.stages[name].config
        averages = plan.stages[f"noise.sigma=1.0.a3_matched.{countermeasure}"].config["features"]
        assert linked["averages"] == averages
        assert linked["features"] == "${noise.sigma=1.0}/features"
        assert plan.labels[name]["countermeasure"] == countermeasure
        assert plan.labels[name]["adaptive"] == "A3"
    assert "averages" not in plan.stages["noise.sigma=1.0.linkage.classifier"].config


def test_what_is_read_of_several_queries_needs_no_average_of_their_features() -> None:
    plan = plan_of(adaptive_study())
    stage = plan.stages["noise.sigma=1.0.a3_matching_each"].config
    assert stage["again"] == ["${noise.sigma=1.0.again}/features"]
    assert stage["features"] == "${noise.sigma=1.0}/features"
    assert "averages" not in stage
    assert "again" not in plan.stages["noise.sigma=1.0.matching"].config


def test_settings_for_averages_are_chosen_on_averages() -> None:
    """Of as many queries of public people: what reads one noisy feature best smooths an average away."""
    study = adaptive_study()
    study["queries"] |= {
        "tuning": {"data": {"predict_role": "public_val"}},
        "tuning_again": {"query": 1, "data": {"predict_role": "public_val"}},
    }
    search = {"query": "tuning", "candidates": {"plain": {}, "other": {}}, "again": ["tuning_again"]}
    study["attacks"]["a3_matched"]["search"] = search
    stages = plan_of(study).stages
    for countermeasure, name in (("none", "search"), ("shuffle", "shuffle.search")):
        averages = f"noise.sigma=1.0.tuning.matched-2.{countermeasure}"
        assert stages[averages].config["features"] == [
            "${noise.sigma=1.0.tuning}/features",
            "${noise.sigma=1.0.tuning_again}/features",
        ]
        chosen = stages[f"noise.sigma=1.0.a3_matched.{name}"]
        assert chosen.config["features"] == f"${{{averages}}}/features"
        attack = stages[f"noise.sigma=1.0.a3_matched.{countermeasure}"].config
        assert attack["choice"] == f"${{{chosen.name}}}/choice.json"
    del search["again"]
    with pytest.raises(ValueError, match=r"a3_matched: search.again names 0 further .* averaging 1 of"):
        plan_of(study)
    study["attacks"]["black_box"]["search"] = search | {"again": ["tuning_again"]}
    with pytest.raises(ValueError, match=r"black_box: search.again names 1 further .* averaging 0 of"):
        plan_of(study)


def test_a_search_is_made_anew_for_every_number_of_pairs() -> None:
    """The settings that suit many pairs may not suit few."""
    study = adaptive_study()
    study["queries"]["tuning"] = {"data": {"predict_role": "public_val"}}
    a1 = study["attacks"]["a1_black_box"]
    del a1["epochs"]
    a1["search"] = {"query": "tuning", "candidates": {"basic": {"epoch": 0}, "late": {"epoch": 1}}}
    stages = plan_of(study).stages
    attack = stages["none.a1_black_box.pairs=12"].config
    assert attack["choice"] == "${none.a1_black_box.pairs=12.search}/choice.json"
    networks = stages["none.a1_black_box.pairs=12.search"].config["candidates"]["late"]["networks"]
    assert networks == {"decoder": "${none.pairs=12.a1_decoder}/epoch=1.ckpt"}


def test_what_no_attack_needs_is_not_made() -> None:
    """Protecting further images is the costliest stage there is."""
    names = set(plan_of(adaptive_study()).stages)
    assert "none.public" in names  # for A1
    assert not names & {"noise.sigma=0.5.public", "noise.sigma=0.5.again", "a1_decoder"}


def test_epochs_and_countermeasures_are_attacks_of_their_own() -> None:
    plan = plan_of(adaptive_study())
    first = plan.stages["none.a1_black_box.epoch=0"]
    assert first.config["networks"] == {"decoder": "${none.a1_decoder}/epoch=0.ckpt"}
    assert plan.labels["none.a1_black_box.epoch=0.measure"]["epoch"] == 0
    assert "epoch" not in plan.labels["none.black_box.measure"]

    shuffled = plan.stages["noise.sigma=1.0.a3_matched.shuffle"]
    average = plan.stages["noise.sigma=1.0.matched-2.shuffle"]
    assert shuffled.config["features"] == "${noise.sigma=1.0.matched-2.shuffle}/features"
    stores = ["${noise.sigma=1.0}/features", "${noise.sigma=1.0.again}/features"]
    assert average.config["features"] == stores
    assert plan.labels["noise.sigma=1.0.a3_matched.shuffle.measure"]["countermeasure"] == "shuffle"
    measured = plan.stages["noise.sigma=1.0.a3_matched.shuffle.measure"]
    assert measured.config["features"] == "${noise.sigma=1.0}/features"  # what the user released


def test_attackers_of_one_defence_may_have_another_network_under_the_same_name() -> None:
    """Else its attack would have a name of its own, and no defence could be compared under both."""
    study = adaptive_study()
    study["fits"]["a1_other"] = study["fits"]["a1_decoder"]
    study["defences"]["blur"] = {
        "model": model("Undefended", target="${target}"),
        "instead": {"a1_decoder": "a1_other"},
    }
    study["attacks"]["a1_black_box"]["against"] = ["blur", "none"]
    stages = plan_of(study).stages
    attack = next(stage for name, stage in stages.items() if name.startswith("blur.a1_black_box.epoch"))
    assert "blur.a1_other" in attack.config["networks"]["decoder"]
    assert "none.a1_decoder" in stages
    assert "blur.a1_decoder" not in stages
    study["defences"]["blur"]["instead"] = {"a1_decoder": "nowhere"}
    with pytest.raises(ValueError, match="instead names 'nowhere'"):
        plan_of(study)


def test_a_replaced_encoder_gets_attackers_of_its_own_all_the_way_down() -> None:
    study = adaptive_study()
    study["defences"]["blur"] = {"model": model("Undefended", target="${target}"), "replaces": "target"}
    study["attacks"]["a1_black_box"]["against"] = ["blur"]
    stages = plan_of(study).stages

    tuned = stages["blur.a1_decoder"].config["model"]["init_args"]
    assert tuned["start"] == "${blur.decoder}"
    assert stages["blur.decoder"].config["model"]["init_args"]["encoder"] == "${blur}"
    assert "classifier" in ancestors(stages, ["blur.a1_black_box.epoch=1.measure"])


def test_networks_are_the_same_however_many_images_are_protected() -> None:
    few, all_ = adaptive_study(), adaptive_study()
    few["data"] = overlay(DATA, {"init_args": {"predict_limit": 2}})
    few, all_ = keys_of(few), keys_of(all_)
    for name in ("data", "target", "decoder", "classifier"):
        assert few[name] == all_[name], name
    for name in ("noise.sigma=1.0", "noise.sigma=1.0.again"):
        assert few[name] != all_[name], name


def test_in_development_each_defence_has_its_own_head() -> None:
    study = adaptive_study() | {"scenario": "development"}
    study["queries"]["crowd"] = {"data": {"predict_role": "private_train"}}
    study["fits"] |= {
        "head": {
            "model": model("HeadTraining", encoder="${defence}", n_outputs=17),
            "data": {
                "class_path": "datamodules.CrowdsourcedFeatures",
                "init_args": {"features": "${crowd}/features"},
            },
        },
        "public_head": {"model": model("HeadTraining", encoder="${target}", n_outputs=17)},
    }
    study["measure"] = {"head": "${head}"}
    study["defences"]["public_only"] = {
        "model": model("Undefended", target="${target}"),
        "head": "${public_head}",
        "attacked": False,
    }
    plan = plan_of(study)
    assert plan.stages["none.black_box.measure"].config["head"] == "${none.head}"
    utility = plan.stages["public_only.measure"]
    assert utility.config["head"] == "${public_head}"
    assert utility.config["reconstructions"] is None
    assert plan.labels["public_only.measure"]["attack"] == "none"
    assert not [name for name in plan.stages if name.startswith("public_only.") and name != utility.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"adaptive": "none"}, r"a3_matching_each: `again` reads several queries.*say adaptive: A3"),
        (
            {"averaging": {"queries": ["again"]}},
            r"a3_matching_each: `again` takes the mean .* leave one of them out",
        ),
        ({"again": ["agian"]}, "agian"),
    ],
)
def test_mistakes_in_what_reads_several_queries_are_named(change: dict[str, Any], message: str) -> None:
    study = adaptive_study()
    study["identifications"]["a3_matching_each"] |= change
    with pytest.raises(ValueError, match=message):
        plan_of(study)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": [0, 7]}, r"epoch 7 of .* is not kept; its fit keeps \[0, 1\]"),
        ({"networks": {"decoder": "${decoder}"}}, "needs a network whose fit has `keep`"),
        (
            {"networks": {"decoder": "${decoder}"}, "epochs": [], "pairs": [5]},
            "a1_black_box: pairs needs networks that learn from the ProtectedPairs of one query, not of 0",
        ),
        ({"averaging": {"query": ["again"]}}, "unknown key 'query'"),
        ({"averaging": {"queries": ["agian"]}}, "agian"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    study = adaptive_study()
    study["attacks"]["a1_black_box"] |= change
    with pytest.raises(ValueError, match=message):
        plan_of(study)


def test_two_stages_of_one_name_are_refused() -> None:
    """Else the averages of one attack's queries would be taken for those of another's."""
    study = adaptive_study()
    study["queries"]["later"] = {"query": 2}
    other = {"averaging": study["attacks"]["a3_matched"]["averaging"] | {"queries": ["later"]}}
    study["attacks"]["a3_later"] = study["attacks"]["a3_matched"] | other
    with pytest.raises(ValueError, match=r"two different stages are called none.matched-2.none"):
        plan_of(study)


def test_a_configuration_extends_another_and_says_only_what_is_new(tmp_path: Path) -> None:
    write(adaptive_study(), tmp_path / "base.yaml")
    over = {
        "extends": "base.yaml",
        "seed": 3,
        "attacks": {"a3_matched": None, "a1_black_box": {"epochs": [1]}},
    }
    config = load(write(over, tmp_path / "over.yaml"))
    assert config.seed == 3
    assert set(config.attacks) == {"black_box", "a1_black_box", "through_head"}
    assert config.attacks["a1_black_box"].epochs == [1]
    assert config.attacks["a1_black_box"].adaptive == "A1"

    write({"extends": "over.yaml"}, tmp_path / "base.yaml")
    with pytest.raises(ValueError, match="a file cannot extend itself"):
        load(tmp_path / "over.yaml")


@pytest.mark.slow
def test_an_adaptive_study_runs_and_shares_its_artifacts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All kinds of stages run, and a study in another folder that shares the artifacts redoes none."""
    study = adaptive_study() | {"measure": {"again": "${again}"}}
    config, shared = write(study, tmp_path / "tiny.yaml"), str(tmp_path / "shared")
    assert carry_out.run(config, tmp_path / "study", shared, try_first=False) == 0

    rows = pd.read_csv(tmp_path / "study" / "results.csv")
    a1 = rows[(rows["attack"] == "a1_black_box") & (rows["restart"].astype(str) == "best")]
    assert set(zip(a1["queries"], a1["curve_only"], strict=True)) == {(12, True), (20, False)}
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Over the number of queries (A1)" in page
    figures = {path.name for path in (tmp_path / "study" / "figures").glob("queries-*.png")}
    assert figures == {"queries-a1_black_box-noise.png", "queries-linkage-noise.png"}
    curve = a1[~a1["curve_only"]]
    assert sorted(zip(curve["defence"], curve["epoch"], strict=True)) == [
        ("noise", 0),
        ("noise", 1),
        ("none", 0),
        ("none", 1),
    ]
    assert set(rows[rows["attack"] == "a3_matched"]["countermeasure"]) == {"none", "shuffle"}
    assert set(rows[rows["attack"] == "exposure_features"]["oracle"]) == {"itself"}
    averaged = rows[rows["attack"] == "a3_linkage"].set_index("countermeasure")
    assert list(averaged.index) == ["none", "shuffle"]
    assert set(averaged["adaptive"]) == {"A3"}
    few, linked = rows[rows["attack"] == "linkage"].sort_values("queries").to_dict("records")
    assert (few["queries"], linked["queries"]) == (12, 20)
    assert (linked["oracle"], linked["adaptive"]) == ("classifier", "A1")
    assert linked["clean_acc"] == rows[rows["attack"] == "black_box"]["clean_acc"].iloc[0]
    assert set(rows[rows["attack"] == "through_head"]["defence"]) == {"noise"}
    for point, group in rows.groupby(["defence", "strength"], dropna=False):
        counted = group[~group["adaptive"].isin(["exposure"]) & (group["countermeasure"] != "shuffle")]
        counted = counted[~counted["curve_only"]]
        if "union" in set(counted["attack"]):
            (union,) = counted[counted["attack"] == "union"]["eval_acc"]
            assert union >= counted["eval_acc"].where(counted["oracle"] == "classifier").max(), point
    assert set(rows[rows["attack"] == "union"]["defence"]) == {"none", "noise"}
    assert rows["floor"].between(rows["floor_lo"], rows["floor_hi"]).all(), "beside every row of its point"
    assert (rows.loc[rows["defence"] == "none", "turned"] == 0).all(), "nothing turns what nobody defends"
    assert rows.loc[rows["defence"] != "none", "turned"].gt(0).any()
    assert "decisions turned" in (tmp_path / "study" / "report.html").read_text()
    assert rows["floor_attributes"].nunique() == 1, "what is true does not depend on a defence"
    summary = pd.read_csv(tmp_path / "study" / "summary.csv")
    assert "union" not in set(summary["worst_attack"])
    stages = json.loads((tmp_path / "study" / "plan.json").read_text())
    folders = [tmp_path / "study" / stage["folder"] for stage in stages]
    assert all((folder / "stage.json").is_file() for folder in folders)

    capsys.readouterr()
    assert carry_out.run(config, tmp_path / "other", shared, dry_run=True, try_first=False) == 0
    shown = capsys.readouterr().out
    assert "0 of" in shown.splitlines()[-1], shown


def test_a_judge_of_ones_own_needs_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """One whose weights are named and are not there is left out; one that needs none is not."""
    study = adaptive_study()
    study["oracles"] |= {
        "own": model("OwnOracle", make="torch.nn.Flatten"),
        "dlib": model("DlibOracle", weights="no/such/file.dat"),
    }
    oracles = plan_of(study).stages["none.black_box.measure"].config["oracles"]
    assert list(oracles) == ["classifier", "own"]
    assert "oracles.dlib is left out: no/such/file.dat does not exist" in capsys.readouterr().err
