"""A service that fails, throttles and lies: asked again where that helps, and never for more than it may."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loopback import served

from facecrafter import remote
from facecrafter.remote import Service

FAST: dict[str, Any] = {"per_second": 1000.0, "backoff": 0.001}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_an_answer_is_paid_once(tmp_path: Path) -> None:
    """By whoever shares the folder; a failed question is paid too."""
    with served(lambda question, _: {"twice": 2 * question["n"]}) as server:
        first, other = (Service(server.url, tmp_path, price=0.5, **FAST) for _ in range(2))
        assert first.ask({"n": 4}) == first.ask({"n": 4}) == other.ask({"n": 4}) == {"twice": 8}
        assert len(server.questions) == 1
        first.forget({"n": 4})
        other.ask({"n": 4})
    assert (first.asked, other.cost) == (2, 1.0)
    for file in tmp_path.rglob("*.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "failure",
    [
        (503, {}, b"busy"),
        (429, {"Retry-After": "0"}, b"slow down"),
        (429, {"Retry-After": formatdate(0)}, b"until 1970"),
        (502, {"Retry-After": "soon"}, b"<html>"),
        (503, {"Retry-After": "\u00b2"}, b"a digit that is no number"),
        (200, {"Content-Length": "9"}, b"[1"),
        None,
    ],
)
def test_what_passes_is_asked_again(failure: Any, tmp_path: Path) -> None:
    with served(lambda _, number: failure if number < 3 else [1]) as server:
        assert Service(server.url, tmp_path, **FAST).ask({}) == [1]
        assert len(server.questions) == 3
        assert len({json.dumps(question) for question in server.questions}) == 1


def test_an_answer_that_drips_is_too_late(tmp_path: Path) -> None:
    """Each part comes in time; the whole would keep a study for days."""

    def drips() -> Iterator[bytes]:
        for _ in range(50):
            yield b" "
            time.sleep(0.02)

    with served(lambda *_: (200, {"Content-Length": "50"}, drips())) as server:
        service = Service(server.url, tmp_path, tries=2, timeout=0.1, **FAST)
        with pytest.raises(ConnectionError, match=r"in 2 tries: .*not whole in time"):
            service.ask({})


@pytest.mark.parametrize(("status", "error"), [(503, ConnectionError), (403, ValueError)])
def test_a_failure_whose_body_never_comes_is_one_all_the_same(
    status: int, error: type[Exception], tmp_path: Path
) -> None:
    def stuck() -> Iterator[bytes]:
        yield b"no"
        time.sleep(0.5)

    with served(lambda *_: (status, {"Content-Length": "9"}, stuck())) as server:
        service = Service(server.url, tmp_path, tries=2, timeout=0.1, **FAST)
        with pytest.raises(error, match=f"in 2 tries: .* answers 503|with {status}: 'no'"):
            service.ask({})
    assert service.asked == (2 if status == 503 else 1)


def test_a_service_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with served(lambda *_: (500, {}, b"")) as server:
        service = Service(server.url, tmp_path, tries=4, **FAST)
        with pytest.raises(ConnectionError, match=r"127\.0\.0\.1 gave no answer in 4 tries: .* answers 500"):
            service.ask({})
    assert service.asked == 4
    with pytest.raises(ConnectionError, match="in 2 tries"):  # nobody listens any more
        Service(server.url, tmp_path, tries=2, **FAST).ask({})


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}, b"no such key"), "refuses the question with 401: 'no such key'"),
        ((200, {}, b"<html>"), "no JSON that could be read"),
        ((200, {}, b"[NaN]"), "no JSON that could be read"),
        ((200, {}, b"[" * 100_000), "nested"),
        ((200, {}, b"1" * (2**22 + 1)), "more than 4,194,304 bytes"),
        ((307, {"Location": "http://127.0.0.1:1/elsewhere"}, b""), "sends elsewhere, to http://127"),
    ],
)
def test_what_cannot_help_is_asked_once_and_not_kept(answer: Any, message: str, tmp_path: Path) -> None:
    with served(lambda *_: answer) as server:
        with pytest.raises(ValueError, match=message):
            Service(server.url, tmp_path, headers={"Authorization": "secret"}, **FAST).ask({})
        assert len(server.questions) == 1
    assert [file.name for file in tmp_path.rglob("*.json")] == ["ledger.json"]
    assert "secret" not in (tmp_path / "ledger.json").read_text()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, one after the other, on a clock that stood at 1000 before."""
    found: list[float] = []
    played = {"time": lambda: 1000.0 + sum(found), "sleep": found.append}
    monkeypatch.setattr(remote, "time", SimpleNamespace(**played, monotonic=played["time"]))
    return found


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": formatdate(1009)}, 9.0),
        ({"Retry-After": "86400"}, 120.0),
    ],
)
def test_a_service_says_when_it_is_asked_again(
    said: dict[str, str], seconds: float, waits: list[float], tmp_path: Path
) -> None:
    """Who asks sooner is refused once more, pays for it, and is shut out in the end; but no study waits for a
    day."""
    with served(lambda _, number: (429, said, b"slow down") if number == 1 else 1) as server:
        assert Service(server.url, tmp_path, backoff=0.001).ask({}) == 1
    first_turn, wait, second_turn = waits
    assert wait == pytest.approx(seconds)
    assert first_turn == second_turn == 0


def test_a_service_that_says_nothing_is_given_twice_as_long_every_time(
    waits: list[float], tmp_path: Path
) -> None:
    """Give or take half: else all processes would come back at once."""
    with served(lambda _, number: (503, {}, b"busy") if number < 5 else 1) as server:
        assert Service(server.url, tmp_path, per_second=1000.0, backoff=10.0).ask({}) == 1
    paused = [wait for wait in waits if wait > 1]
    assert [5 * 2**n <= wait <= 15 * 2**n for n, wait in enumerate(paused)] == [True] * 4


def test_all_processes_share_the_pace_and_the_budget(tmp_path: Path, waits: list[float]) -> None:
    """Never faster than asked for, whoever asks; and the budget holds over all of them."""
    with served(lambda *_: 1) as server:
        services = [Service(server.url, tmp_path, per_second=50, most=5) for _ in range(2)]
        for number in range(5):
            services[number % 2].ask({"n": number})
        with pytest.raises(ValueError, match="5 questions were asked, which is all that may be"):
            services[0].ask({"n": 5})
        assert services[0].ask({"n": 3}) == 1, "what was asked before is free"
    assert len(server.questions) == 5
    assert waits == pytest.approx([0.0, *[1 / 50] * 4])


def test_a_clock_that_was_set_back_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps({"asked": 1, "last": 1e12}))
    with served(lambda *_: 1) as server:
        assert Service(server.url, tmp_path, **FAST).ask({}) == 1


def test_nothing_is_asked_in_the_clear(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="asked in the clear: name an https URL"):
        Service("http://example.org/face", tmp_path)
    with pytest.raises(ValueError, match="has a password in it"):
        Service("https://me:secret@example.org/face", tmp_path)
    with pytest.raises(ValueError, match="per_second=0"):
        Service("https://example.org/face", tmp_path, per_second=0)
