"""A face service on this machine that answers as it is told: well, wrongly, late, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes | Iterator[bytes]]
Behaviour = Callable[[dict[str, Any], int], Any]
"""From a question and its number to an answer: JSON, or status, headers and bytes."""


class Loopback:
    """What was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.questions: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []


@contextmanager
def served(behaviour: Behaviour) -> Iterator[Loopback]:
    """A server on a free port for the time of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.questions.append(question)
            seen.headers.append(dict(self.headers))
            answer = behaviour(question, len(seen.questions))
            if answer is None:  # hangs up
                self.close_connection = True
                return
            is_reply = isinstance(answer, tuple)
            status, headers, body = answer if is_reply else (200, {}, json.dumps(answer).encode())
            self.send_response(status)
            parts = [body] if isinstance(body, bytes) else body
            length = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
            for name, value in {**length, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # whoever asked has gone
                for part in parts:
                    self.wfile.write(part)
                    self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Loopback(f"http://127.0.0.1:{server.server_port}/face")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
