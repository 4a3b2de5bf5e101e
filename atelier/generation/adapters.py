"""The adapters of one network: files in a folder, attached when first asked for, the least recently used let go."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier.errors import InvalidInput
from atelier.generation.errors import LoraError
from atelier.generation.lora import LoraReport, attach, attached, detach, set_scales

SUFFIX = ".safetensors"
MOST_SCALE = 100
"""Of a request, either way: beyond, networks answer noise."""
_LISTED = 20
_NUMBERS = itertools.count()  # several stores may share a network


@dataclass
class _Held:
    """An adapter that is attached: the file as it was read."""

    stamp: tuple[int, int]  # nanoseconds of its last change, bytes
    key: str
    bytes: int


class AdapterStore:
    """Adapters by their files' names.

    Args:
        folder: with ``NAME.safetensors`` files; it need not exist.
        transformer: the network.
        limit: bytes of files whose adapters are kept attached; those that a request uses are kept in any case.
    """

    def __init__(self, folder: Path, transformer: Any, *, limit: int) -> None:
        self._folder, self._transformer, self._limit = folder, transformer, limit
        self._held: dict[str, _Held] = {}  # the least recently used first

    def names(self) -> list[str]:
        """All adapters that there are."""
        return sorted(file.stem for file in self._files().values())

    def check(self, wanted: Sequence[tuple[str, float]]) -> Mapping[str, Path]:
        """See whether these adapters are there, without reading them; while others are in use too.

        Args:
            wanted: names with their scales.

        Returns:
            All files that there are, by name.

        Raises:
            InvalidInput: one is not there, is named twice, or has a scale beyond use.
        """
        names = [name for name, _ in wanted]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InvalidInput(f"LORA names {twice[0]!r:.60} twice.")
        files = self._files()
        for name, scale in wanted:
            if not abs(scale) <= MOST_SCALE:
                raise InvalidInput(f"The scale of {name:.60} is {scale:g}; -{MOST_SCALE} to {MOST_SCALE} is accepted.")
            if name not in files:
                there = ", ".join(sorted(files)[:_LISTED]) or "none"
                raise InvalidInput(f"LORA: there is no adapter {name!r:.60}; there are: {there}.")
        return files

    def use(self, wanted: Sequence[tuple[str, float]]) -> tuple[list[LoraReport], list[str]]:
        """Switch on these adapters and all others off.

        Args:
            wanted: names with their scales; none: the base network.

        Returns:
            A report each, and warnings.

        Raises:
            InvalidInput: as `check`.
            LoraError: one cannot be applied. What was attached before still is.
        """
        files, warnings = self.check(wanted), []
        names = [name for name, _ in wanted]
        for name in names:
            warnings += self._load(name, files[name])
        self._let_go(names)
        set_scales(self._transformer, {self._held[name].key: scale for name, scale in wanted})
        reports = attached(self._transformer)
        used = [_named(reports[self._held[name].key], name) for name in names]
        return used, warnings + [report.warning for report in used if report.warning]

    def _files(self) -> dict[str, Path]:
        if not self._folder.is_dir():
            return {}
        return {file.stem: file for file in self._folder.iterdir() if file.suffix == SUFFIX and file.is_file()}

    def _load(self, name: str, file: Path) -> list[str]:
        """Attach a file that is new, or not the one that was read; the old one serves on where the new one fails."""
        status = file.stat()
        stamp, old = (status.st_mtime_ns, status.st_size), self._held.get(name)
        if old is not None:
            self._held[name] = self._held.pop(name)  # the last one used
            if old.stamp == stamp:
                return []
        key = f"{name}#{next(_NUMBERS)}"
        try:
            attach(self._transformer, file, name=key)
        except LoraError as error:
            if old is None:
                raise
            return [f"{file.name} has changed and cannot be used ({error}) The one that was read before was used."]
        if old is not None:
            detach(self._transformer, old.key)
        self._held[name] = _Held(stamp, key, status.st_size)
        return []

    def _let_go(self, kept: Sequence[str]) -> None:
        """Detach the least recently used ones until the rest is within the limit."""
        for name in [name for name in self._held if name not in kept]:
            if sum(held.bytes for held in self._held.values()) <= self._limit:
                return
            detach(self._transformer, self._held.pop(name).key)

    def sizes(self) -> Mapping[str, int]:
        """Bytes of the adapters that are attached, by name, the least recently used first."""
        return {name: held.bytes for name, held in self._held.items()}


def _named(report: LoraReport, name: str) -> LoraReport:
    return LoraReport(**{**report.as_dict(), "name": name})
