"""Fonts of Debian packages, by file name, and which writing each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from atelier.errors import InvalidInput

FOLDER = Path("/usr/share/fonts")
PACKAGES = Path(__file__).with_name("fonts.txt")  # read by scripts/system_packages.sh as well
# Letters that a font of that writing has, and one that none has: its picture is the box of a missing glyph.
_PROBES = {"latin": "aR", "korean": "갈쉽", "japanese": "あ語魔"}
_MISSING = "\U0010fffd"


@dataclass(frozen=True)
class FontSet:
    """Font files by the writing that they have: ``latin``, ``korean``, ``japanese``; none of them is empty."""

    files: dict[str, tuple[str, ...]]


def find(names: Sequence[str]) -> FontSet:
    """Find fonts by file name, below `FOLDER`.

    Args:
        names: File names, such as ``NanumGothic.ttf``.

    Raises:
        InvalidInput: A font is not installed (the message has the command that installs all), or no font of the list
            has Latin, Korean or Japanese letters.
    """
    installed = {path.name: path for path in sorted(FOLDER.rglob("*.[ot]t[fc]"))}
    missing = [name for name in names if name not in installed]
    if missing:
        raise InvalidInput(
            f"These fonts are not installed: {', '.join(missing)}. On Debian: apt-get install -y "
            f"--no-install-recommends {' '.join(packages())}"
        )
    files: dict[str, list[str]] = {script: [] for script in _PROBES}
    for name in names:
        for script, letters in _PROBES.items():
            if all(_has(str(installed[name]), letter) for letter in letters):
                files[script].append(str(installed[name]))
    empty = [script for script, found in files.items() if not found]
    if empty:
        raise InvalidInput(f"The list of fonts has none with {' and '.join(empty)} letters.")
    return FontSet({script: tuple(found) for script, found in files.items()})


def packages() -> list[str]:
    """The Debian packages that the fonts come from."""
    lines = (line.partition("#")[0].strip() for line in PACKAGES.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


@lru_cache(maxsize=256)
def load(file: str, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels; kept, since opening one takes longer than writing with it."""
    return ImageFont.truetype(file, size)


def _has(file: str, letter: str) -> bool:
    font = load(file, 32)
    mask, missing = font.getmask(letter), font.getmask(_MISSING)
    return mask.getbbox() is not None and (mask.size != missing.size or bytes(mask) != bytes(missing))
