"""GVM's golden checkpoints on a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atelier.serving.launcher import Server
from export.gvm.export import Source, export
from tests.conftest import ROOT
from tests.golden.gvm.cases import bases, unpack


class Servers:
    """Starts a server for a case's checkpoint, once.

    Args:
        folder: for the checkpoints and the repositories.
        launch: starts a server that lives until the end of the session.
    """

    def __init__(self, folder: Path, launch: Callable[..., Server]) -> None:
        self._folder, self._launch = folder, launch
        self._checkpoints = unpack(folder / "checkpoints")
        self._started: dict[tuple[str, ...], Server] = {}

    def __call__(self, name: str, precision: str = "fp32") -> Server:
        arguments = bases(self._checkpoints, name)
        key = (*map(str, arguments.values()), precision)
        if key not in self._started:
            repository = self._folder / f"repository-{len(self._started)}"
            export(Source(**arguments), "onnx", precision, repository, 1, verified=False)
            for model in ("matte", "matte_sync"):
                (repository / model).symlink_to(ROOT / "model_repository" / model)
            self._started[key] = self._launch(repository)
        return self._started[key]
