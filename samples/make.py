"""Makes the sample pictures and their masks again.

Two photographs come from scikit-image (CC0), two from Debian's lomiri-wallpapers-16.04 (CC BY 4.0), the page is drawn
here. Lettering is set in DejaVu Sans and Nanum Gothic.

    pip install scikit-image==0.26.0 && apt-get install fonts-dejavu-core fonts-nanum lomiri-wallpapers-16.04
    python samples/make.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from atelier.media.foreground import estimate_foreground

HERE = Path(__file__).parent
WALLPAPERS = Path("/usr/share/backgrounds")
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


# The outline of beanbag and drum, by hand, x and y in the part of the photograph that `beanbag` cuts out.
OUTLINE = """
33,350 38,320 60,290 95,270 135,266 180,267 228,266 236,252 262,228 300,196 340,160 370,130 395,97 420,72 455,58
490,50 520,48 552,58 585,73 615,95 640,120 665,145 690,180 705,215 716,245 719,257 760,266 800,282 818,298 838,324
860,355 882,400 898,450 906,500 908,560 905,610 895,660 878,710 855,760 832,800 805,835 775,868 745,884 700,892
650,897 600,897 540,893 480,888 400,883 320,877 250,868 190,850 130,830 95,812 75,798 65,765 56,720 50,680 52,630
60,560 68,510 80,482 86,474 60,445 45,415 36,385
"""


def meadow() -> None:
    """A scene with ground to stand on."""
    photograph = Image.open(WALLPAPERS / "aitzgorri_by_Aitzol_Berasategi.jpg").convert("RGB")
    photograph.resize((900, 599), Image.Resampling.BOX).save(HERE / "meadow.jpg", quality=88)


def beanbag() -> None:
    """An object with alpha: a drum in a beanbag, cut out along a line by hand that GrabCut moves by a few pixels."""
    photograph = Image.open(WALLPAPERS / "Wine_by_Jakkub_Mede.jpg").convert("RGB")
    part = np.asarray(photograph.crop((0, 1750, 2150, 3837)).resize((968, 940), Image.Resampling.BOX))
    points = np.array([[int(value) for value in pair.split(",")] for pair in OUTLINE.split()], np.int32)
    inside = cv2.fillPoly(np.zeros(part.shape[:2], np.uint8), [points], 1)
    band = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(inside, band) > 0] = cv2.GC_FGD
    labels[cv2.dilate(inside, band) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(cv2.cvtColor(part, cv2.COLOR_RGB2BGR), labels, None, *models, 5, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    alpha = cv2.GaussianBlur(cv2.erode(cv2.medianBlur(solid, 9), np.ones((3, 3), np.uint8)), (0, 0), 1.2)
    colours = estimate_foreground(part, alpha.astype(np.float32) / 255)
    left, top, width, height = cv2.boundingRect(alpha)
    # Where alpha is 0 the colours are black: the file is smaller, and nothing reads them.
    cutout = np.dstack([np.where(alpha[..., None], colours, 0), alpha])[top : top + height, left : left + width]
    size = (420, round(420 * height / width))
    Image.fromarray(cutout).resize(size, Image.Resampling.BOX).save(HERE / "beanbag.png", optimize=True)


if __name__ == "__main__":
    cat()
    coffee()
    page()
    meadow()
    beanbag()
