"""Makes the sample pictures and their masks again.

Two photographs come from scikit-image (CC0), the page is drawn here. Lettering is set in DejaVu Sans and Nanum Gothic.

    pip install scikit-image==0.26.0 && apt-get install fonts-dejavu-core fonts-nanum
    python samples/make.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

HERE = Path(__file__).parent
LATIN = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
KOREAN = "/usr/share/fonts/truetype/nanum/NanumGothicBold.ttf"


def letter(picture: Image.Image, mask: Image.Image, place: tuple[int, int], text: str, font: str, size: int) -> None:
    """Write on the picture, and the same strokes on the mask."""
    style = {"font": ImageFont.truetype(font, size), "anchor": "mm", "align": "center"}
    outline = {"stroke_width": 2, "stroke_fill": (20, 20, 20)} if picture.getpixel(place)[0] < 200 else {}
    colour = (245, 240, 225) if outline else (20, 20, 20)
    ImageDraw.Draw(picture).multiline_text(place, text, fill=colour, **style, **outline)
    ImageDraw.Draw(mask).multiline_text(place, text, fill=255, stroke_width=2 if outline else 0, **style)


def save(name: str, picture: Image.Image, mask: Image.Image, **options: object) -> None:
    """Write a picture and its mask, whose strokes are widened by 3 pixels."""
    picture.save(HERE / name, **options)
    hole = cv2.dilate(np.asarray(mask), np.ones((7, 7), np.uint8))
    Image.fromarray((hole > 0).astype(np.uint8) * 255).save(HERE / f"{Path(name).stem}.mask.png", optimize=True)


def cat() -> None:
    """Lettering on a photograph."""
    picture = Image.fromarray(data.chelsea())
    mask = Image.new("L", picture.size)
    letter(picture, mask, (225, 262), "고양이의 오후", KOREAN, 40)
    letter(picture, mask, (380, 24), "ATELIER", LATIN, 22)
    save("cat.png", picture, mask, optimize=True)


def coffee() -> None:
    """An object: the spoon on the saucer."""
    picture = Image.fromarray(data.coffee())
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse([316, 232, 414, 336], fill=255)
    ImageDraw.Draw(mask).line([(385, 250), (400, 190), (412, 66)], fill=255, width=24, joint="curve")
    save("coffee.jpg", picture, mask, quality=92)


def page() -> None:
    """A page of two panels: a sky with a balloon, a screentone with a sound word over lines."""
    height, width = 1000, 720
    ramp = np.linspace(0, 1, 440)[:, None, None]
    canvas = np.full((height, width, 3), 250, np.uint8)
    canvas[40:480, 40:680] = (np.array([120, 170, 225]) * (1 - ramp) + np.array([250, 220, 190]) * ramp).astype(
        np.uint8
    )
    yy, xx = np.mgrid[0:440, 0:640]
    dots = (((yy % 12) - 6) ** 2 + ((xx % 12) - 6) ** 2) < 9 + xx / 40
    canvas[520:960, 40:680] = np.where(dots[..., None], 70, 235)
    picture = Image.fromarray(canvas)
    mask = Image.new("L", picture.size)
    draw = ImageDraw.Draw(picture)
    draw.polygon([(40, 480), (40, 400), (200, 300), (330, 390), (470, 270), (680, 420), (680, 480)], fill=(70, 105, 90))
    draw.ellipse([150, 80, 570, 290], fill=(255, 255, 255), outline=(20, 20, 20), width=4)
    for x in range(60, 680, 40):
        draw.line([(360, 1100), (x * 3 - 720, 520)], fill=(20, 20, 20), width=2)
    draw.rectangle([0, 961, width, height], fill=(250, 250, 250))
    for top in (40, 520):
        draw.rectangle([40, top, 680, top + 440], outline=(20, 20, 20), width=4)
    draw.rectangle([0, 520, 38, 960], fill=(250, 250, 250))
    draw.rectangle([682, 520, width, 960], fill=(250, 250, 250))
    letter(picture, mask, (360, 185), "글자를 지우면\n그림이 남는다.", KOREAN, 44)
    letter(picture, mask, (360, 740), "KRAAK!", LATIN, 110)
    letter(picture, mask, (560, 450), "panel one", LATIN, 24)
    save("page.png", picture, mask, optimize=True)


if __name__ == "__main__":
    cat()
    coffee()
    page()
