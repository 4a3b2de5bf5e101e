"""``/healthz`` and ``/readyz`` on a port of their own: what probes ask, answered by the launcher.

Triton's own answers are not enough: 2.51 is ready with a dead model, and a server that does not run says nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether all is well, and what there is to say."""


class HealthServer:
    """Answers probes until it is closed.

    Args:
        host: address to listen on.
        port: of it.
        answers: by path.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, host: str, port: int, answers: dict[str, Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # a client that sends nothing holds a thread no longer

            def do_GET(self) -> None:
                answer = answers.get(self.path.partition("?")[0])
                well, body = answer() if answer else (False, {"error": f"accepted: {', '.join(answers)}"})
                data = (json.dumps(body, ensure_ascii=False) + "\n").encode()
                self.send_response((200 if well else 503) if answer else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_HEAD = do_GET  # noqa: N815, likewise

            def log_message(self, format: str, *args: Any) -> None:
                """Probes come every few seconds: not in the log."""

        self._server = _Quiet((host, port), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A probe that went away before its answer is nothing to write home about."""
