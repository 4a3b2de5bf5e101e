"""What is seen of a running server from outside: its process, its models' processes, its models, their answers.

Three looks, from the certain to the costly. Every `PAUSE`: does the process run, has a Python model's process died, are
the models ready. And every `CANARY_PAUSE`, for the models whose configuration has the parameter ``canary``: a request
that asks nothing. Its silence counts only where the model answers nobody else either, and its work does not go on: a
full queue and a request of hours are no faults.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from atelier.serving import canary
from atelier.serving.launcher import Server
from atelier.serving.stubs import Roll, Stub

PAUSE = 2.0
"""Seconds between two looks at processes and models."""

SILENCE = 60.0
"""Seconds without an answer after which the server itself counts as dead."""

CANARY_PAUSE = 5.0
"""Seconds between a canary's answer and the next canary."""


@dataclass(frozen=True)
class Sight:
    """What was seen last.

    Attributes:
        faults: what only a new server mends, a sentence each: an ended process, a dead or silent model.
        dead: the models that these are about.
        not_ready: the models that were asked for and are not ready, each with the reason.
        canary_ages: seconds since each canary's model answered; none before the first.
    """

    faults: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    not_ready: dict[str, str] = field(default_factory=dict)
    canary_ages: dict[str, float] = field(default_factory=dict)


class Watch:
    """Looks at one server, from ``wait_ready`` on.

    Args:
        server: it is ready.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._asked = [state.name for state in server.states() if state.state == "READY"]
        self._roll = Roll(server.pid or 0)
        self._answered = time.monotonic()
        configs = {model.name: model for model in server.models if model.name in self._asked}
        self._canaries = [
            _Canary(server, name, model.config, float(patience))
            for name, model in configs.items()
            if (patience := model.parameter(canary.CONFIG))
        ]

    def begin(self) -> None:
        """Look for the first time, and send canaries from now on."""
        self.look()
        for bird in self._canaries:
            bird.start()

    def unseen(self) -> list[str]:
        """Ready Python models without a process to be seen: it died at once, or the system does not show them."""
        python = {
            model.name for model in self._server.models if model.backend == "python" and model.name in self._asked
        }
        return sorted(python - self._roll.models())

    def end(self) -> None:
        """Send no more canaries."""
        for bird in self._canaries:
            bird.stop()

    def look(self) -> Sight:
        """Look at everything once."""
        every = tuple(self._asked)
        if not self._server.is_alive():
            return Sight(("The server's process has ended.",), every, dict.fromkeys(every, "the server has ended"))
        index = self._server.administration.index()
        if index is None:  # it may be too busy to answer
            silent = time.monotonic() - self._answered
            faults = (f"The server has not answered for {silent:.0f} s.",) if silent > SILENCE else ()
            return Sight(faults, every, dict.fromkeys(every, "the server does not answer"), self._ages())
        self._answered = time.monotonic()
        states = {entry["name"]: entry for entry in index if entry.get("state")}
        ready = {name for name, entry in states.items() if entry["state"] == "READY"}
        found = [(stub.model, _obituary(stub)) for stub in self._roll.dead(ready)]
        found += [(bird.model, fault) for bird in self._canaries if bird.model in ready and (fault := bird.fault())]
        not_ready = {name: _reason(states.get(name, {})) for name in self._asked if name not in ready}
        return Sight(tuple(fault for _, fault in found), tuple(model for model, _ in found), not_ready, self._ages())

    def _ages(self) -> dict[str, float]:
        return {bird.model: round(age, 1) for bird in self._canaries if (age := bird.age()) is not None}


def _obituary(stub: Stub) -> str:
    return f"The process {stub.pid} of the model '{stub.model}' ({stub.instance}) has died."


def _reason(entry: dict[str, Any]) -> str:
    return str(entry.get("reason") or entry.get("state", "not there")).split("\n")[0].lower()


class _Canary:
    """Asks one model nothing, again and again; one request at a time, however long its answer takes.

    Args:
        server: has the model.
        model: its name.
        config: its configuration.
        patience: seconds within which the model answers somebody.
    """

    def __init__(self, server: Server, model: str, config: Any, patience: float) -> None:
        self.model, self._patience = model, patience
        self._server, self._administration, self._call = server, server.administration, canary.call(config)
        self._stopping = threading.Event()
        self._dead = ""  # or what it said that tells that it is
        self._answered: float | None = None
        self._silent_since: float | None = None
        # What the model had answered, and when its work last went on; and when that was seen.
        self._others: tuple[tuple[int | None, int] | None, float] = (None, 0.0)
        self._thread = threading.Thread(target=self._sing, name=f"canary-{model}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def age(self) -> float | None:
        return None if self._answered is None else time.monotonic() - self._answered

    def fault(self) -> str:
        """What is wrong with the model; empty where nothing is."""
        if self._dead:
            return self._dead
        now, since = time.monotonic(), self._silent_since
        if since is None or now - since < PAUSE:
            self._others = (None, now)
            return ""
        answered = self._administration.answered(self.model)
        signs = (answered, self._server.last_beat(self.model))
        if answered is None or signs != self._others[0]:
            self._others = (signs, now)
        if now - max(since, self._others[1]) < self._patience:
            return ""
        return f"The model '{self.model}' has answered nobody for {self._patience:.0f} s, and a request waits."

    def _sing(self) -> None:
        while not self._stopping.is_set():
            if self._silent_since is None:
                self._silent_since = time.monotonic()
            try:
                self._administration.canary(self.model, self._call, 2 * self._patience)
                self._heard()
            except HTTPError as error:
                self._refused(error)
            except (OSError, HTTPException):
                pass  # the server is gone, which others see, or the model is silent, which `fault` says
            self._stopping.wait(CANARY_PAUSE)

    def _refused(self, error: HTTPError) -> None:
        words = ""
        with contextlib.suppress(OSError, HTTPException):
            words = error.read().decode("utf-8", "replace")
        if canary.BROKEN in words:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                words = json.loads(words)["error"]
            self._dead = f"The model says: {words}"
        elif "Stub process" in words and "not healthy" in words:
            self._dead = f"The model '{self.model}' answers that its process is not healthy."
        elif error.code < HTTPStatus.INTERNAL_SERVER_ERROR:  # the model's own answer; 503 is the queue's
            self._heard()
        else:
            self._dead = ""

    def _heard(self) -> None:
        self._answered, self._silent_since, self._dead = time.monotonic(), None, ""
