"""A server that is kept alive: watched, and started anew when what it cannot mend itself is broken."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from atelier.serving import leftovers
from atelier.serving.health import HealthServer
from atelier.serving.launcher import LaunchError, Server
from atelier.serving.options import ServerOptions
from atelier.serving.watching import PAUSE, Sight, Watch

RESTART_WINDOW = 900.0
"""Seconds in which restarts are counted."""

LONGEST_PAUSE = 30.0
"""Seconds before a restart, at most; the first comes at once, and each further one waits twice as long."""

STALE = 15.0
"""Seconds after which what was seen last says nothing about now."""


class Supervisor:
    """Starts a server, answers probes about it, and restarts it when it is broken.

    Args:
        options: of the server; with ``health_port`` it answers probes there.
        on_line: called with each line of the server's log.
        on_event: called with a sentence when something breaks, and when it is mended.
        most_restarts: how often to start it anew within `RESTART_WINDOW`: where that does not help, the cause is none
            that it mends. 0: `run` ends with the first fault, for an orchestrator that starts it anew.

    Attributes:
        server: the one that runs now.
    """

    def __init__(
        self,
        options: ServerOptions,
        on_line: Callable[[str], None] | None = None,
        on_event: Callable[[str], None] = lambda _: None,
        most_restarts: int = 5,
    ) -> None:
        self._on_line, self._on_event, self._most = on_line, on_event, most_restarts
        self.server = Server(options, on_line)
        self._state = "starting"
        self._sight, self._seen = Sight(), time.monotonic()
        self._watch: Watch | None = None
        self._restarts: deque[float] = deque()
        self._total = 0
        self._health: HealthServer | None = None

    def __enter__(self) -> Supervisor:
        options = self.server.options
        if options.health_port:
            try:
                self._health = HealthServer(
                    options.host, options.health_port, {"/healthz": self.healthz, "/readyz": self.readyz}
                )
            except OSError as error:
                where = f"{options.host}:{options.health_port}"
                words = f"{where} cannot be used ({error.strerror}): choose another with --health-port."
                raise LaunchError(words) from None
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._state = "stopping"
        if self._watch is not None:
            self._watch.end()
        try:
            self.server.stop()
        finally:
            if self._health is not None:
                self._health.close()

    def run(self) -> None:
        """Watch for ever.

        Raises:
            LaunchError: the server is broken, and is not to be restarted, or was too often.
        """
        while True:
            time.sleep(PAUSE)
            self._look()
            self._sweep()
            if self._sight.faults:
                self._mend(" ".join(self._sight.faults))

    def healthz(self) -> tuple[bool, dict[str, Any]]:
        """Whether the server is alive and well, or is on its way up; what a liveness probe asks."""
        stale = time.monotonic() - self._seen > STALE and self._state == "ready"
        reasons = [*self._sight.faults, *(f"{name}: {why}" for name, why in self._sight.not_ready.items())]
        if stale:
            reasons.append("The launcher has not looked at the server for some time.")
        broken = self._state == "restarting" or (self._state == "ready" and bool(reasons))
        return not broken, {
            "status": self._state if not (broken and self._state == "ready") else "broken",
            "reasons": reasons,
            "canary_age_seconds": self._sight.canary_ages,
            "restarts": self._total,
        }

    def readyz(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests are answered now: alive, every model ready, neither starting nor stopping."""
        well, body = self.healthz()
        return well and self._state == "ready", body

    def _start(self) -> None:
        self.server.start()
        self.server.wait_ready()
        self._watch = Watch(self.server)
        self._watch.begin()
        self._look()
        self._state = "ready"

    def _look(self) -> None:
        assert self._watch is not None
        self._sight, self._seen = self._watch.look(), time.monotonic()

    def _sweep(self) -> None:
        """Free the shared memory of clients that were killed: the server holds it too."""
        for segment in leftovers.segments_of_the_dead():
            if self.server.administration.forget(segment.name):
                with contextlib.suppress(OSError):
                    segment.unlink()

    def _mend(self, fault: str) -> None:
        """Start the server anew.

        Raises:
            LaunchError: that is not wanted, or was done too often, or failed.
        """
        assert self._watch is not None
        self._watch.end()
        if not self._most:
            raise LaunchError(fault)
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > RESTART_WINDOW:
            self._restarts.popleft()
        if len(self._restarts) >= self._most:
            window = f"{RESTART_WINDOW / 60:.0f} minutes"
            raise LaunchError(f"{fault} The server was started anew {self._most} time(s) within {window}.")
        pause = min(LONGEST_PAUSE, 2.0 ** len(self._restarts)) if self._restarts else 0.0
        self._state = "restarting"
        self._on_event(f"{fault} The server is started anew.")
        self._restarts.append(now)
        self._total += 1
        self.server.stop(self._sight.dead)  # the other models finish what they run
        time.sleep(pause)
        self._start()
        self._on_event("The server is ready again.")
