"""Numbered pictures in a folder or an archive, read as if they were a video, and written as one."""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from atelier.errors import InvalidInput
from atelier.media.codecs import decode_picture
from atelier.media.video.facts import Facts, Timed

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
LARGEST_FILE = 256 * 1024 * 1024
"""Bytes of one picture of an archive, unpacked."""


def natural_order(name: str) -> list[Any]:
    """A key that puts ``shot.2.png`` before ``shot.10.png``."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", name)]


UNPACKING = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(RuntimeError, NotImplementedError, EOFError, OSError, ValueError, OverflowError),
)
"""What Python's zipfile raises at damaged files."""


class PictureReader:
    """Pictures in the order of the numbers in their names. Iterate over it once.

    Args:
        names: of the pictures.
        read: gives the bytes of one.
        name: what errors call them all.
        max_pixels: of a picture at most.
        rate: frames a second.
        close: lets them go.

    Attributes:
        facts: what is known before they are read; the first gives the size.
    """

    def __init__(
        self,
        names: Sequence[str],
        read: Callable[[str], bytes],
        *,
        name: str,
        max_pixels: int,
        rate: Fraction,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        chosen = [entry for entry in names if PurePosixPath(entry).suffix.lower() in SUFFIXES]
        chosen = [entry for entry in chosen if not PurePosixPath(entry).name.startswith(".")]
        self._names = sorted(chosen, key=natural_order)
        self._read, self._name, self._max_pixels, self.close = read, name, max_pixels, close
        if not self._names:
            close()
            raise InvalidInput(f"{name} holds no pictures: PNG, JPEG and WebP are read.")
        try:
            first = self._decode(self._names[0])
        except InvalidInput:
            close()
            raise
        height, width = first.shape[:2]
        self.facts: Facts = Facts(width, height, rate, 1 / rate, len(self._names), "pictures")

    @classmethod
    def of_folder(cls, folder: Path, **arguments: Any) -> PictureReader:
        """The pictures of a folder, not of those in it."""
        names = [entry.name for entry in folder.iterdir() if entry.is_file()]
        return cls(names, lambda name: (folder / name).read_bytes(), **arguments)

    @classmethod
    def of_archive(cls, file: Any, **arguments: Any) -> PictureReader:
        """The pictures of a zip."""
        name = arguments["name"]
        try:
            archive = zipfile.ZipFile(file)
        except UNPACKING:
            raise InvalidInput(f"{name} is a zip that is damaged or cut short.") from None

        def read(entry: str) -> bytes:
            info = archive.getinfo(entry)
            if info.file_size > LARGEST_FILE:
                raise InvalidInput(f"{name}: {entry} is larger than {LARGEST_FILE} bytes.")
            try:
                return archive.read(info)
            except UNPACKING:
                raise InvalidInput(f"{name}: {entry} cannot be unpacked.") from None

        return cls(archive.namelist(), read, close=archive.close, **arguments)

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def audio(self) -> None:
        """Pictures have none."""

    def __iter__(self) -> Iterator[Timed]:
        """All pictures in order; their alpha is left out.

        Raises:
            InvalidInput: a picture cannot be decoded.
        """
        for number, entry in enumerate(self._names):
            yield Timed(self._decode(entry), number / self.facts.rate)

    def _decode(self, entry: str) -> Any:
        return decode_picture(self._read(entry), name=f"{self._name}: {entry}", max_pixels=self._max_pixels).rgb
