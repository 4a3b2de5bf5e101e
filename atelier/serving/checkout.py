"""Where the folders of a checkout are: the wheel holds the library alone, the server's files lie beside it."""

from __future__ import annotations

import os
from pathlib import Path

from atelier.errors import InvalidInput


def root() -> Path:
    """The checkout: the folder that holds ``model_repository/`` and ``backends/``.

    Looked for beside the installed package (an editable install), then in the working directory.

    Raises:
        InvalidInput: neither is a checkout.
    """
    for folder in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (folder / "model_repository").is_dir() and (folder / "backends").is_dir():
            return folder
    raise InvalidInput("No model repository here: run this in a checkout of Atelier, or name one with --repository.")


def default_repositories() -> tuple[Path, ...]:
    """The checkout's ``model_repository/``, and ``ensembles/`` where it holds a model."""
    repositories = (root() / "model_repository", root() / "ensembles")
    return tuple(folder for folder in repositories if any(folder.glob("*/config.pbtxt")))


def tools() -> Path:
    """The folder of programs that are never installed beside the project's libraries (``ATELIER_TOOLS``)."""
    named = os.environ.get("ATELIER_TOOLS")
    return Path(named).expanduser().resolve() if named else root() / ".tools"
