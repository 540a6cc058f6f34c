"""What a study's YAML may not say is named: file, place, what was found and what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import tiny_study

from experiments.study.config import load, parse
from experiments.study.layers import layers, read

DEFENCE = {"model": {"class_path": "lightning_modules.Undefended"}}


def with_value(place: str, value: Any) -> dict[str, Any]:
    """The tiny study with `value` at `place`, such as 'fits/target/keep'."""
    study = tiny_study()
    *outer, last = place.split("/")
    section = study
    for part in outer:
        section = section[part]
    section[last] = value
    return study


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("jobs", "two", "jobs is 'two', but should be a whole number, such as 2"),
        ("jobs", True, "jobs is True, but should be a whole number"),
        ("jobs", 0, "jobs is 0, but should be greater than or equal to 1"),
        ("seed", 1.5, "seed is 1.5, but should be a whole number"),
        ("defences/blur/attacked", "no", "defences.blur.attacked is 'no', but should be true or false"),
        ("fits/target/keep", "all", "fits.target.keep is 'all', but should be a list"),
        ("fits/target/minutes", "5", "fits.target.minutes is '5', but should be a number"),
        ("fits/target/memory", -1, "fits.target.memory is -1, but should be greater than or equal to 0"),
        ("attacks/black_box/epochs", 10, "attacks.black_box.epochs is 10, but should be a list"),
        ("attacks/black_box/against", "none", "attacks.black_box.against is 'none', but should be a list"),
        ("attacks/black_box/adaptive", "a1", "should be 'none', 'A1', 'A2', 'A3' or 'exposure'"),
        (
            "defences/noise/strengths/sigma",
            1.0,
            "defences.noise.strengths.sigma is 1.0, but should be a list",
        ),
        ("defences/noise/strengths/sigma", [], "should be a list of at least one value"),
        ("defences/noise/strengths/sigma", ["a/b"], "defences.noise.strengths.sigma[0] is 'a/b', but should"),
        (
            "defences/noise/strengths/sigma",
            [1, ".."],
            "defences.noise.strengths.sigma[1] is '..', but should",
        ),
        ("name", 2024, 'name is 2024, but should be text (in quotes where YAML reads something else: "2024"'),
        ("name", "", "name is '', but should be made of letters"),
        ("name", "../other", "name is '../other', but should be made of letters"),
        ("name", "a/b", "name is 'a/b', but should be made of letters"),
        ("name", "a\x00b", "name is 'a\\x00b', but should be made of letters"),
        ("name", "a\nb", "name is 'a\\nb', but should be made of letters"),
        ("name", "a" * 61, "but should be of at most 60 letters"),
        ("name", "NUL.txt", "name is 'NUL.txt', but should be another name"),
        ("name", "e\u0301", "but should be made of letters"),
        ("queries", {"..": {}}, "queries: the name '..' should be made of letters"),
        ("attacks/con", {"class_path": "a.B"}, "attacks: the name 'con' should be another name"),
        ("defences/" + "a" * 61, DEFENCE, "should be of at most 60 letters"),
        ("defences/noise/strengths/sigma", [float("nan")], "sigma[0] is nan, but should be a finite number"),
        ("defences/noise/strengths/sigma", ["a" * 61], "a short name of letters"),
        ("defences/noise/strengths/sigma", [10**70], "a short name of letters"),
        ("defences/noise/strengths/a\tb", [1], "defences.noise.strengths: the name 'a\\tb' should be made"),
        ("defences/a.b", DEFENCE, "defences: the name 'a.b' should be made of letters"),
        ("fits", None, "fits is empty, but should be a mapping"),
        ("fits/target", None, "fits.target is empty, but should be a mapping with some of the keys"),
        ("measure", None, "measure is empty, but should be a mapping with some of the keys"),
        ("data", "faces", "data is 'faces', but should be a mapping"),
        ("fits/target/model", {"class": "x"}, "should be {class_path: package.Class, init_args"),
        ("oracles/other", 3, "oracles.other is 3, but should be '${fit}', or class_path and init_args"),
        ("atacks", {}, "unknown key 'atacks', perhaps 'attacks'; the keys are attacks, data,"),
        ("fits/target/keeep", [1], "fits.target: unknown key 'keeep', perhaps 'keep'"),
        ("scenario", "dev", "scenario is 'dev', but should be 'deployment' or 'development'"),
        ("attacks", {}, "attacks is empty; a study needs at least one"),
        ("defences/target", DEFENCE, "the name 'target' is used twice"),
        ("defences", {"noise": DEFENCE}, "defences needs 'none'"),
    ],
)
def test_a_mistake_is_one_sentence(place: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below, not as a pattern
        parse(with_value(place, value), "mine.yaml")
    said = str(error.value)
    assert said.startswith("mine.yaml: ")
    assert sentence in said
    assert "\n" not in said


def test_a_name_that_yaml_reads_as_false_is_named(tmp_path: Path) -> None:
    text = yaml.safe_dump(with_value("defences/quiet", DEFENCE)).replace("quiet:", "off:")
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ValueError, match=r'study\.yaml: defences: the name False should be text .*"off"'):
        load(tmp_path / "study.yaml")


def test_all_mistakes_are_listed() -> None:
    study = with_value("jobs", "two") | {"seed": "one"}
    del study["fits"]
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below, not as a pattern
        parse(study, "mine.yaml")
    first, *others = str(error.value).split("\n")
    assert first == "mine.yaml has 3 mistakes:"
    found = [sentence.split()[:4] for sentence in others]
    assert found == [
        ["mine.yaml:", "the", "key", "'fits'"],
        ["mine.yaml:", "seed", "is", "'one',"],
        ["mine.yaml:", "jobs", "is", "'two',"],
    ]


def test_the_file_that_says_it_is_named(tmp_path: Path) -> None:
    """A study is made of several files; the mistake is to be mended in one of them."""
    write(tmp_path, {"size": with_value("fits/target/keep", "all"), "study": {"extends": "size.yaml"}})
    with pytest.raises(ValueError, match=r"^\S+size\.yaml: fits\.target\.keep is 'all'"):
        load(tmp_path / "study.yaml")


def test_every_number_is_read_as_a_number(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-5 as text."""
    (tmp_path / "a.yaml").write_text("[1e-5, 1.0e-5, 2E3, -1e+2, .5e1, 1e, e5, '1e-5']")
    assert read(tmp_path / "a.yaml") == [1e-5, 1e-5, 2000.0, -100.0, 5.0, "1e", "e5", "1e-5"]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Else the first is lost without a word."""
    (tmp_path / "a.yaml").write_text("defences:\n  noise: 1\n  noise: 2\n")
    with pytest.raises(ValueError, match=r"a\.yaml is not valid YAML: the key 'noise' stands twice"):
        read(tmp_path / "a.yaml")


def write(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    for name, content in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))


def test_files_are_laid_over_each_other_in_order(tmp_path: Path) -> None:
    files = {
        "sizes/small": {"a": 1, "b": {"x": 1, "y": 1, "z": 1}},
        "scenarios/attacks": {"a": 2, "b": {"y": 2}, "c": 2},
        "study": {"extends": ["sizes/small.yaml", "scenarios/attacks.yaml"], "b": {"z": None}, "c": 3},
    }
    write(tmp_path, files)
    assert read(tmp_path / "study.yaml") == {"a": 2, "b": {"x": 1, "y": 2}, "c": 3}


def test_a_null_that_takes_nothing_away_is_named(tmp_path: Path) -> None:
    """Whoever misspells the key believes that it is gone."""
    files = {
        "base": tiny_study(),
        "study": {"extends": "base.yaml", "fits": {"decoder": {"data": None}, "target": None}, "jbos": None},
    }
    write(tmp_path, files)
    with pytest.raises(ValueError, match=r"study\.yaml has 2 mistakes") as refusal:
        load(tmp_path / "study.yaml")
    assert "study.yaml: fits.decoder.data is null, which takes a key away, but" in str(refusal.value)
    assert "study.yaml: jbos is null, which takes a key away, but" in str(refusal.value)


def test_a_null_that_takes_nothing_from_what_an_entry_is_like_is_named(tmp_path: Path) -> None:
    study = tiny_study()
    study["fits"]["other"] = {"like": "decoder", "keep": None}
    write(tmp_path, {"study": study})
    with pytest.raises(ValueError, match=r"study\.yaml: fits\.other: keep is null, .* but decoder has no"):
        load(tmp_path / "study.yaml")


def test_a_file_that_is_reached_twice_counts_once(tmp_path: Path) -> None:
    """Else it would undo what the first of the two says over it."""
    files = {
        "base": {"a": 1, "b": 1},
        "left": {"extends": "base.yaml", "a": 2},
        "right": {"extends": "base.yaml", "b": 3},
        "study": {"extends": ["left.yaml", "right.yaml"]},
    }
    write(tmp_path, files)
    assert [layer.file.stem for layer in layers(tmp_path / "study.yaml")] == [
        "base",
        "left",
        "right",
        "study",
    ]
    assert read(tmp_path / "study.yaml") == {"a": 2, "b": 3}


def test_a_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": {"extends": ["b.yaml"]}, "b": {"extends": "a.yaml"}})
    with pytest.raises(ValueError, match=r"a\.yaml extends \S+b\.yaml extends \S+a\.yaml: a file cannot"):
        read(tmp_path / "a.yaml")


@pytest.mark.parametrize("extends", [3, [None], ""])
def test_extends_is_a_file_or_a_list_of_files(tmp_path: Path, extends: Any) -> None:
    write(tmp_path, {"a": {"extends": extends}})
    with pytest.raises(ValueError, match=r"extends is .* but should be a file or a list of files"):
        read(tmp_path / "a.yaml")


def test_a_missing_file_is_named_with_the_one_that_extends_it(tmp_path: Path) -> None:
    write(tmp_path, {"a": {"extends": "b.yaml"}})
    with pytest.raises(
        FileNotFoundError, match=r"b\.yaml: no such study configuration; \S+a\.yaml extends it"
    ):
        read(tmp_path / "a.yaml")


def test_an_entry_may_be_like_another_and_say_only_what_is_new() -> None:
    study = tiny_study()
    noise = study["defences"]["noise"]
    study["defences"]["loud"] = {"like": "noise", "strengths": {"sigma": [9]}}
    study["defences"]["louder"] = {"like": "loud", "strengths": {"sigma": None, "seed": [1]}}
    defences = parse(study, "mine.yaml").defences
    assert defences["loud"].model == noise["model"]
    assert (defences["loud"].strengths, defences["louder"].strengths) == ({"sigma": [9]}, {"seed": [1]})


@pytest.mark.parametrize(
    ("like", "sentence"),
    [
        ("nois", r"mine\.yaml: defences\.loud\.like is 'nois', which is none of .*, perhaps 'noise'"),
        ("loud", r"mine\.yaml: defences: loud is like loud"),
        (["noise"], r"defences\.loud\.like is \['noise'\], which is none of"),
    ],
)
def test_what_an_entry_cannot_be_like_is_named(like: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(with_value("defences/loud", {"like": like}), "mine.yaml")
