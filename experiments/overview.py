"""The help of experiments.fit that fits on a screen: what can be fitted, with what, and where the rest is."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence

import datamodules
import lightning_modules
from lightning_modules.defences.base import Defence

WIDTH = 110
ALL = "--help_all"
USAGE = """\
usage: python -m experiments.fit --config C.yaml --output DIR [--SECTION.NAME VALUE ...]

Trains a LightningModule, and protects with it if it is a defence; goes on where it was killed.
Every key of the YAML is an option too: --trainer.max_epochs 5, --data.batch_size 32.

  --config C.yaml         the run; several, each over those before it
  --output DIR            receives everything; a folder belongs to one run
  --overwrite true        clear the folder of another run
  --seed_everything N     of everything random in training (0)
  --threads N             torch's threads per process
  --ckpt_path FILE        go on from this checkpoint; default: DIR/last.ckpt
  --keep.epochs '[0, 5]'  epochs whose weights are kept
  --print_config          the whole configuration, defaults written out; nothing runs
"""
MORE = f"""\
--model.help NAME and --data.help NAME list a class's arguments. Short names are for classes of this project;
your own have an import path: --model my_package.MyDefence.
{ALL} lists every argument of Trainer, checkpoints and sheets of images."""


def overview() -> str:
    """The whole of it."""
    return "\n".join([USAGE, models(), "", datasets(), "", MORE])


def models() -> str:
    """Our modules by short name."""
    defences = [name for name in _names(lightning_modules) if _is_defence(name)]
    others = [name for name in _names(lightning_modules) if not _is_defence(name)]
    return "\n".join(
        [
            "--model, networks and attackers:",
            *_lines(lightning_modules, others),
            "",
            "--model, defences:",
            *_lines(lightning_modules, defences),
        ]
    )


def datasets() -> str:
    """Our datamodules by short name."""
    return "\n".join(["--data:", *_lines(datamodules, _names(datamodules))])


def answer(args: Sequence[str]) -> str | None:
    """What a command line asks to be shown, None if it wants something done."""
    if {"-h", "--help"} & set(args):
        return overview()
    lists: dict[str, Callable[[], str]] = {"--model": models, "--data": datasets}
    for name, shown in lists.items():
        # The last word, without a class after it.
        if args and args[-1] in (name, f"{name}.help"):
            return shown()
    return None


def _names(package: object) -> list[str]:
    """The classes that leave nothing to those derived from them."""
    names: list[str] = package.__all__  # type: ignore[attr-defined]
    return sorted(name for name in names if not _is_abstract(getattr(package, name)))


def _is_abstract(found: type) -> bool:
    members = (getattr(found, name, None) for name in dir(found))
    return any(getattr(member, "__isabstractmethod__", False) for member in members)


def _is_defence(name: str) -> bool:
    return issubclass(getattr(lightning_modules, name), Defence)


def _lines(package: object, names: Sequence[str]) -> list[str]:
    column = max(map(len, names)) + 4
    return [f"  {name:<{column - 2}}{_first(getattr(package, name), WIDTH - column)}" for name in names]


def _first(found: type, width: int) -> str:
    """The beginning of a class's docstring, without what stands in brackets."""
    text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    sentence = re.sub(r" \([^()]*\)", "", text).split(". ")[0].removesuffix(".")
    return textwrap.shorten(sentence, width, placeholder=" …")
