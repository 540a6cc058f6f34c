"""Keys and order of stages: what may be reused and what must be computed again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_adaptive_study import adaptive_study
from tiny_study import DATA, model

from experiments.study.config import parse
from experiments.study.keys import Stage, ancestors, descendants, ordered, substitute
from experiments.study.keys import keys as stage_keys
from experiments.study.plan import Plan
from experiments.what_counts import NO_NUMBER, TRAINING, Numbers


def stage(name: str, *inputs: str, **config: object) -> Stage:
    return Stage(name, "fit", {"inputs": [f"${{{other}}}" for other in inputs], **config})


def keys(stages: Mapping[str, Stage]) -> dict[str, str]:
    return stage_keys(stages, lambda section: "the data")


class Attack:
    """A class that a configuration names; its argument is new, and listed nowhere."""

    def __init__(self, novelty: int = 0) -> None:
        self.novelty = novelty


def attack(**init_args: object) -> Stage:
    named = {"class_path": f"{__name__}.Attack", "init_args": init_args}
    return Stage("attack", "attack", {"attack": named, "features": "here"})


CHAIN = [
    stage("attack", "defence", "prior"),
    stage("defence", "target"),
    stage("prior"),
    stage("target", lr=0.1),
]


def test_stages_come_after_what_they_build_on() -> None:
    order = list(ordered(CHAIN))
    assert order.index("target") < order.index("defence") < order.index("attack")
    assert order.index("prior") < order.index("attack")


def test_a_change_renames_the_stage_and_everything_after_it_and_nothing_else() -> None:
    before = keys(ordered(CHAIN))
    after = keys(ordered([*CHAIN[:3], stage("target", lr=0.2)]))
    assert {name for name in before if before[name] != after[name]} == {"target", "defence", "attack"}


def test_the_order_of_entries_does_not_change_a_key() -> None:
    first, second = Stage("target", "fit", {"a": 1, "b": 2}), Stage("target", "fit", {"b": 2, "a": 1})
    assert keys({"target": first}) == keys({"target": second})


def test_an_argument_that_nobody_has_heard_of_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a study would take the numbers of the old value for those of the new one."""
    before = keys({"attack": attack(novelty=1)})
    assert before != keys({"attack": attack(novelty=2)})
    monkeypatch.setattr(Attack, "VERSION", 2, raising=False)
    assert before != keys({"attack": attack(novelty=1)})


def test_a_commands_version_is_in_the_key_of_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys({"attack": attack()})
    monkeypatch.setattr("experiments.attack.VERSION", 99)
    assert before != keys({"attack": attack()})


def test_what_is_left_out_of_a_commands_configuration_counts_as_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that is given another default, or a new argument, computes something else than before."""
    before, written = attack(), attack()
    written = dataclasses.replace(written, config={**written.config, "seed": 0})
    assert keys({"attack": before}) == keys({"attack": written})
    key = keys({"attack": before})

    def run(features: str, attack: dict[str, Any], seed: int = 0, novelty: int = 3) -> None: ...

    monkeypatch.setattr("experiments.attack.run", run)
    assert keys({"attack": before}) != key


def test_an_argument_that_a_defence_gained_is_in_the_key_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has told the plan of it; left out, it counts as its default."""
    lines = """
from lightning_modules import Undefended
class Novel(Undefended):
    def __init__(self, target: str, novelty: float = 1.0, seed: int = 0, query: int = 0):
        super().__init__(target, seed, query)
"""
    (tmp_path / "novel.py").write_text(lines)
    monkeypatch.syspath_prepend(tmp_path)

    def key(**init_args: object) -> str:
        study = adaptive_study()
        study["defences"]["novel"] = {"model": model("novel.Novel", target="${target}", **init_args)}
        plan = Plan(parse(study, "test"))
        return stage_keys(plan.stages, plan.data.fingerprint)["novel"]

    assert key() == key(novelty=1) != key(novelty=2)


def test_the_store_that_a_network_is_trained_on_is_in_its_key() -> None:
    """By its stage's key, and a folder that somebody names by hand by its name."""
    pairs = {"class_path": "datamodules.ProtectedPairs", "init_args": {"data": DATA}}

    def key(features: str) -> str:
        section = {**pairs, "init_args": {**pairs["init_args"], "features": features}}
        return keys({"fit": Stage("fit", "fit", {"data": section})})["fit"]

    assert key("here") != key("there")


def test_a_file_counts_by_its_content(tmp_path: Path) -> None:
    file, copy = tmp_path / "weights.pt", tmp_path / "elsewhere.pt"
    file.write_text("weights")
    copy.write_text("weights")
    before = keys({"attack": attack(weights=str(file))})
    assert before == keys({"attack": attack(weights=str(copy))})
    file.write_text("other weights")
    assert before != keys({"attack": attack(weights=str(file))})


def test_a_text_may_be_longer_than_a_path() -> None:
    """What a face service is asked is one."""
    assert keys({"attack": attack(question="x" * 300)}) != keys({"attack": attack(question="x" * 5000)})


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all entries of a nested structure that hold no further ones."""
    if not isinstance(value, Mapping | list):
        yield path
        return
    for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from leaves(item, (*path, name))


def changed(config: Mapping[str, Any], path: tuple[str | int, ...]) -> Mapping[str, Any]:
    copy = deepcopy(dict(config))
    *outer, last = path
    place: Any = copy
    for name in outer:
        place = place[name]
    place[last] = another(place[last])
    return copy


def another(value: Any) -> Any:
    """A value of the same type where that matters: what a datamodule would take, too."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.5
    return {"public": "private_test", "private_train": "public"}.get(value, "changed")


def listed(stage: Stage, path: tuple[str | int, ...]) -> bool:
    """Whether the table in what_counts.py says that what is here is no number."""
    if path[0] == "trainer":
        untrained = stage.name in ("none", "noise.sigma=0.5", "noise.sigma=1.0") or stage.command == "protect"
        return path[1] in NO_NUMBER["trainer"] or (untrained and path[1] in TRAINING)
    return path[0] in NO_NUMBER.get(stage.command, ()) or any(
        a == "init_args" and b in NO_NUMBER["init_args"] for a, b in pairwise(path)
    )


def test_whatever_a_stage_is_configured_with_is_in_its_key_or_in_the_list() -> None:
    """A forgotten entry is a stale cache: each is changed in turn, in every kind of stage."""
    plan = Plan(parse(adaptive_study(), "test"))
    seen: set[str] = set()
    for stage in plan.stages.values():

        def numbers(config: Mapping[str, Any], command: str = stage.command) -> dict[str, Any]:
            return Numbers(command, plan.data.fingerprint).of(config)

        before = numbers(stage.config)
        for path in leaves(stage.config):
            what = f"{stage.command} {'.'.join(map(str, path))} {stage.config.get('model', {})}"
            if path[-1] == "class_path" or what in seen:
                continue  # no class is called "changed"; and once is enough of what stages have in common
            seen.add(what)
            same = numbers(changed(stage.config, path)) == before
            assert same == listed(stage, path), (stage.name, path)
    assert len(seen) > 100


def test_another_seed_of_the_data_changes_the_keys_of_all_that_read_it_and_its_folder_none() -> None:
    def found(**init_args: object) -> dict[str, str]:
        study = adaptive_study()
        study["data"] = {**study["data"], "init_args": study["data"]["init_args"] | init_args}
        plan = Plan(parse(study, "test"))
        return stage_keys(plan.stages, plan.data.fingerprint)

    before = found()
    assert found(num_workers=1) == before
    assert not set(before.values()) & set(found(seed=5).values())


@pytest.mark.parametrize(
    ("callback", "counts"),
    [
        ("pytorch_lightning.callbacks.EarlyStopping", True),
        ("callbacks.ImageGrid", True),  # it draws
        ("callbacks.TimeLeft", False),
        ("pytorch_lightning.callbacks.LearningRateMonitor", False),
        ("pytorch_lightning.callbacks.TQDMProgressBar", False),
    ],
)
def test_a_callback_that_may_change_numbers_is_in_the_key(callback: str, counts: bool) -> None:
    """A training that ended early would be taken for the whole one."""

    def key(callbacks: object) -> str:
        trainer = {"max_epochs": 1, "callbacks": callbacks}
        config = {"trainer": trainer, "model": model("TargetNetwork", n_outputs=17)}
        return keys({"fit": Stage("fit", "fit", config)})["fit"]

    assert (key([{"class_path": callback}]) != key(None)) == counts


def test_a_guess_of_the_time_does_not_change_a_key() -> None:
    target = stage("target", lr=0.1)
    assert keys({"target": target}) == keys({"target": dataclasses.replace(target, minutes=3.0)})


def test_an_unknown_reference_is_named() -> None:
    with pytest.raises(ValueError, match=r"stage attack refers to '\$\{priro\}'"):
        ordered([stage("attack", "priro")])


def test_a_circle_is_named() -> None:
    with pytest.raises(ValueError, match=r"circle: .*first.*second"):
        ordered([stage("first", "second"), stage("second", "first")])


def test_ancestors_and_descendants() -> None:
    stages = ordered(CHAIN)
    assert ancestors(stages, ["defence"]) == {"defence", "target"}
    assert descendants(stages, ["target"]) == {"target", "defence", "attack"}


def test_substitution_reaches_nested_values_and_parts_of_strings() -> None:
    value = {"a": ["${x}/features", 3], "b": {"c": "${y}"}}
    assert substitute(value, {"x": "X", "y": "Y"}.__getitem__) == {"a": ["X/features", 3], "b": {"c": "Y"}}


@pytest.mark.parametrize("argument", ["answers", "again"])
def test_an_argument_that_came_later_counts_where_it_says_something(argument: str) -> None:
    """Else every measurement of every study would be made again for a column that most do not have."""
    numbers = Numbers("measure", lambda section: None)
    assert argument not in numbers.of({argument: None}) | numbers.of({})
    assert numbers.of({argument: "artifacts/public"})[argument] == "artifacts/public"
