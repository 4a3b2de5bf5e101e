"""GVM's golden checkpoints, exported and on a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atelier.serving.launcher import Server
from export.gvm.export import Source, export
from tests.conftest import ROOT
from tests.golden.gvm.cases import bases, unpack


class Exports:
    """The repository with a case's networks and ``matte``; cases of the same checkpoint share it.

    Args:
        folder: for the checkpoints and the repositories.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.checkpoints = unpack(folder / "checkpoints")
        self._repositories: dict[tuple[str, ...], Path] = {}

    def __call__(self, name: str, precision: str = "fp32") -> Path:
        arguments = bases(self.checkpoints, name)
        key = (*map(str, arguments.values()), precision)
        if key not in self._repositories:
            repository = self._folder / f"repository-{len(self._repositories)}"
            export(Source(**arguments), "onnx", precision, repository, 1)
            for model in ("matte", "matte_sync"):
                (repository / model).symlink_to(ROOT / "model_repository" / model)
            self._repositories[key] = repository
        return self._repositories[key]


class MatteServers:
    """The server of a case's checkpoint.

    Args:
        exports: the repositories.
        running: what starts servers, and stops the least recently used.
    """

    def __init__(self, exports: Exports, running: Callable[[Path], Server]) -> None:
        self._exports, self._running = exports, running

    def __call__(self, name: str, precision: str = "fp32") -> Server:
        return self._running(self._exports(name, precision))
