"""Lettering: random words of three writings, set in blocks, tilted or upright, filled, outlined or with a shadow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training import fonts as font_files
from training import tones
from training.fonts import FontSet

Picture = NDArray[np.uint8]

_SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "ke",
    "li",
    "mo",
    "nu",
    "pa",
    "re",
    "si",
    "to",
    "va",
    "we",
    "xi",
    "yo",
    "za",
    "chi",
    "sha",
    "tre",
    "ing",
    "ous",
    "ed",
    "qu",
    "er",
    "ly",
    "ar",
    "th",
]
_KANA = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをんがぎぐげご"
    "アイカキクサシスタツテトナノハヒフマミムラリルレロン"
)
_KANJI = (
    "日本人大小中上下左右山川田力男女子学校先生時間今何行見聞話食飲車電気天雨空海花木森金土火水月夜朝昼春夏秋冬"
    "東西南北国語店駅道町村家族友達愛心夢光影剣魔王"
)
_MARKS = ("", "", "", "!", "?", "!!", "…", ".", ",")


@dataclass(frozen=True)
class Lettering:
    """A block of text on a canvas of one size.

    Attributes:
        fill: HxW, 0..255: how far the letters' fill covers each pixel.
        outline: The same of fill, outline and shadow together.
        boxes: Left, top, right, bottom of every line, in pixels, before tilting: not tilted blocks only, else empty.
    """

    fill: Picture
    outline: Picture
    boxes: tuple[tuple[int, int, int, int], ...]


def words(rng: np.random.Generator, script: str, count: int) -> str:
    """``count`` made-up words of a writing."""
    return " ".join(_word(rng, script) for _ in range(count))


def draw(rng: np.random.Generator, height: int, width: int, fonts: FontSet, size: int | None = None) -> Lettering:
    """A random block of text somewhere on the canvas, parts of it possibly outside.

    Args:
        rng: Decides everything.
        height: Of the canvas, in pixels.
        width: Likewise.
        fonts: To choose from.
        size: Of the letters, in pixels; random, from 9 to half of the canvas, unless given.
    """
    script = str(rng.choice(["latin", "korean", "japanese"]))
    side = min(height, width)
    if size is None:
        size = int(np.exp(rng.uniform(np.log(9), np.log(max(12, side * 0.5)))))
    font = font_files.load(str(rng.choice(fonts.files[script])), size)
    lines = _lines(rng, script, size, height, width)
    stroke = int(rng.integers(1, 2 + size // 9)) if rng.random() < 0.4 else 0
    fill, outline = Image.new("L", (width, height)), Image.new("L", (width, height))
    left = int(rng.uniform(-0.1, 0.55) * width)
    top = int(rng.uniform(-0.05, 0.8) * height)
    step = int(size * rng.uniform(1.1, 1.6))
    upright = script != "latin" and rng.random() < 0.25
    boxes = []
    for number, line in enumerate(lines):
        if upright:  # a column of letters, columns from right to left
            place, text, gap = (width - left - (number + 1) * step, top), "\n".join(line.replace(" ", "")), 0
        else:
            place, text, gap = (left, top + number * step), line, 4
        ImageDraw.Draw(fill).multiline_text(place, text, fill=255, font=font, spacing=gap)
        ImageDraw.Draw(outline).multiline_text(place, text, fill=255, font=font, spacing=gap, stroke_width=stroke)
        x0, y0, x1, y1 = ImageDraw.Draw(fill).multiline_textbbox(place, text, font=font, spacing=gap)
        boxes.append((int(x0) - stroke, int(y0) - stroke, int(x1) + stroke + 1, int(y1) + stroke + 1))
    inner, outer = np.asarray(fill), np.asarray(outline)
    if rng.random() < 0.15:  # a shadow
        shift = int(rng.integers(1, 2 + size // 12))
        outer = np.maximum(outer, np.roll(outer, (shift, shift), (0, 1)))
        boxes = [(x0, y0, x1 + shift, y1 + shift) for x0, y0, x1, y1 in boxes]
    if rng.random() < 0.35:
        inner, outer = _tilt(rng, inner, outer)
        boxes = []
    return Lettering(inner, outer, tuple(boxes))


def paint(rng: np.random.Generator, picture: Picture, lettering: Lettering) -> Picture:
    """The picture with the lettering on it, in colours that stand out from what is below."""
    covered = lettering.outline > 127
    below = picture[covered].mean() if covered.any() else picture.mean()
    dark = below > 127 if rng.random() < 0.85 else below <= 127
    ink = rng.uniform(0, 70, 3) if dark else rng.uniform(190, 255, 3)
    if rng.random() < 0.6:  # most lettering is plain black or white
        ink = np.full(3, 10.0 if dark else 250.0)
    edge = 255 - ink if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    outer = lettering.outline[..., None] / np.float32(255)
    inner = lettering.fill[..., None] / np.float32(255)
    painted = picture * (1 - outer) + edge.astype(np.float32) * outer
    painted = painted * (1 - inner) + ink.astype(np.float32) * inner
    return tones.levels(painted)


def _word(rng: np.random.Generator, script: str) -> str:
    if script == "latin":
        word = "".join(rng.choice(_SYLLABLES, int(rng.integers(1, 4))))
        style = rng.integers(3)
        word = word.upper() if style == 0 else word.capitalize() if style == 1 else word
        if rng.random() < 0.1:
            word = str(rng.integers(0, 2027))
    elif script == "korean":
        word = "".join(chr(int(c)) for c in rng.integers(0xAC00, 0xD7A4, int(rng.integers(1, 5))))
        if rng.random() < 0.7:  # open syllables with the common vowels: what most text is made of
            first, vowel = rng.integers(0, 19, 3), rng.choice([0, 4, 8, 13, 18, 20], 3)
            word = "".join(
                chr(0xAC00 + int(i) * 588 + int(v) * 28 + int(rng.choice([0, 0, 4, 8, 21])))
                for i, v in zip(first, vowel, strict=True)
            )
    else:
        letters = _KANA if rng.random() < 0.6 else _KANA + _KANJI * 2
        word = "".join(rng.choice(list(letters), int(rng.integers(1, 6))))
    return word + str(rng.choice(_MARKS))


def _lines(rng: np.random.Generator, script: str, size: int, height: int, width: int) -> list[str]:
    room = max(1, int(height / (size * 1.4)))
    count = int(rng.integers(1, 1 + min(6, room)))
    letters = max(1, int(width / (size * (0.6 if script == "latin" else 1.0)) * rng.uniform(0.3, 1.1)))
    return [words(rng, script, 1 + letters // 5)[: max(letters, 2)] for _ in range(count)]


def _tilt(rng: np.random.Generator, *layers: Picture) -> list[Picture]:
    height, width = layers[0].shape
    angle = rng.uniform(-30, 30) if rng.random() < 0.8 else rng.uniform(-90, 90)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, rng.uniform(0.8, 1.2))
    return [cv2.warpAffine(layer, turn, (width, height), flags=cv2.INTER_LINEAR).astype(np.uint8) for layer in layers]
