"""Ask people who is on the reconstructions, and count what they recognised.

    python -m experiments.human_study make --study DIR --output DIR \\
        --defence crafter --strength beta=1 --attack white_box
    python -m experiments.human_study score --key DIR/private/key.json answers-*.json

The photographs beside the right one are of people whom its description, the attributes, fits best; with
`--fillers lot` of anybody. How many of the four a witness who has the description alone would have to choose
between (the line-up's effective size), and how often that witness would be right, is said, and is in the key
and in the scores.

`make` writes poll.html, one page that works offline and saves each participant's answers as a file, and
private/key.json, which says what is right: hand out the page alone. `score` prints who was taken for whom,
and writes confusion.csv and scores.json beside the key. A poll of `--defence none` shows what people
recognise without protection. Faces of real people are shown only if --faces says so.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from datamodules.faces import FaceDataModule
from experiments.errors import ends_in_sentences
from experiments.human_study.answers import Key, read_answers
from experiments.human_study.lineup import effective_sizes, mock_witness, named_by_description
from experiments.human_study.poll import FACES, OPTIONS, draw, page
from experiments.report.formats import percent
from experiments.report.results import LICENSED, Results, chosen_images, gather
from experiments.study.data import prepare
from facecrafter.files import checked_path, write_whole
from facecrafter.metrics import Interval, chance_test, clustered_macro_f1, clustered_share, confusion
from facecrafter.store import TensorStore

POINT = ("defence", "strength", "attack")
FAIR = 2.5
"""Photographs in effect, of four, below which a description does most of what a face would."""
SHOWN = 0.05
"""Recognition counts as shown where chance would do as well less often than this."""


def make(
    study: Path,
    point: dict[str, str],
    output: Path,
    n_questions: int,
    seed: int,
    show_faces: bool,
    by_lot: bool = False,
) -> Path:
    """Draw the poll of one defence, strength and attack; returns the page's path.

    Raises:
        ValueError: the study has no such point or too few people, or its faces may not be shown.
        FileExistsError: the output holds another poll.
    """
    checked_path(output, "the output")
    results = gather(study)
    if not (show_faces or results.config["data"]["class_path"] in LICENSED):
        raise ValueError(
            f"{study} is about real people: show their faces to participants only where the data's licence "
            "and the people allow it, and say so with --faces"
        )
    attack = _attack(results, point)
    store = TensorStore.open(results.folder(attack) / "reconstructions")
    data = prepare(results.config["data"])
    test, train = data.protected_faces(), data.faces("private_train")
    likeness = _described(data, by_lot)
    questions = draw(test.identities, train.identities, n_questions, seed, None if by_lot else likeness)
    rows = test.rows[[question.shown for question in questions]]
    made = page(
        chosen_images(store, rows),
        torch.stack([train.images(question.faces) for question in questions]),
    )
    labels = {"study": results.config["name"], **point, "stage": attack, "seed": seed}
    labels["fillers"] = "lot" if by_lot else "matched"
    if likeness is not None:
        people = train.identities[torch.tensor([question.faces for question in questions])]
        described = likeness[[question.shown for question in questions]]
        places = torch.tensor([question.right for question in questions])
        labels["effective_size"] = round(effective_sizes(described, people).mean().item(), 3)
        labels["named_by_description"] = round(named_by_description(described, people, places), 3)
        for line in _line_up(labels):
            print(line, file=sys.stderr)
    right = [OPTIONS[question.right] for question in questions]
    Key(made.poll, right, rows.tolist(), labels).write(output / "private" / "key.json")
    path = output / "poll.html"
    write_whole(path, made.html)
    return path


def _described(data: FaceDataModule, by_lot: bool) -> torch.Tensor | None:
    """See `mock_witness`; None where there are no descriptions, and none are needed."""
    try:
        return mock_witness(data)
    except ValueError as error:
        if by_lot:
            return None
        raise ValueError(f"line-ups cannot be matched: {error}; say --fillers lot") from error


def _attack(results: Results, point: dict[str, str]) -> str:
    """The stage that attacked the defence: of several epochs the last, and without a countermeasure."""
    attacks = {stage["name"] for stage in results.stages if stage["command"] == "attack"}
    points: dict[tuple[str, ...], dict[int, str]] = {}
    for stage in results.measured():
        labels, attack = stage["labels"], stage["name"].removesuffix(".measure")
        if stage["command"] != "measure" or attack not in attacks:  # it measured utility alone
            continue
        if labels.get("countermeasure", "none") == "none":
            names = tuple(labels[name] for name in POINT)
            points.setdefault(names, {})[labels.get("epoch") or 0] = attack
    wanted = tuple(point[name] for name in POINT)
    if wanted not in points:
        known = "; ".join(" ".join(filter(None, names)) for names in points)
        raise ValueError(f"nothing is measured of {' '.join(filter(None, wanted))!r}; the study has: {known}")
    return points[wanted][max(points[wanted])]


def score(key_path: Path, answers: Sequence[Path]) -> str:
    """What participants recognised, in words; also written beside the key.

    Raises:
        FileNotFoundError, ValueError: see `read_answers`.
    """
    key = Key.read(key_path)
    choices, truth = read_answers(answers, key), key.truth
    table = pd.DataFrame(confusion(choices, truth, len(OPTIONS)).numpy(), OPTIONS, OPTIONS)
    participants = torch.arange(len(choices)).repeat_interleave(len(truth))
    found = {
        "participants": len(choices),
        "questions": len(truth),
        "right": clustered_share((choices == truth).flatten(), participants),
        "macro_f1": clustered_macro_f1(choices, truth, len(OPTIONS)),
        "p_value": chance_test(choices, truth, len(OPTIONS)),
    }
    write_whole(key_path.with_name("confusion.csv"), table.rename_axis("right \\ chosen").to_csv())
    scores = key_path.with_name("scores.json")
    intervals = {name: _in_json(found[name]) for name in ("right", "macro_f1")}
    write_whole(scores, json.dumps({**key.labels, "poll": key.poll, **found, **intervals}, indent=1))
    return _in_words({**key.labels, **found}, table)


def _in_words(found: dict[str, Any], table: pd.DataFrame) -> str:
    chance = 1 / len(OPTIONS)
    recognised = "people recognise faces"
    if found.get("effective_size", len(OPTIONS)) < FAIR:
        recognised += ", or their attributes"
    verdict = recognised if found["p_value"] < SHOWN else "no recognition is shown"
    return "\n".join(
        [
            f"Participants: {found['participants']}; questions: {found['questions']}",
            *_line_up(found),
            "Rows: the right option; columns: what was chosen",
            table.to_string(),
            f"Right: {_with_bounds(found['right'], percent)}; chance {percent(chance)}",
            f"Macro-F1: {_with_bounds(found['macro_f1'], '{:.3f}'.format)}; chance about {chance:.3f}",
            f"Against chance: p = {found['p_value']:.4f}, {verdict}",
        ]
    )


def _line_up(found: dict[str, Any]) -> list[str]:
    """Nothing for a poll of before, whose key does not say."""
    if "effective_size" not in found:
        return []
    size, how = found["effective_size"], found["fillers"]
    told = [
        f"Line-ups of {FACES}, fillers {how}: for one who has the description alone, {size:.1f} in effect"
    ]
    if "named_by_description" in found:
        told.append(
            "Of those with the right person the description alone names "
            f"{percent(found['named_by_description'])}: more than that has to be right before it is the face "
            "that people recognise"
        )
    if size < FAIR:
        told.append(
            f"Unfair: below {FAIR} in effect, people who read attributes look as if they recognised faces; a "
            "study of more private people has fillers that are more alike"
        )
    return told


def _with_bounds(interval: Interval, show: Callable[[float], str]) -> str:
    if math.isnan(interval.lo):
        return f"{show(interval.value)} (one participant: no interval)"
    bounds = f"{show(interval.lo)} to {show(interval.hi)}"
    return f"{show(interval.value)} (95% interval over participants {bounds})"


def _in_json(interval: Interval) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in interval._asdict().items()}


def parse(args: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.human_study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    poll = commands.add_parser("make", help="draw the poll")
    poll.add_argument("--study", type=Path, required=True, help="the study's folder")
    poll.add_argument("--output", type=Path, required=True, help="folder that receives the page and the key")
    poll.add_argument("--defence", required=True, help="as results.csv calls it")
    poll.add_argument("--strength", default="", help="as results.csv calls it, where the defence has several")
    poll.add_argument("--attack", required=True, help="as results.csv calls it")
    poll.add_argument("--questions", type=int, default=10, help="a multiple of 5 (default: 10)")
    poll.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    poll.add_argument(
        "--fillers",
        choices=("matched", "lot"),
        default="matched",
        help="who is shown beside the right person: those with the same attributes, or anybody",
    )
    poll.add_argument("--faces", action="store_true", help="show faces although they are of real people")
    count = commands.add_parser("score", help="count the answers")
    count.add_argument("--key", type=Path, required=True, help="the poll's key.json")
    count.add_argument("answers", type=Path, nargs="+", help="files that participants saved")
    return parser.parse_args(args)


@ends_in_sentences
def main(args: Sequence[str] | None = None) -> None:
    options = parse(args)
    if options.command == "score":
        print(score(options.key, options.answers))
        return
    point = {name: getattr(options, name) for name in POINT}
    by_lot = options.fillers == "lot"
    path = make(options.study, point, options.output, options.questions, options.seed, options.faces, by_lot)
    print(f"the key, for you alone: {options.output / 'private' / 'key.json'}\n{path}")


if __name__ == "__main__":
    main()
