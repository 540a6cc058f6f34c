"""The key of a poll and the files of answers, read with suspicion: participants send them in."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.human_study.poll import OPTIONS
from facecrafter.data.files import person
from facecrafter.documents import read_json
from facecrafter.files import write_whole

SCHEMA = 1


@dataclass(frozen=True)
class Key:
    """What is right in a poll, and what it was drawn from; participants must not see it.

    Attributes:
        poll: names the poll.
        right: for each question the right option, one of `OPTIONS`.
        rows: for each question the image that was reconstructed, as its row in splits.csv.
        labels: study, defence, strength, attack and seed.
    """

    poll: str
    right: list[str]
    rows: list[int]
    labels: dict[str, Any]

    @property
    def truth(self) -> Tensor:
        """(Q,) int64, numbers of the right options."""
        return torch.tensor([OPTIONS.index(name) for name in self.right])

    def write(self, path: Path) -> None:
        """For its owner alone, as is the folder.

        Raises:
            FileExistsError: the key of another poll is there, without which its answers would be worthless.
        """
        if path.exists() and Key.read(path).poll != self.poll:
            raise FileExistsError(f"{path} is the key of another poll; choose another --output")
        write_whole(path, json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1))

    @classmethod
    def read(cls, path: Path) -> Key:
        """The key in a file.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no key.
        """
        content = _read_json(path)
        if set(content) != {"schema", "poll", "right", "rows", "labels"} or content.pop("schema") != SCHEMA:
            raise ValueError(f"{path} is no key of a poll; name the key.json that `make` wrote")
        key = cls(**content)
        for name, kind in {"poll": str, "right": list, "rows": list, "labels": dict}.items():
            if not isinstance(getattr(key, name), kind):
                raise ValueError(f"{path} is damaged: {name} is no {kind.__name__}; bring back a copy")
        if not key.right or len(key.rows) != len(key.right) or not all(name in OPTIONS for name in key.right):
            raise ValueError(f"{path} is damaged: its questions and their right options; bring back a copy")
        return key


def read_answers(paths: Sequence[Path], key: Key) -> Tensor:
    """What every participant chose, (P, Q) int64, from a file each.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is damaged, of another poll, incomplete, or a participant's second.
    """
    seen: dict[str, Path] = {}
    choices = []
    for path in paths:
        content = _read_json(path)
        participant, chosen = _check(path, content, key)
        if participant in seen:
            raise ValueError(
                f"{path} and {seen[participant]} are both of participant {participant!r}; keep one"
            )
        seen[participant] = path
        choices.append(chosen)
    return torch.tensor(choices)


def _check(path: Path, content: dict[str, Any], key: Key) -> tuple[str, list[int]]:
    """The participant's code and the numbers of the options chosen."""
    if content.get("schema") != SCHEMA or not isinstance(content.get("answers"), list):
        raise ValueError(f"{path} is no file of answers; name those that the poll's page saved")
    if content.get("poll") != key.poll:
        raise ValueError(f"{path} answers the poll {content.get('poll')!r}, but the key is of {key.poll!r}")
    participant, answers = _code(content.get("participant")), content["answers"]
    if not participant:
        raise ValueError(f"{path} names no participant: their code, as text, is missing")
    if len(answers) != len(key.right):
        raise ValueError(f"{path} has {len(answers)} answers, but the poll has {len(key.right)} questions")
    for number, answer in enumerate(answers, start=1):
        if answer not in OPTIONS:
            raise ValueError(
                f"{path}: the answer to question {number} is {answer!r}, not one of {', '.join(OPTIONS)}"
            )
    return participant, [OPTIONS.index(answer) for answer in answers]


def _code(given: Any) -> str:
    """A participant's code in one form for all that look alike: letters' case and what cannot be seen in it
    (a zero-width space, one accent or two characters) make nobody a second participant."""
    if not isinstance(given, str):
        return ""
    return person(person(unicodedata.normalize("NFKC", given)).casefold())


def _read_json(path: Path) -> dict[str, Any]:
    content = read_json(path, "name files as the poll's page and `make` wrote them")
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content
