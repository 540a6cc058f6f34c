"""A poll: can people tell who is on a reconstruction? Drawn by lot, and shown as one page."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from string import Template

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from experiments.human_study.lineup import fillers

FACES = 4
OPTIONS = ("A", "B", "C", "D", "none")
"""The answers that every question offers: four photographs, and none of these."""
TEMPLATE = Path(__file__).with_name("poll.html")


@dataclass(frozen=True)
class Question:
    """One reconstruction and four photographs.

    Attributes:
        shown: position of the reconstructed image among the private-test ones.
        faces: positions of photographs A to D among the private-train ones, each of somebody else.
        right: number of the right option.
    """

    shown: int
    faces: tuple[int, ...]
    right: int


def draw(
    test: Tensor, train: Tensor, n_questions: int, seed: int, likeness: Tensor | None = None
) -> list[Question]:
    """Questions about as many different people; every option is right equally often.

    The right photograph is another one than the image that was reconstructed, so that it is recognised by the
    person and not by light or background; the other three, or four, are of people drawn by lot, or of those
    whom the description of the image fits best.

    Args:
        test, train: identities of the private-test (N,) and the private-train images (M,).
        n_questions: a multiple of the number of options.
        seed: of all draws.
        likeness: (N, P) of `mock_witness`; without it people are drawn by lot.

    Raises:
        ValueError: the number of questions is no such multiple, or there are too few people.
    """
    if n_questions < 1 or n_questions % len(OPTIONS):
        raise ValueError(f"{n_questions} questions cannot be balanced: name a multiple of {len(OPTIONS)}")
    people = sorted(set(test.tolist()) & set(train.tolist()))
    if len(people) < max(n_questions, FACES + 1):
        raise ValueError(
            f"{n_questions} questions need {max(n_questions, FACES + 1)} people, but the study has "
            f"{len(people)}; ask fewer"
        )
    rng = torch.Generator().manual_seed(seed)
    asked = [people[i] for i in torch.randperm(len(people), generator=rng)[:n_questions].tolist()]
    right = (torch.arange(n_questions) % len(OPTIONS))[torch.randperm(n_questions, generator=rng)]
    questions = []
    for person, option in zip(asked, right.tolist(), strict=True):
        image = _one_of(test, person, rng)
        others = [other for other in people if other != person]
        if likeness is None:
            drawn = [others[i] for i in torch.randperm(len(others), generator=rng)[:FACES].tolist()]
        else:
            drawn = fillers(likeness[image], others, FACES, rng)
        shown = [person if place == option else other for place, other in enumerate(drawn)]
        faces = tuple(_one_of(train, face, rng) for face in shown)
        questions.append(Question(image, faces, option))
    return questions


def _one_of(identities: Tensor, person: int, rng: torch.Generator) -> int:
    """Position of one of a person's images."""
    positions = (identities == person).nonzero()[:, 0]
    return int(positions[torch.randint(len(positions), (1,), generator=rng)])


@dataclass(frozen=True)
class Page:
    """What participants get.

    Attributes:
        poll: names the poll in every file of answers; it tells nothing of what is right.
        html: the whole page.
    """

    poll: str
    html: str


def page(reconstructions: Tensor, photographs: Tensor) -> Page:
    """The poll as one page that loads nothing.

    Args:
        reconstructions: (Q, 3, H, W) in [0, 1].
        photographs: (Q, 4, 3, H, W) in [0, 1].
    """
    questions = "\n".join(
        _question(number, len(photographs), _data(shown), [_data(face) for face in faces])
        for number, (shown, faces) in enumerate(zip(reconstructions, photographs, strict=True), start=1)
    )
    poll = hashlib.sha256(questions.encode()).hexdigest()[:16]
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return Page(poll, template.substitute(poll=poll, questions=questions, count=len(photographs)))


def _question(number: int, count: int, shown: str, faces: list[str]) -> str:
    options = "\n".join(
        f'<label><input type="radio" name="question-{number}" value="{name}">'
        f'<span class="face"><img alt="Photograph" src="{face}"> {name}</span></label>'
        for name, face in zip(OPTIONS, faces, strict=False)
    )
    return (
        f"<fieldset>\n<legend>Question {number} of {count}</legend>\n"
        f'<figure><img alt="The reconstructed picture" src="{shown}">'
        f"<figcaption>Who is this?</figcaption></figure>\n"
        f'<div class="options">\n{options}\n'
        f'<label class="none"><input type="radio" name="question-{number}" value="{OPTIONS[-1]}">'
        '<span class="face">None of these</span></label>\n'
        "</div>\n</fieldset>"
    )


def _data(image: Tensor) -> str:
    """A picture (3, H, W) as a PNG within the page; nothing but its pixels is in it."""
    file = io.BytesIO()
    to_pil_image((image.clamp(0, 1) * 255).round().byte()).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
