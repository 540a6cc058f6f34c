"""Keys and order of stages: what may be reused and what must be computed again."""

from __future__ import annotations

import dataclasses

import pytest

from experiments.study.stages import Stage, ancestors, descendants, keys, ordered, substitute


def stage(name: str, *inputs: str, **identity: object) -> Stage:
    references = [f"${{{other}}}" for other in inputs]
    return Stage(name, "fit", {"inputs": references}, {"inputs": references, **identity})


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


def test_the_order_of_arguments_and_the_configuration_outside_the_identity_do_not_change_a_key() -> None:
    first = Stage("target", "fit", {"devices": 1}, {"a": 1, "b": 2})
    second = Stage("target", "fit", {"devices": 2}, {"b": 2, "a": 1})
    assert keys({"target": first}) == keys({"target": second})


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
