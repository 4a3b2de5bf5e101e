"""The server process: start, readiness, logs, stop; its children die with it."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from atelier import access
from atelier.errors import InvalidInput
from atelier.serving import beats, checkout, doors, draining, embedded, leftovers, log_lines, repository
from atelier.serving.administration import Administration
from atelier.serving.locked import LockedFile
from atelier.serving.options import ServerOptions, command, known_flags, with_profile

LOG_LINES = 5000

OWN_START = 60.0
"""Seconds that the server is given to start, besides the time that a model is given to load."""

_NUMBERS = itertools.count(1)


class LaunchError(RuntimeError):
    """The server did not come up, or went down; the message is one sentence with the cause."""


@dataclass(frozen=True)
class ModelState:
    """What became of one model of the repositories.

    Attributes:
        name: the model.
        profile: the configuration that was used.
        version: the newest version folder; ``None`` without one.
        state: ``READY``, ``FAILED`` (it was tried and did not load), ``MISSING`` (something it needs is not there) or
            ``NOT LOADED`` (not asked for).
        reason: one line for every state but ``READY``.
    """

    name: str
    profile: str
    version: int | None
    state: str
    reason: str = ""


class Server:
    """One ``tritonserver`` process.

    Use it as a context manager, or call ``start``, ``wait_ready`` and ``stop``. The process gets SIGTERM when the
    thread that called ``start`` ends (Linux ties that signal to the thread), and is in a session of its own, so that
    Ctrl-C in a terminal reaches only the caller, who then drains it with ``stop``.

    Args:
        options: what to start.
        on_line: called with each line of the server's log, from a thread of its own.

    Attributes:
        options: what it was started with, and the profile that it came to.
        administration: what is asked of the running server.
    """

    def __init__(self, options: ServerOptions, on_line: Callable[[str], None] | None = None) -> None:
        self.options = options = with_profile(options, repository.profiles(options.repositories))
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._process: subprocess.Popen[str] | None = None
        self._pump: threading.Thread | None = None
        self._scratch: leftovers.Scratch | None = None
        self._hold: LockedFile | None = None
        self._keys: list[Path] = []
        self.administration = Administration(self.http_url, options.admin_key)
        self._models = repository.discover(options.repositories, options.profile)
        self._prefix = leftovers.region_prefix(next(_NUMBERS))
        self._failed: dict[str, str] = {}
        self._load, self._lacks = self._choose_models()

    @property
    def http_url(self) -> str:
        """Address for HTTP clients, with its scheme."""
        return f"http://{self.options.host}:{self.options.http_port}"

    @property
    def grpc_url(self) -> str:
        """Address for gRPC clients."""
        return f"{self.options.host}:{self.options.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """Address of the metrics page."""
        return f"http://{self.options.host}:{self.options.metrics_port}/metrics"

    @property
    def models(self) -> list[repository.Model]:
        """All models of the repositories, loaded or not."""
        return self._models

    @property
    def pid(self) -> int | None:
        """The server's process number while it runs."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Server:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process.

        Raises:
            LaunchError: the machine lacks what the binary needs, or a port is taken; each says which.
        """
        if self.is_alive():
            raise LaunchError("The server runs already.")
        try:
            doors.check_free(self.options)
        except InvalidInput as error:
            raise LaunchError(str(error)) from None
        leftovers.sweep()
        try:
            self._hold = leftovers.hold_regions(self._prefix)
            self._scratch = leftovers.Scratch()
            self._start(self._scratch.path)
        except OSError as error:
            self._clean_up()
            why = error.strerror or "the disk may be full"  # a copied tree's error has a list of paths instead
            raise LaunchError(f"The server's own files cannot be written or started: {why}.") from None
        except BaseException:
            self._clean_up()
            raise

    def _start(self, scratch: Path) -> None:
        binary, environment, folders = self._binary(scratch)
        repositories = []
        for number, repository_folder in enumerate(self.options.repositories):
            link = scratch / f"repository-{number}"  # a plain path: see leftovers.Scratch
            link.symlink_to(repository_folder.resolve())
            repositories.append(link)
        flags = known_flags(binary, environment)
        if "--model-repository" not in flags:
            raise LaunchError(f"{binary} is no tritonserver: its --help does not tell of --model-repository.")
        arguments = command(
            replace(self.options, repositories=tuple(repositories)),
            binary=binary,
            flags=flags,
            load=self._load,
            prefix=self._prefix,
            embedded_folders=folders,
        )
        self._process = subprocess.Popen(
            arguments,
            env=environment | self._own_environment(scratch) | self.options.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        self._pump = threading.Thread(target=self._read_log, name="tritonserver-log", daemon=True)
        self._pump.start()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the server answers at every port and every model that was tried is ready or has failed.

        Args:
            timeout: seconds; by default what a model is given to load, and `OWN_START` for the server itself.

        Raises:
            LaunchError: the process ended, or the time is over.
        """
        if timeout is None:
            timeout = self.options.stub_timeout + OWN_START
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.is_alive():
                if self._pump is not None:
                    self._pump.join(5)  # its last words may still be in the pipe
                raise LaunchError(f"The server ended while it started: {log_lines.last_words(self._lines)}")
            index = self.administration.index()
            states = {entry["name"]: entry for entry in index or () if entry.get("state")}
            failed = self._failures(states)
            tried = all(model in failed or states.get(model, {}).get("state") == "READY" for model in self._load)
            if index is not None and tried and doors.all_open(self.options):
                self._failed = failed
                # Not before: had another server taken a port meanwhile, this would overwrite its key.
                self._keys = access.publish((self.options.http_port, self.options.grpc_port), self.options.admin_key)
                return
            time.sleep(0.05)
        raise LaunchError(f"The server was not ready after {timeout:.0f} s: {log_lines.last_words(self._lines)}")

    def _failures(self, states: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Why models did not load. Of an ensemble whose step did not load the index says nothing, ever."""
        tried = {name: entry for name, entry in states.items() if name in self._load}
        failed = {
            name: log_lines.one_line(entry.get("reason", ""))
            for name, entry in tried.items()
            if entry["state"] not in ("READY", "LOADING")
        }
        for model in self._models:
            lost = [name for name in model.requires if name in failed]
            if lost and model.name in self._load and model.name not in states:
                failed[model.name] = f"{lost[0]}, which it calls, did not load."
        return failed

    def states(self) -> list[ModelState]:
        """What became of every model of the repositories, after ``wait_ready``."""
        return [self._state(model) for model in self._models]

    def require_ready(self) -> None:
        """See that the models that were asked for are ready, and those that they call.

        Raises:
            LaunchError: one is not; the message says what each lacks.
        """
        calls = {model.name: model.requires for model in self._models}
        asked = list(calls if self.options.models is None else self.options.models)
        for name in asked:  # which grows
            asked += [other for other in calls.get(name, ()) if other not in asked]
        if failed := [f"{s.name}: {s.reason}" for s in self.states() if s.name in asked and s.state != "READY"]:
            raise LaunchError("; ".join(failed))

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def logs(self) -> str:
        """The last lines that the server wrote."""
        return "\n".join(self._lines)

    def last_beat(self, model: str) -> int:
        """When a model's work last went on, as a number that grows (`atelier.serving.beats`)."""
        return beats.last(self._scratch.path / "beats", model) if self._scratch else 0

    def wait(self) -> int:
        """Wait for the process to end by itself, and return its exit status."""
        return self._process.wait() if self._process else 0

    def stop(self, dead: Collection[str] = ()) -> int:
        """Drain and stop the process: running requests finish, new ones are refused.

        Args:
            dead: models whose processes are dead or silent: their requests, and those of their callers, are given a
                moment only. Triton would wait for them until the time is over.

        Returns:
            The exit status of the process; 0 where it was not started.
        """
        if self._process is None:
            return 0
        if self.is_alive():
            deadline = time.monotonic() + self.options.exit_timeout
            if dead:
                if not set(dead) >= set(self._load):  # else the server itself is: nothing is left that could finish
                    draining.unload(self, self._load, deadline, draining.with_callers(self._models, dead))
                self.kill()
            else:
                # A server that got SIGTERM refuses every new inference, also those of its own models: a request whose
                # model had not yet made its call would be lost.
                draining.unload(
                    self,
                    [model.name for model in self._models if model.requires and model.name in self._load],
                    deadline,
                )
                self._process.send_signal(signal.SIGTERM)
            try:
                # Unloading the Python models comes on top of the time for running requests.
                self._process.wait(max(0.0, deadline - time.monotonic()) + 30)
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
        self.kill()  # what a server that gave up left running: Python processes in the midst of their work
        if self._pump is not None:
            self._pump.join(5)
        status = self._process.returncode
        self._process = None
        self._clean_up()
        return status

    def kill(self) -> None:
        """End the process and its children at once, also those that outlived it; what runs is lost."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _clean_up(self) -> None:
        access.withdraw(self._keys, self.options.admin_key)
        leftovers.remove_regions(self._prefix)
        for kept in (self._scratch, self._hold):
            if kept is not None:
                kept.remove()

    def _choose_models(self) -> tuple[list[str], dict[str, str]]:
        """The models to load, and what each of the others lacks."""
        backends = None if self.options.binary else checkout.root() / "backends"
        lacks = repository.missing(self._models, backends, os.environ | self.options.environment)
        if self.options.models is None:
            return [model.name for model in self._models if model.name not in lacks], lacks
        by_name = {model.name: model for model in self._models}
        wanted: list[str] = []
        todo = list(self.options.models)
        while todo:
            name = todo.pop(0)
            if name not in by_name:
                raise InvalidInput(f"There is no model '{name}'; there are: {', '.join(by_name) or 'none'}.")
            if name not in wanted and name not in lacks:
                wanted.append(name)
                todo += by_name[name].requires
        return wanted, lacks

    def _state(self, model: repository.Model) -> ModelState:
        def state(word: str, reason: str = "") -> ModelState:
            return ModelState(model.name, model.profile, model.version, word, reason)

        if model.name in self._failed:
            return state("FAILED", self._failed[model.name])
        if model.name in self._load:
            return state("READY")
        if model.name in self._lacks:
            return state("MISSING", self._lacks[model.name])
        return state("NOT LOADED", "not asked for")

    def _binary(self, scratch: Path) -> tuple[Path, dict[str, str], list[str]]:
        """The program, its environment, and the flags that name the embedded server's folders."""
        if self.options.binary is not None:
            if not os.access(self.options.binary, os.X_OK) or self.options.binary.is_dir():
                raise LaunchError(f"{self.options.binary} is not a program.")
            return self.options.binary, dict(os.environ), []
        server = embedded.locate()
        if problems := server.missing():
            raise LaunchError(" ".join(problems))
        server.assemble_backends(scratch / "backends", checkout.root() / "backends")
        folders = [f"--backend-directory={scratch / 'backends'}", f"--cache-directory={server.caches}"]
        return server.binary, server.environment(), folders

    def _own_environment(self, scratch: Path) -> dict[str, str]:
        # Compiled files are not written into the repositories, which may be read-only.
        profile = {repository.PROFILE_VARIABLE: self.options.profile} if self.options.profile else {}
        (scratch / "beats").mkdir()
        return {"PYTHONDONTWRITEBYTECODE": "1", beats.FOLDER_VARIABLE: str(scratch / "beats"), **profile}

    def _read_log(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            text = line.rstrip("\n").replace(self.options.admin_key, "(the admin key)")
            self._lines.append(text)
            if self._on_line is not None:
                try:
                    self._on_line(text)
                except Exception:  # a full disk, a closed pipe: were the log read no more, the server would stand still
                    self._on_line = None


_PRCTL = ctypes.CDLL(None).prctl  # before there are threads: the child must not wait for a lock that one of them held


def _die_with_parent() -> None:
    """Runs in the child before the program: SIGTERM when the parent's thread ends (``PR_SET_PDEATHSIG`` is 1)."""
    _PRCTL(1, signal.SIGTERM)
