"""What the tests share: real servers on free ports, and the golden outputs of the upstream implementation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from atelier.serving.launcher import Server
from atelier.serving.options import ServerOptions, free_ports

if TYPE_CHECKING:
    from tests.golden.gvm.serving import Servers

ROOT = Path(__file__).resolve().parents[1]


def server_options(*repositories: Path, **changes: object) -> ServerOptions:
    """Options for a server of these repositories on free ports."""
    http, grpc, metrics = free_ports(3)
    ports = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics}
    return ServerOptions(repositories=repositories, **{**ports, "exit_timeout": 10, **changes})  # type: ignore[arg-type]


def logged(server: Server, words: str, patience: float = 10) -> bool:
    """Whether the server's log has these words, or gets them soon: it is written, and read, beside the answers."""
    deadline = time.monotonic() + patience
    while not (found := words in server.logs()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> None:
    """The developer's own settings and proxies do not decide what is tested; ATELIER_TOOLS says where the server is."""
    for name in list(os.environ):
        if (name.startswith("ATELIER_") and name != "ATELIER_TOOLS") or name.lower().endswith("_proxy"):
            del os.environ[name]


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Server]]:
    """Start embedded servers that live until the end of the session: ``launch(repository, …, models=(…))``."""
    with ExitStack() as stack:

        def start(*repositories: Path, **changes: object) -> Server:
            return stack.enter_context(Server(server_options(*repositories, **changes)))

        yield start


@pytest.fixture(scope="session")
def server(launch: Callable[..., Server]) -> Server:
    """The checkout's own repositories with the bundled artefact."""
    return launch(ROOT / "model_repository")


@pytest.fixture(scope="session")
def matte_servers(launch: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Servers:
    """``matte`` over the checkpoint of one of GVM's golden cases: ``matte_servers(name)``."""
    from tests.golden.gvm.serving import Servers  # PyTorch is loaded for its tests alone

    return Servers(tmp_path_factory.mktemp("gvm"), launch)
