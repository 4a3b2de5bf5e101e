"""A server that is kept alive: watched, and started anew when what it cannot mend itself is broken."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from atelier.serving import leftovers
from atelier.serving.health import HealthServer
from atelier.serving.launcher import LaunchError, Server
from atelier.serving.options import ServerOptions
from atelier.serving.watching import PAUSE, Sight, Watch

STEADY = 900.0
"""Seconds that a server runs well after which earlier restarts count no more."""

LONGEST_PAUSE = 30.0
"""Seconds before a restart, at most; the first comes at once, and each further one waits twice as long."""

STALE = 60.0
"""Seconds after which what was seen last says nothing about now."""


class Supervisor:
    """Starts a server, answers probes about it, and restarts it when it is broken.

    Args:
        options: of the server; with ``health_port`` it answers probes there.
        on_line: called with each line of the server's log.
        on_event: called with a sentence when something breaks, and when it is mended.
        most_restarts: how often to start it anew before it has been well for `STEADY`: where that does not help, the
            cause is none that it mends. 0: `run` ends with the first fault, for an orchestrator that starts it anew.

    Attributes:
        server: the one that runs now.
        exit_status: of the server that was stopped last; another than 0 where it did not finish what it ran.
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
        self._expected: frozenset[str] | None = None  # the models that the first start brought up
        self._ready_at = 0.0
        self._in_a_row = self._total = 0
        self.exit_status = 0
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
            self.exit_status = self.server.stop(self._sight.dead)
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
            try:
                self._look()
                self._sweep()
            except Exception as error:  # a look that fails again and again is told by `healthz`
                self._on_event(f"The server could not be looked at: {error!r}")
                continue
            if self._sight.faults:
                self._mend(" ".join(self._sight.faults))

    def healthz(self) -> tuple[bool, dict[str, Any]]:
        """Whether the server is alive and well, or is on its way up or down; what a liveness probe asks.

        A model that is not ready, as somebody unloads it or the server is slow to answer, is told and is no fault.
        """
        faults = list(self._sight.faults)
        if self._state == "ready" and time.monotonic() - self._seen > STALE:
            faults.append("The launcher has not looked at the server for some time.")
        missing = [f"{name}: {why}" for name, why in self._sight.not_ready.items()]
        status = self._state
        if status == "ready" and (faults or missing):
            status = "broken" if faults else "incomplete"
        return not faults and status != "restarting", {
            "status": status,
            "reasons": [*faults, *missing],
            "canary_age_seconds": self._sight.canary_ages,
            "restarts": self._total,
        }

    def readyz(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests are answered now: alive, every model ready, neither starting nor stopping."""
        well, body = self.healthz()
        return well and body["status"] == "ready", body

    def _start(self) -> None:
        self.server.start()
        self.server.wait_ready()
        states = self.server.states()
        ready = frozenset(state.name for state in states if state.state == "READY")
        if self._expected is None:
            self._expected = ready
        elif lost := [f"{state.name}: {state.reason}" for state in states if state.name in self._expected - ready]:
            raise LaunchError(f"What was ready before did not load again: {'; '.join(lost)}")
        self._watch = Watch(self.server)
        self._watch.begin()
        self._look()
        if unseen := self._watch.unseen():
            self._on_event(f"No process is seen of {', '.join(unseen)}: canaries alone tell whether they live.")
        self._state, self._ready_at = "ready", time.monotonic()

    def _look(self) -> None:
        assert self._watch is not None
        self._sight, self._seen = self._watch.look(), time.monotonic()

    def _sweep(self) -> None:
        """Free the shared memory of clients that were killed: the server holds it too.

        Also where its file is gone: another launcher on this machine removes it, and lets go of it for its own server.
        """
        files = {segment.name: segment for segment in leftovers.segments_of_the_dead()}
        held = [name for name in self.server.administration.regions() if leftovers.is_of_the_dead(name)]
        for name in {*files, *held}:
            if self.server.administration.forget(name) and name in files:
                with contextlib.suppress(OSError):
                    files[name].unlink()

    def _mend(self, fault: str) -> None:
        """Start the server anew, and again where that fails.

        Raises:
            LaunchError: that is not wanted, or did not help.
        """
        assert self._watch is not None
        self._watch.end()
        if not self._most:
            raise LaunchError(fault)
        if time.monotonic() - self._ready_at > STEADY:
            self._in_a_row = 0
        while True:
            if self._in_a_row >= self._most:
                steady = f"{STEADY / 60:.0f} minutes"
                raise LaunchError(
                    f"{fault} The server was started anew {self._in_a_row} time(s), and was not well for {steady} once."
                )
            self._state = "restarting"
            self._on_event(f"{fault} The server is started anew.")
            self._total += 1
            self.server.stop(self._sight.dead)  # the other models finish what they run
            time.sleep(min(LONGEST_PAUSE, 2.0**self._in_a_row) if self._in_a_row else 0.0)
            self._in_a_row += 1
            try:
                self._start()
                break
            except LaunchError as error:
                fault = str(error)
        self._on_event("The server is ready again.")
