"""What the tests share: real servers on free ports, and the golden outputs of the upstream implementation."""

from __future__ import annotations

import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from atelier.access import HTTP_HEADER
from atelier.serving import canary
from atelier.serving.launcher import Server
from atelier.serving.options import ServerOptions
from atelier.serving.ports import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from xdist.scheduler import LoadScopeScheduling

    from tests.golden.gvm.serving import Exports, MatteServers

ROOT = Path(__file__).resolve().parents[1]

# A machine that stands still for a moment is no fault; the same examples come at every run (`tests/faults/fuzz.py` has
# others, where they are asked for).
hypothesis.settings.register_profile(
    "atelier", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("atelier")


def server_options(*repositories: Path, **changes: object) -> ServerOptions:
    """Options for a server of these repositories on free ports."""
    http, grpc, metrics = free_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    return ServerOptions(repositories=repositories, **{**ports, "exit_timeout": 10, **changes})  # type: ignore[arg-type]


@contextmanager
def served(options: ServerOptions) -> Iterator[Server]:
    """A server until the block ends. It is killed then: to unload its models would take it seconds each.

    How servers end when they are asked to is tested in ``tests/serving`` and ``tests/faults``. Of one that ended by
    itself, or was killed, the last lines are shown beside the tests that failed of it.
    """
    with Server(options) as server:
        try:
            yield server
        finally:
            if not server.is_alive():
                print(f"The server has ended; its last lines:\n{server.logs()[-4000:]}", file=sys.stderr)
            server.kill()


def asking(server: Server, path: str) -> urllib.request.Request:
    """A question about what the server restricts, with its key."""
    return urllib.request.Request(server.http_url + path, headers={HTTP_HEADER: server.options.admin_key})


def logged(server: Server, words: str, patience: float = 10) -> bool:
    """Whether the server's log has these words, or gets them soon: it is written, and read, beside the answers."""
    deadline = time.monotonic() + patience
    while not (found := words in server.logs()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def sing(server: Server, *models: str) -> None:
    """Send the launcher's requests that ask nothing to these models, and wait for their answers."""
    for model in server.models:
        if model.name in models:
            server.administration.canary(model.name, canary.call(model.config), 30)


TOGETHER = {
    "shared memory": (
        "client/",
        "redis_bridge/",
        "perf/test_batching.py",
        "faults/test_dead_processes.py",
        "faults/test_mixed_sizes.py",
    ),
    "matte": ("model_repository/test_matte.py", "cli/test_matte.py", "export/test_export_gvm.py"),
}
"""Files whose tests run in one process: those that look at all of /dev/shm for what was left there, or make there what
the others would find; and those that would export the same networks again."""

LONGEST = (
    *("client/", "redis_bridge/", "perf/test_batching.py", "model_repository/", "cli/test_matte.py"),
    *("training/", "perf/", "export/", "deploy/", "cli/", "job_worker/", "serving/", "compositing/", "generation/"),
)
"""Files that take minutes, as they train, export or start servers. With several processes these come first: one of
them that came last would keep a single process busy while the others have nothing to do."""

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes, each with servers, share the cores: PyTorch's threads would wait for each other, spinning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """With several processes a file's tests run in one, as they share servers; each group of `TOGETHER` too."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = _file(nodeid)
            return next((group for group, files in TOGETHER.items() if file.startswith(files)), file)

    config.option.loadscopereorder = False  # which goes by the number of tests, and that tells little of their time
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes the longest files come first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _place(_file(item.nodeid)))


def _file(nodeid: str) -> str:
    """A test's file, below ``tests/``."""
    return nodeid.partition("::")[0].removeprefix("tests/")


def _place(file: str) -> int:
    return next((place for place, start in enumerate(LONGEST) if file.startswith(start)), len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> None:
    """The developer's own settings and proxies do not decide what is tested; ATELIER_TOOLS says where the server is."""
    for name in list(os.environ):
        if (name.startswith("ATELIER_") and name != "ATELIER_TOOLS") or name.lower().endswith("_proxy"):
            del os.environ[name]


class Running:
    """Embedded servers, started when first asked for. The last few stay: each holds its networks in memory.

    Args:
        most: servers at a time; the least recently used is stopped for another.
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._servers: dict[tuple[object, ...], tuple[Server, ExitStack]] = {}

    def __call__(self, *repositories: Path, **changes: object) -> Server:
        """The server of these repositories with these options. Hold it no longer than until another is asked for."""
        key = (*repositories, *sorted(changes.items()))
        if key in self._servers:
            self._servers[key] = self._servers.pop(key)
        else:
            while len(self._servers) >= self._most:
                self._servers.pop(next(iter(self._servers)))[1].close()
            stack = ExitStack()
            self._servers[key] = stack.enter_context(served(server_options(*repositories, **changes))), stack
        return self._servers[key][0]

    def close(self) -> None:
        """Stop all."""
        for _, stack in self._servers.values():
            stack.close()
        self._servers.clear()


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Server]]:
    """Start embedded servers that live until the end of the module: ``launch(repository, …, models=(…))``."""
    with ExitStack() as stack:

        def start(*repositories: Path, **changes: object) -> Server:
            return stack.enter_context(served(server_options(*repositories, **changes)))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium: Debian's; without it the one that `make test` had Playwright bring.

    It ends with its module: Playwright keeps an event loop running in the thread that started it, in which no other
    test of the same process could use asyncio.
    """
    from playwright.sync_api import sync_playwright

    rights = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=rights)
        yield started
        started.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The checkout's own repositories with the bundled artefact."""
    with served(server_options(ROOT / "model_repository", ROOT / "ensembles")) as started:
        yield started


@pytest.fixture(scope="session")
def gvm_exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """The repository with the networks of one of GVM's golden cases: ``gvm_exports(name)``, made when asked for."""
    from tests.golden.gvm.serving import Exports  # PyTorch is loaded for its tests alone

    return Exports(tmp_path_factory.mktemp("gvm"))


@pytest.fixture(scope="session")
def matte_servers(gvm_exports: Exports) -> Iterator[MatteServers]:
    """``matte`` over the checkpoint of one of GVM's golden cases: ``matte_servers(name)``, asked for by each test."""
    from tests.golden.gvm.serving import MatteServers

    running = Running()
    yield MatteServers(gvm_exports, running)
    running.close()
