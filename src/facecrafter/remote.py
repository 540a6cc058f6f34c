"""Questions to a service on another machine: as few as possible, as fast as it allows, and each paid once."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import logging
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

from facecrafter.documents import parse_json, read_json
from facecrafter.files import make_folder, write_whole

log = logging.getLogger(__name__)

MOST_BYTES = 2**22
"""Of one answer: a service that says more than that says something else than was asked."""
LONGEST_WAIT = 120.0
"""Seconds before a question is asked once more, whatever the service says."""
_CHUNK = 2**16
PASSING = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses of what may be over the next time."""
QUEUE = 64
"""Processes that wait for their turn, at most."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Service:
    """POSTs JSON and returns JSON. Answers are kept in a folder under the hash of the question.

    All processes that name the same folder share the answers, the pace and the budget.

    Args:
        url: https, or http on this machine.
        folder: where answers and the ledger are kept, for their owner alone.
        headers: such as an authorisation; never written anywhere.
        per_second: questions per second, at most.
        most: questions that may be asked in all, answered or not, as long as the folder is there.
        price: of one question, in any currency.
        tries: of one question.
        backoff: seconds before the second try; twice as many before each further one, give or take half.
        timeout: seconds for one answer.

    Raises:
        ValueError: the URL would send what is asked in the clear, or has a password in it.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        headers: Mapping[str, str] | None = None,
        per_second: float = 1.0,
        most: int = 1000,
        price: float = 0.0,
        tries: int = 5,
        backoff: float = 1.0,
        timeout: float = 30.0,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError(
                f"{parts.scheme}://{parts.hostname} would be asked in the clear: name an https URL"
            )
        if parts.username or parts.password:
            raise ValueError(f"the URL of {parts.hostname} has a password in it: put that in the environment")
        if per_second <= 0 or tries < 1:
            raise ValueError(f"per_second={per_second} must be above 0, and tries={tries} at least 1")
        self.url, self.folder = url, Path(folder)
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self.per_second, self.most, self.price = per_second, most, price
        self.tries, self.backoff, self.timeout = tries, backoff, timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    @property
    def asked(self) -> int:
        """Questions asked so far, by all processes."""
        return int(self._ledger()["asked"])

    @property
    def cost(self) -> float:
        """Of all of them."""
        return self.asked * self.price

    def ask(self, question: Mapping[str, Any]) -> Any:
        """The answer to a question, from the folder if it was asked before.

        Raises:
            ValueError: the service refuses it, its answer is no JSON, or the budget is spent.
            ConnectionError: there was no answer in all tries.
        """
        body, kept = self._body(question)
        if kept.is_file():
            return read_json(kept, "delete it: it will be asked once more")
        answer = self._insist(body)
        write_whole(kept, json.dumps(answer))
        return answer

    def forget(self, question: Mapping[str, Any]) -> None:
        """Ask it once more the next time: its answer was of no use."""
        self._body(question)[1].unlink(missing_ok=True)

    def _body(self, question: Mapping[str, Any]) -> tuple[bytes, Path]:
        """What is sent, and the file that keeps what comes back."""
        body = json.dumps(question, sort_keys=True, allow_nan=False).encode()
        digest = hashlib.sha256(f"{self.url}\n".encode() + body).hexdigest()
        return body, self.folder / digest[:2] / f"{digest}.json"

    def _insist(self, body: bytes) -> Any:
        """The answer, after as many tries as it takes and may take."""
        wait, tried = self.backoff, 0
        while True:
            self._take_turn()
            tried += 1
            try:
                return self._post(body)
            except _Passing as error:
                if tried == self.tries:
                    host = urllib.parse.urlsplit(self.url).hostname
                    raise ConnectionError(f"{host} gave no answer in {tried} tries: {error}") from error
                pause = wait * random.uniform(0.5, 1.5) if error.after is None else error.after
                log.warning("%s; asked once more in %.1f s", error, min(pause, LONGEST_WAIT))
                time.sleep(min(pause, LONGEST_WAIT))
                wait *= 2

    def _post(self, body: bytes) -> Any:
        request = urllib.request.Request(self.url, body, self.headers, method="POST")
        host = urllib.parse.urlsplit(self.url).hostname
        try:
            with self._opener.open(request, timeout=self.timeout) as reply:
                content = _read_until(reply, time.monotonic() + self.timeout)
        except urllib.error.HTTPError as error:
            if error.code in PASSING:
                raise _Passing(
                    f"{host} answers {error.code}", _seconds(error.headers.get("Retry-After"))
                ) from None
            raise ValueError(f"{host} refuses the question with {error.code}: {_said(error)!r}") from None
        except (OSError, http.client.HTTPException) as error:  # no connection, cut off, too late
            raise _Passing(f"{host}: {error}") from error
        if len(content) > MOST_BYTES:
            raise ValueError(f"{host} answers more than {MOST_BYTES:,} bytes")
        try:
            return parse_json(content.decode())
        except ValueError as error:
            raise ValueError(f"{host} answers no JSON that could be read: {error}") from error

    def _take_turn(self) -> None:
        """Wait until this question may be asked, and write down that it is."""
        make_folder(self.folder)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ledger = self._ledger()
            if ledger["asked"] >= self.most:
                raise ValueError(
                    f"{self.most} questions were asked, which is all that may be: raise most_requests, or "
                    f"delete {self.folder} to begin anew"
                )
            now, asked = time.time(), ledger["asked"] + 1
            # A clock that was set back must not stop everything until it is as late again.
            last = min(ledger["last"], now + QUEUE / self.per_second)
            turn = max(now, last + 1 / self.per_second)
            ledger = {"asked": asked, "last": turn, "cost": asked * self.price}
            write_whole(self.folder / "ledger.json", json.dumps(ledger))
        time.sleep(turn - now)

    def _ledger(self) -> dict[str, Any]:
        file = self.folder / "ledger.json"
        if not file.is_file():
            return {"asked": 0, "last": 0.0}
        found: dict[str, Any] = read_json(file, f"delete {self.folder} to begin anew")
        return found


class _Passing(Exception):
    """What may be over the next time; `after` so many seconds, if the service says so."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is sent, and the key with it, goes to the machine that was named and to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        raise ValueError(f"{req.host} sends elsewhere, to {newurl[:80]}: name that URL if it is meant")


def _said(error: urllib.error.HTTPError) -> str:
    """How a refusal begins, as far as it is there at once."""
    try:
        said: bytes = error.read1(200)
        return said.decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _read_until(reply: http.client.HTTPResponse, deadline: float) -> bytes:
    """The answer, or as much of it as shows that it is too long.

    Raises:
        TimeoutError: it is not whole by then: a socket's own timeout begins anew with every few bytes.
        IncompleteRead: it is shorter than it says.
    """
    content = b""
    while more := reply.read1(_CHUNK):
        content += more
        if len(content) > MOST_BYTES:
            return content
        if time.monotonic() > deadline:
            raise TimeoutError("the answer was not whole in time")
    if reply.length:
        raise http.client.IncompleteRead(content, reply.length)
    return content


def _seconds(text: str | None) -> float | None:
    """What Retry-After says, in seconds from now; None where it says nothing that could be read."""
    if not text:
        return None
    try:
        if text.strip().isdecimal():
            return float(text)
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
