"""A face recognition service on another machine as a judge: it embeds, verifies or identifies."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facecrafter.blanks import at, filled, listed, number
from facecrafter.remote import Service
from facecrafter.store import content_hash
from lightning_modules.networks.oracle import IdentityOracle, mean_directions, require_everyone

Task = Literal["embed", "verify", "identify"]
UNNAMED = -1e9
"""The score of whom a service that identifies does not name."""


class HttpOracle(IdentityOracle):
    """Asks a service over HTTP, one question per image (`verify`: per image and person; see docs/service.md).

    An oracle cannot tell whose image it is given, so it sends none unless `private_images` says that those of
    private people may leave this machine. The key comes from the environment and is written nowhere.

    Args:
        url: POST here: https, or http on this machine.
        task: what the service does.
        question: the JSON to send; `{image}` in it stands for the image, a PNG in base64; `{other}` for the
            photograph that it is compared with (verify), `{person}` for a name (`enrolment`).
        answer: where in the answer it is, such as `data.0.embedding`, or empty: a list of numbers (embed), a
            likeness, higher for more alike (verify), or a list of candidates (identify).
        cache_dir: keeps answers, cost and pace.
        private_images: images of private people, photographs and reconstructions, may be sent.
        key: the environment variable that holds the key; none without it.
        header: which it is sent in.
        scheme: what stands before it there.
        enrolment: POST here, with `enrolment_question`, a photograph and a name, before identifying.
        enrolment_question: as `question`.
        candidate: where in a candidate the name and the likeness are.
        photographs: of each person, at most, that are enrolled or compared with.
        side: of what is sent, in pixels; services refuse small images.
        requests_per_second: at most, of all processes together.
        most_requests: in all; more are refused.
        price: of one.
        tries, backoff, timeout: see facecrafter.remote.Service.

    Raises:
        ValueError: the key is not in the environment, or an argument is missing.
    """

    def __init__(
        self,
        url: str,
        task: Task,
        question: dict[str, Any],
        answer: str,
        cache_dir: str,
        private_images: bool = False,
        key: str | None = None,
        header: str = "Authorization",
        scheme: str = "Bearer ",
        enrolment: str | None = None,
        enrolment_question: dict[str, Any] | None = None,
        candidate: tuple[str, str] = ("name", "score"),
        photographs: int = 1,
        side: int = 160,
        requests_per_second: float = 1.0,
        most_requests: int = 1000,
        price: float = 0.0,
        tries: int = 5,
        backoff: float = 1.0,
        timeout: float = 30.0,
    ) -> None:
        super().__init__()
        headers = {}
        if key is not None:
            if not os.environ.get(key):
                raise ValueError(f"the environment has no {key}, which should hold the service's key")
            headers[header] = f"{scheme}{os.environ[key]}"
        if task == "identify" and not (enrolment and enrolment_question):
            raise ValueError("a service that identifies needs enrolment and enrolment_question")
        options: dict[str, Any] = {
            "folder": Path(cache_dir),
            "headers": headers,
            "per_second": requests_per_second,
            "most": most_requests,
            "price": price,
            "tries": tries,
            "backoff": backoff,
            "timeout": timeout,
        }
        self.service = Service(url, **options)
        self.enroller = Service(enrolment, **options) if enrolment else None
        self.task, self.question, self.answer = task, question, answer.split(".") if answer else []
        self.enrolment_question, self.candidate = enrolment_question or {}, candidate
        self.private_images, self.photographs, self.side = private_images, photographs, side
        self.embeds = task == "embed"
        self._known: Tensor | None = None
        self._photographs = torch.zeros(0, 3 * side * side)
        self._people = torch.zeros(0, dtype=torch.int64)
        self._names: dict[str, int] = {}
        self._dimensions: int | None = None

    def embed(self, images: Tensor) -> Tensor:
        """See `IdentityOracle`; of a service that does not embed, what will be sent: pixels (N, 3·side²).

        Raises:
            ValueError: `private_images` is not set, or the service answers something else than an embedding
                of the others' length.
        """
        shown = F.interpolate(images.float(), (self.side, self.side), mode="bilinear", antialias=True)
        pixels = (shown.clamp(0, 1) * 255).round().flatten(1)
        if not self.embeds:
            return pixels
        return torch.tensor([self._embedding(row) for row in pixels], dtype=torch.float32).to(images.device)

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None:
        """See `IdentityOracle`: a service that identifies is sent the photographs, under names that say
        nothing, and other ones for other people: what it was sent before does not pass for these.

        Raises:
            ValueError: an identity has no photograph.
        """
        if self.embeds:
            self._known = mean_directions(embeddings, identities)
            return
        people = require_everyone(identities)
        first = [(identities == person).nonzero()[: self.photographs, 0] for person in range(people)]
        chosen = torch.cat(first)
        self._known = self._photographs = embeddings[chosen]
        self._people = identities[chosen]
        content = content_hash({"photographs": self._photographs, "people": self._people})
        self._names = {f"{content[:12]}-{person}": person for person in range(people)}
        if self.enroller:
            names = {person: name for name, person in self._names.items()}
            for pixels, person in zip(self._photographs, self._people.tolist(), strict=True):
                self.enroller.ask(
                    filled(self.enrolment_question, image=self._png(pixels), person=names[person])
                )

    def scores(self, embeddings: Tensor) -> Tensor:
        """See `IdentityOracle`.

        Raises:
            RuntimeError: nobody is enrolled.
        """
        if self._known is None:
            raise RuntimeError("nobody is enrolled; call enrol with private-train images first")
        if self.embeds:
            return F.normalize(embeddings) @ self._known.T
        score = self._verified if self.task == "verify" else self._identified
        return torch.stack([score(pixels) for pixels in embeddings]).to(embeddings.device)

    def _embedding(self, pixels: Tensor) -> list[float]:
        question = filled(self.question, image=self._png(pixels))
        numbers = self._told(question, lambda found: [number(value) for value in listed(found)])
        self._dimensions = self._dimensions or len(numbers)
        if len(numbers) != self._dimensions or not any(numbers):
            self.service.forget(question)
            raise ValueError(
                f"{self.service.url} answers an embedding of {len(numbers)} numbers, "
                f"{'all 0' if not any(numbers) else f'others of {self._dimensions}'}"
            )
        return numbers

    def _verified(self, pixels: Tensor) -> Tensor:
        """(P,): the highest likeness to one of each person's photographs."""
        image = self._png(pixels)
        likeness = torch.full((int(self._people.max()) + 1,), -math.inf)
        for known, person in zip(self._photographs, self._people.tolist(), strict=True):
            question = filled(self.question, image=image, other=self._png(known))
            likeness[person] = max(likeness[person].item(), self._told(question, number))
        return likeness

    def _identified(self, pixels: Tensor) -> Tensor:
        """(P,): the likeness of each person whom the service names."""
        likeness = torch.full((int(self._people.max()) + 1,), UNNAMED)
        found = self._told(filled(self.question, image=self._png(pixels)), self._candidates)
        for person, score in found:
            likeness[person] = max(likeness[person].item(), score)
        return likeness

    def _candidates(self, answer: Any) -> list[tuple[int, float]]:
        found_at = [place.split(".") for place in self.candidate]
        named = [tuple(at(one, place) for place in found_at) for one in listed(answer)]
        for name, _ in named:
            if name not in self._names:
                raise ValueError(
                    f"it names {str(name)[:40]!r}, whom this study did not enrol: empty its gallery"
                )
        return [(self._names[name], number(score)) for name, score in named]

    def _told(self, question: Mapping[str, Any], read: Any) -> Any:
        """What the service answers, read; an answer that cannot be is not kept."""
        answer = self.service.ask(question)
        try:
            return read(at(answer, self.answer))
        except ValueError as error:
            self.service.forget(question)
            raise ValueError(
                f"{self.service.url} answers something else than was asked for: {error}"
            ) from None

    def _png(self, pixels: Tensor) -> str:
        """Pixels (3·side²) in 0..255 -> a PNG in base64: the one way by which an image leaves."""
        if not self.private_images:
            raise ValueError(
                "an image, for all that is known of a private person, would leave this machine: set "
                "private_images of HttpOracle to true if it may"
            )
        shape = (3, self.side, self.side)
        array = pixels.reshape(shape).permute(1, 2, 0).to("cpu", torch.uint8).numpy()
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()
