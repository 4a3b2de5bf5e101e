"""What a language model answers, read: leniently in its form, strictly in its values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_FIELDS = ("text", "prompt", "light", "palette", "mood", "camera", "surfaces", "box")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")  # half a surrogate pair, as of a cut emoji, has no UTF-8
_HANGUL = re.compile(r"[\uac00-\ud7a3]")
_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_LONGEST = {"text": 4000, "prompt": 1000}  # characters; 200 for the others
_COLOURS = 8
_SIDES = {
    "left": (-1, 0), "right": (1, 0), "above": (0, -1), "top": (0, -1), "upper": (0, -1), "overhead": (0, -1),
    "below": (0, 1), "bottom": (0, 1), "lower": (0, 1),
}  # fmt: skip
_NOWHERE = ("front", "behind", "back", "around", "everywhere", "ambient", "diffuse", "none", "center", "centre")
_SOFTNESS = {"hard": 0.1, "medium": 0.5, "soft": 0.9}
SIDE = 1000.0
"""Qwen2-VL says places in thousandths of width and height."""


@dataclass
class Answer:
    """What could be read. None: that could not.

    Attributes:
        values: by field: text, prompt, mood, camera, surfaces: words; palette: ``#rrggbb``; box: four numbers,
            0..1000; light: a dictionary with any of ``direction``, ``softness``, ``colour``, ``description``.
        problems: why a field that was there could not be used, by field.
    """

    values: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def read(self) -> list[str]:
        """Names of the fields that could be read."""
        return [name for name in _FIELDS if name in self.values]

    def missing(self, wants_box: bool) -> list[str]:
        """Names of the fields that could not, among those that were asked for."""
        return [name for name in _FIELDS if name not in self.values and (wants_box or name != "box")]


def read(answer: str, language: str) -> Answer:
    """Read an answer.

    Args:
        answer: of the model: JSON, perhaps with words around it, perhaps cut off.
        language: that its text was to be in.
    """
    found, result = _object(answer), Answer()

    def text(value: Any) -> str:
        return _text(value, language)

    readers: dict[str, Callable[[Any], Any]] = {
        "text": text,
        "prompt": _prompt,
        "light": _light,
        "palette": _palette,
        "box": _box,
        **dict.fromkeys(("mood", "camera", "surfaces"), _short),
    }
    for name in _FIELDS:
        if name not in found or found[name] is None:
            continue
        try:
            result.values[name] = readers[name](found[name])
        except ValueError as error:
            result.problems[name] = str(error)
    return result


def _object(answer: str) -> dict[str, Any]:
    """The object of an answer; of one that is damaged or cut off, those fields that are whole."""
    decoder = json.JSONDecoder()
    for start in (found.start() for found in re.finditer(r"\{", answer)):
        try:
            value, _ = decoder.raw_decode(answer, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and value.keys() & set(_FIELDS):
            return value
    fields: dict[str, Any] = {}
    for name in _FIELDS:
        found = re.search(rf'"{name}"\s*:\s*', answer)
        if found:
            try:
                fields[name], _ = decoder.raw_decode(answer, found.end())
            except (ValueError, RecursionError):
                continue
    return fields


def _words(value: Any, longest: int) -> str:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        value = ", ".join(value)
    if not isinstance(value, str):
        raise ValueError("it is no text")
    words = _UNSEEN.sub(" ", value).strip()
    if not any(character.isalpha() for character in words):
        raise ValueError("it has no words")
    return words[:longest]


def _short(value: Any) -> str:
    return _words(value, 200)


def _text(value: Any, language: str) -> str:
    words = _words(value, _LONGEST["text"])
    if language.partition("-")[0].lower() == "ko" and not _HANGUL.search(words):
        raise ValueError("it is not in Korean")
    return words


def _prompt(value: Any) -> str:
    words = _words(value, _LONGEST["prompt"])
    if _ASIAN.search(words):
        raise ValueError("it is not in English")
    return words


def _light(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = {"from": value, "description": value}
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    light: dict[str, Any] = {}
    for name, key, reader in (
        ("direction", "from", _direction),
        ("softness", "softness", _softness),
        ("colour", "colour", _colour),
        ("description", "description", _short),
    ):
        try:
            light[name] = reader(value[key])
        except (KeyError, ValueError):
            continue
    if not light:
        raise ValueError("nothing of it could be read")
    return light


def _direction(value: Any) -> tuple[float, float]:
    """A unit vector, y downwards, from words such as ``upper left``."""
    if not isinstance(value, str):
        raise ValueError("it is no text")
    words = re.findall(r"[a-z]+", value.lower())
    sides = {_SIDES[word] for word in words if word in _SIDES}
    if not sides and not any(word in _NOWHERE for word in words):
        raise ValueError("it is no side")
    x, y = (sum(side[axis] for side in sides) for axis in (0, 1))
    length = math.hypot(x, y)
    return (x / length, y / length) if length else (0.0, 0.0)


def _softness(value: Any) -> float:
    if isinstance(value, str) and value.strip().lower() in _SOFTNESS:
        return _SOFTNESS[value.strip().lower()]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("it is not within 0 and 1")
    return float(value)


def _colour(value: Any) -> tuple[int, int, int]:
    if not isinstance(value, str) or not _COLOUR.fullmatch(value.strip()):
        raise ValueError("it is no #rrggbb")
    red, green, blue = bytes.fromhex(value.strip()[1:])
    return red, green, blue


def _palette(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else []
    colours = [part.strip().lower() for part in parts if isinstance(part, str) and _COLOUR.fullmatch(part.strip())]
    if not colours:
        raise ValueError("it has no #rrggbb")
    return tuple(dict.fromkeys(colours))[:_COLOURS]


def _box(value: Any) -> tuple[float, float, float, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("it has not four numbers")
    if any(isinstance(part, bool) or not isinstance(part, int | float) for part in value):
        raise ValueError("it has not four numbers")
    left, top, right, bottom = numbers = [float(part) for part in value]
    if not all(math.isfinite(number) and 0 <= number <= SIDE for number in numbers):
        raise ValueError("it leaves 0 to 1000")
    if left >= right or top >= bottom:
        raise ValueError("it is empty")
    return left, top, right, bottom
