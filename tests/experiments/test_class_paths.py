"""A class path that is not of the kind asked for is refused before anything of it is made or called."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_study import DATA, TRAINER, model, tiny_study, write

from experiments import attack, fit, measure, protect
from experiments.classes import complete
from experiments.study.__main__ import main as study

CANARY = """
from pathlib import Path

class Canary:
    def __init__(self, mark: str = ""):
        Path(mark).touch()

def shout(mark: str = ""):
    Path(mark).touch()
"""
DEFENCES = Path(__file__).parents[1] / "external_defences"
FIT = {"trainer": TRAINER, "model": model("TargetNetwork", n_outputs=17), "data": DATA}
SOURCE = {"features": "nothing/features", "defence": "nothing"}
BLACK_BOX = {"class_path": "facecrafter.attacks.BlackBox"}
CASES: dict[str, tuple[Callable[[list[str]], Any], dict[str, Any], tuple[str, ...]]] = {
    **{
        f"fit {'.'.join(place)}": (fit.main, FIT, place)
        for place in (
            ("model",),
            ("data",),
            ("model", "init_args", "encoder"),
            ("trainer", "callbacks"),
            ("trainer", "logger"),
            ("trainer", "plugins"),
            ("trainer", "strategy"),
            ("trainer", "profiler"),
        )
    },
    "attack": (attack.main, SOURCE, ("attack",)),
    "attack's argument": (attack.main, SOURCE | {"attack": BLACK_BOX}, ("attack", "init_args", "x")),
    "measure's data": (measure.main, SOURCE, ("data",)),
    "measure's oracle": (measure.main, SOURCE | {"data": DATA}, ("oracles", "one")),
    "measure's label": (measure.main, SOURCE | {"data": DATA}, ("labels", "defence")),
    "protect's data": (protect.main, {"defence": "nothing"}, ("data",)),
    "protect's trainer": (protect.main, {"defence": "nothing", "data": DATA}, ("trainer", "logger")),
    **{
        f"study {'.'.join(place)}": (study, tiny_study(), place)
        for place in (
            ("data",),
            ("fits", "target", "model"),
            ("fits", "decoder", "data"),
            ("fits", "target", "model", "init_args", "encoder"),
            ("defences", "mask", "model"),
            ("oracles", "classifier"),
            ("attacks", "black_box"),
            ("attacks", "black_box", "init_args", "x"),
        )
    },
}


@pytest.mark.parametrize("kind", ["Canary", "shout"])
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_made_of_what_is_no_such_thing(
    case: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`class_path: os.system` with the command as its argument would otherwise be a way to run it."""
    (tmp_path / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(DEFENCES)
    monkeypatch.chdir(tmp_path)
    main, base, place = CASES[case]
    mark = tmp_path / "made"
    config = section = copy.deepcopy(base)
    for part in place[:-1]:
        section = section.setdefault(part, {})
    section[place[-1]] = {"class_path": f"canary.{kind}", "init_args": {"mark": str(mark)}}
    options = ["--dry-run"] if main is study else []
    line = ["--config", str(write(config, tmp_path / "c.yaml")), "--output", str(tmp_path / "out"), *options]
    with pytest.raises((SystemExit, ValueError, FileNotFoundError)):
        main(line)
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def test_what_only_runs_commands_is_not_even_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = {"class_path": "os.system", "init_args": {"command": f"touch {tmp_path / 'made'}"}}
    config = write({"defence": "nothing", "data": DATA, "trainer": {"x": stranger}}, tmp_path / "c.yaml")
    with pytest.raises((SystemExit, FileNotFoundError)):
        protect.main(["--config", str(config), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["a\nb", "a" * 300, "a\x7fb"])
@pytest.mark.parametrize("main", [fit.main, attack.main, protect.main, measure.main])
def test_an_output_that_is_no_name_is_refused_at_once(
    main: Callable[[list[str]], Any], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = {
        fit.main: FIT,
        attack.main: SOURCE | {"attack": BLACK_BOX},
        protect.main: {"defence": "nothing", "data": DATA},
        measure.main: SOURCE | {"data": DATA},
    }
    config = write(configs[main], tmp_path / "c.yaml")
    with pytest.raises((SystemExit, ValueError), match=r"2|the output .*(control character|too many)"):
        main(["--config", str(config), "--output", str(tmp_path / name)])
    said = capsys.readouterr().err
    assert main is not fit.main or "the output" in said
    assert list(tmp_path.iterdir()) == [config]


class Untyped:
    def __init__(self, decoder, prior, *rest, steps=3, **crafting):  # type: ignore[no-untyped-def]
        """As somebody writes it who cares for no types."""


def test_an_argument_without_a_type_is_needed_all_the_same() -> None:
    """It became None: an attack without its prior would have looked weak."""
    with pytest.raises(ValueError, match=r"attacks\.own: Untyped needs 'prior': name it"):
        complete(Untyped, {}, "attacks.own", given=["decoder"])
    assert complete(Untyped, {"prior": "p"}, "attacks.own", given=["decoder"]) == {"prior": "p", "steps": 3}
