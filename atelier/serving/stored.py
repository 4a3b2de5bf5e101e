"""Folders of weights on this machine: whether they are whole, told by names and sizes, without reading the weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atelier.serving.catalogue import Weights

RECORD = ".atelier.json"
"""In a folder that was pulled: repository, commit, and every file's size."""
_HEADER_LIMIT = 100 << 20  # bytes; the format's own limit of a header


def lacks(weights: Weights, folder: Path) -> list[str]:
    """What a folder lacks, a few words for each file; nothing where it is whole.

    Args:
        weights: what the folder should hold.
        folder: that is there.
    """
    missing = min((_absent(folder, layout) for layout in weights.layouts), key=len)
    found = [f"{pattern} is missing" for pattern in missing]
    sizes = read_record(folder).get("files", {})
    for name, size in sorted(sizes.items() if isinstance(sizes, dict) else ()):
        file = folder / name
        if not file.is_file():
            found.append(f"{name} is missing")
        elif file.stat().st_size != size:
            found.append(f"{name} has {file.stat().st_size} bytes, not {size}")
    found += _shards_missing(folder)
    found += [f"{file.relative_to(folder)} is cut off, or no safetensors" for file in _cut(folder)]
    return list(dict.fromkeys(found))


def read_record(folder: Path) -> dict[str, Any]:
    """What a pull wrote down; empty where a folder was brought by hand."""
    return _read(folder / RECORD)


def _absent(folder: Path, patterns: Iterable[str]) -> list[str]:
    return [pattern for pattern in patterns if not any(file.is_file() for file in folder.glob(pattern))]


def _shards_missing(folder: Path) -> list[str]:
    """The shards that indices name and that are not there."""
    found = []
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        shards = _read(index).get("weight_map")
        if not isinstance(shards, dict):
            found.append(f"{index.relative_to(folder)} names no shards")
            continue
        paths = [index.parent / shard for shard in sorted({str(name) for name in shards.values()})]
        found += [f"{path.relative_to(folder)} is missing" for path in paths if not path.is_file()]
    return found


def _cut(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.rglob("*.safetensors")) if not _is_whole(file)]


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says: 8 bytes, the header, and the tensors' bytes."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= min(_HEADER_LIMIT, file.stat().st_size):
            return False
        try:
            header = json.loads(opened.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            return False
    return bool(file.stat().st_size == 8 + length + max(ends, default=0))


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
