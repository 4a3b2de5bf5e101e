"""``atelier serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atelier.serving import stubs
from atelier.serving.ports import free_ports

ROOT = Path(__file__).resolve().parents[1]
ATELIER = Path(sys.executable).parent / "atelier"


class Serving:
    """``atelier serve`` in the background, on free ports.

    Args:
        arguments: further ones of the command.
        restrict: called in the new process, before the program.
        environment: added to this process's.

    Attributes:
        ports: HTTP, gRPC, metrics, health.
    """

    def __init__(self, *arguments: object, restrict: Callable[[], None] | None = None, **environment: str) -> None:
        self.ports = free_ports(4)
        named = zip(("--http-port", "--grpc-port", "--metrics-port", "--health-port"), self.ports, strict=True)
        ports = [str(part) for pair in named for part in pair]
        self.process = subprocess.Popen(
            [str(ATELIER), "serve", *ports, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "160", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=restrict,
        )
        self.http_url, self.grpc_url = f"http://127.0.0.1:{self.ports[0]}", f"127.0.0.1:{self.ports[1]}"

    def until_ready(self) -> str:
        """Wait for its table, which is returned."""
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith("Ready:"):
                return "".join(lines)
        raise AssertionError("".join(lines) + self.process.stderr.read())

    def health(self, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
        """Status and body of a probe; 0 where nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[3]}{path}", timeout=5) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    @property
    def triton(self) -> int:
        """The number of the server's process."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def stubs(self, model: str) -> list[int]:
        """The processes of a Python model."""
        return [stub.pid for stub in stubs.running(self.triton) if stub.model == model]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal; returns the exit status and what was written."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self, patience: float = 60) -> tuple[int, str, str]:
        """Wait for the end; returns the exit status and what was written."""
        output, errors = self.process.communicate(timeout=patience)
        return self.process.returncode, output, errors


def until(condition: Any, patience: float = 30.0, what: str = "it") -> Any:
    """Wait for something to be true; what it was, then."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {patience} s"
        time.sleep(0.05)
    return found
