"""The page on which one can see it: a folder that opens from disk, needs no server and asks the network for nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atelier.errors import InvalidInput

VERSION = 1
"""Of the form of the results that the page's scripts read."""
_STATIC = Path(__file__).with_name("static")
_UNSAFE = re.compile("[<\u2028\u2029\ud800-\udfff]")
"""What would end a script early, what old engines take for a line's end, and what UTF-8 cannot hold."""


def write_page(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write the page beside the videos or pictures that it shows, over an earlier one.

    Args:
        folder: where the results' files are, each under the path that the results name.
        results: the object that ``results.json`` holds.

    Returns:
        ``folder/index.html``; beside it are ``data.js`` (the results, as a page opened from disk may not read JSON) and
        ``page/`` (styles and scripts).

    Raises:
        InvalidInput: there is no such folder, or the results are of another version, or hold what JSON has no form for.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder} is no folder; the page is written into the one that holds the videos or pictures."
        )
    if results.get("version") != VERSION:
        raise InvalidInput(f"The results are of version {results.get('version')!r}; the page shows version {VERSION}.")
    try:
        text = json.dumps(results, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"The results cannot be written as JSON ({error}); null stands for no number.") from error
    shutil.copytree(_STATIC, folder, dirs_exist_ok=True)
    script = f"window.ATELIER_RESULTS = {_UNSAFE.sub(_escaped, text)};\n"
    (folder / "data.js").write_text(script, encoding="utf-8")
    return folder / "index.html"


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
