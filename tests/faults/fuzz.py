"""Damaged files of every kind that is read from others: each is read, or refused with a sentence."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path

import yaml
from every_module import TARGET
from tiny_study import model

from experiments import attack, average, fit, measure, protect
from experiments.errors import ends_in_sentences
from experiments.folder import refuse_another
from experiments.human_study.answers import Key, read_answers
from experiments.report.results import gather
from experiments.study.carry_out import planned
from facecrafter.store import TensorStore
from faults.files import label_files, mutated, try_labels, try_pictures
from faults.subjects import PEOPLE, TRAINED, study

Use = Callable[[Path], object]
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = (
    *("[" * 100_000, "{" * 100_000, '{"a":' * 50_000, "- " * 5_000, BOMB, "&a [*a]", "? {a: b}", "<<: *x"),
    *('{"batches": 200000000}', "1e999", "NaN", "", "\0", "null", "[]", "3", "'", "9" * 5_000),
    "!!python/object/apply:os.system [echo]",
)
"""Documents that nobody writes by accident."""
PLACES = ("200000000", "-1", "1e999", "NaN", "null", "[]", "{}", '"../../x"', "true", '"\\u0000"', "1.5")
"""What stands in place of a number or a word."""


class Parsed(Exception):
    """A configuration was read to its end."""


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A document with accidents, a value exchanged, or another document altogether."""
    lot = rng.random()
    if lot < 0.1:
        return rng.choice(HOSTILE).encode()
    if lot < 0.4:
        words = content.split(b" ")
        words[rng.randrange(len(words))] = rng.choice(PLACES).encode()
        return b" ".join(words)
    return mutated(content, rng)


def attempts(path: Path, use: Use, times: int, rng: random.Random) -> Iterator[str]:
    """What came of each reading of the damaged file: 'read', 'refused', or what is wrong with the refusal."""
    content = path.read_bytes()
    for _ in range(times):
        text = damaged(content, rng)
        path.write_bytes(text)
        try:
            use(path)
        except (ValueError, FileNotFoundError) as error:
            named = str(path.parent) in str(error) and len(str(error)) < 20_000
            yield "refused" if named else f"no sentence about {path.name} ({text[:80]!r}): {error!s:.300}"
        except Exception as error:
            yield f"{path.name} ({text[:80]!r}): {error!r:.300}"
        else:
            yield "read"
    path.write_bytes(content)


def documents(folder: Path, finished: Path) -> Iterator[tuple[str, Path, Use]]:
    """Every kind of JSON and YAML that is read from others, each with its reader.

    Args:
        finished: a study's folder.
    """
    store = TensorStore.open(next(finished.glob("artifacts/none-*/features")))
    yield "meta.json", store.path / "meta.json", lambda path: TensorStore.open(path.parent).missing()
    results = next(finished.glob("artifacts/*.measure-*"))
    (results / "stage.json").write_text("{}")  # no checksums: only the readers themselves are tried
    for name in ("results.json", "columns.json"):
        yield name, results / name, lambda path: gather(finished)
    yield "stage.json", results / "stage.json", lambda path: gather(finished)
    for name in ("plan.json", "study.yaml"):
        (finished / f"{name}.sha256").unlink()
        yield name, finished / name, lambda path: gather(finished)
    fitted = next(finished.glob("artifacts/target-*")) / "fingerprint.json"
    content = json.loads(fitted.read_text())["content"]
    yield "fingerprint.json", fitted, lambda path: refuse_another(path.parent, content)
    key = folder / "key.json"
    Key("poll", ["A", "none", "C", "B", "D"], [3, 5, 7, 9, 11], {"study": "tiny"}).write(key)
    yield "key.json", key, lambda path: Key.read(path).truth
    answers = folder / "answers.json"
    right = {"schema": 1, "poll": "poll", "participant": "P1", "answers": ["A", "none", "C", "B", "D"]}
    answers.write_text(json.dumps(right, indent=1))
    yield "answers", answers, lambda path: read_answers([path], Key.read(key))
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(study(), sort_keys=False))
    yield "a study's YAML", config, planned
    yield from _commands(folder)


def _commands(folder: Path) -> Iterator[tuple[str, Path, Use]]:
    """The YAML of single commands, read as far as their arguments."""
    line = folder / "fit.yaml"
    content = {"trainer": TRAINED, "model": model("TargetNetwork", **TARGET), "data": PEOPLE, "output": "x"}
    line.write_text(yaml.safe_dump(content, sort_keys=False))
    yield "a fit's YAML", line, _parsed(fit.main)
    store, artifact = {"features": "a/features"}, {"defence": "a"}
    black_box = {"attack": {"class_path": "facecrafter.attacks.BlackBox"}, "networks": {"decoder": "b"}}
    contents = {
        attack: store | artifact | black_box | {"seed": 3, "output": "x"},
        average: {"features": ["a", "b"], "matching": "plain", "seed": 3, "output": "x"},
        protect: artifact | {"data": PEOPLE, "query": 1, "output": "x"},
        measure: store
        | artifact
        | {"data": PEOPLE, "labels": {"defence": "none", "epoch": 3}, "output": "x"},
    }
    for command, content in contents.items():
        name = command.__name__.rpartition(".")[2]
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        yield f"the YAML of {name}", path, _parsed(command.main)


def _parsed(main: Callable[[list[str]], object]) -> Use:
    def use(path: Path) -> None:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                ends_in_sentences(main)(["--config", str(path)])
        except Parsed:
            return
        except SystemExit as stop:
            if stop.code == 0:
                return
            words = f"{said.getvalue()}{stop.code}"
            if "error:" not in words:
                raise RuntimeError(f"no word of what is wrong: {words[-300:]}") from None
            # One configuration was named, so what its parser says (code 2) is said of it.
            raise ValueError(f"{path}: {words[-2000:]}" if stop.code == 2 else words) from None

    return use


@contextlib.contextmanager
def only_parsing() -> Iterator[None]:
    """The commands end when they know their arguments."""

    def stopping(run: Callable[..., None]) -> Callable[..., None]:
        @wraps(run)  # whose arguments are parsed
        def stop(*_: object, **__: object) -> None:
            raise Parsed

        return stop

    commands = (attack, average, measure, protect)
    before = [command.run for command in commands], fit.FitCLI.before_instantiate_classes
    fit.FitCLI.before_instantiate_classes = stopping(before[1])  # type: ignore[method-assign]
    for command in commands:
        command.run = stopping(command.run)
    try:
        yield
    finally:
        fit.FitCLI.before_instantiate_classes = before[1]  # type: ignore[method-assign]
        for command, run in zip(commands, before[0], strict=True):
            command.run = run


def fuzz(folder: Path, finished: Path, times: int, seed: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Damage files so often: three in ten label files, three pictures, four documents, kind after kind.

    Returns:
        How many of each kind were read and how many refused; and what went wrong.
    """
    rng, found, wrong = random.Random(seed), {}, []
    share = 3 * times // 10
    found["label files"] = Counter(try_labels(label_files(folder / "sets"), share, seed))
    found["pictures"] = Counter(try_pictures(folder, share, seed))
    kinds = list(documents(folder, finished))
    left = times - 2 * share
    with only_parsing():
        for number, (name, path, use) in enumerate(kinds):
            some = left * (number + 1) // len(kinds) - left * number // len(kinds)
            outcomes = Counter[str]()
            use(path)  # undamaged, it is read
            for outcome in attempts(path, use, some, rng):
                outcomes[outcome if outcome in ("read", "refused") else "wrong"] += 1
                if outcome not in ("read", "refused"):
                    wrong.append(outcome)
            found[name] = outcomes
            print(f"{name}: {dict(outcomes)}", flush=True)
    return found, wrong
