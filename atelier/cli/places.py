"""Where results go, seen before there is anything to write: the work may take minutes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atelier.client.errors import InvalidRequest


def require_writable(*files: Path | None) -> None:
    """See that files can be written; those that are None are passed over.

    Raises:
        InvalidRequest: one lies in no folder, in one that is not to be written to, or is a folder itself.
    """
    for file in files:
        if file is None:
            continue
        if file.is_dir():
            raise InvalidRequest(f"{file} is a folder; accepted: the name of a file.")
        if not file.parent.is_dir():
            raise InvalidRequest(f"{file} cannot be written: there is no folder {file.parent}.")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise InvalidRequest(f"{file} cannot be written: permission denied.")


def write_facts(file: Path | None, facts: Mapping[str, Any]) -> None:
    """Write facts as JSON; nothing where the file is None.

    Raises:
        InvalidRequest: it cannot be written.
    """
    if file is None:
        return
    try:
        file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written ({error.strerror}).") from None
