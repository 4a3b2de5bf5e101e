"""Statistics in words: a text for the user in English or Korean, and an English prompt for the synthesizer."""

from __future__ import annotations

from dataclasses import dataclass

from atelier.compositing.classical.light import Statistics

LANGUAGES = ("en", "ko")
"""That a text can be written in."""

_KOREAN = {
    "black": "검은색", "white": "흰색", "grey": "회색", "pink": "분홍색", "red": "빨간색", "orange": "주황색",
    "yellow": "노란색", "green": "초록색", "turquoise": "청록색", "blue": "파란색", "purple": "보라색",
    "brown": "갈색", "beige": "베이지색",
    "soft": "부드럽고", "fairly hard": "다소 강하고", "hard": "강하고",
    "warm": "따뜻한", "cool": "차가운", "neutral": "중립적인",
    "dark": "어두운", "dim": "약간 어두운", "bright": "밝은", "very bright": "아주 밝은",
    "calm": "차분한", "lively": "생동감 있는", "dramatic": "극적인", "muted": "절제된",
    "smooth": "매끄러운", "slightly textured": "약간 거친", "textured": "거친",
    "the left": "왼쪽", "the right": "오른쪽", "above": "위쪽", "below": "아래쪽", "the upper left": "왼쪽 위",
    "the upper right": "오른쪽 위", "the lower left": "왼쪽 아래", "the lower right": "오른쪽 아래",
    "": "여러 방향",
}  # fmt: skip


@dataclass(frozen=True)
class Words:
    """What statistics say, English.

    Attributes:
        side: where the light comes from: ``the upper left``; empty: from nowhere in particular.
        softness, warmth: of the light.
        brightness, mood, surface, camera: of the picture.
        colours: the three that cover most.
        ground: the colour of its lower part.
    """

    side: str
    softness: str
    warmth: str
    brightness: str
    mood: str
    surface: str
    camera: str
    colours: tuple[str, ...]
    ground: str

    @property
    def light(self) -> str:
        """The light, as half a sentence."""
        where = f"from {self.side}" if self.side else "from all around"
        return f"{self.softness}, {self.warmth} light {where}"

    @property
    def surfaces(self) -> str:
        """The lower part of the picture."""
        return f"{self.surface} {self.ground} ground"


def describe(found: Statistics) -> Words:
    """The words for statistics."""
    x, y = found.light.direction
    upright = "upper" if y < 0 else "lower"
    if (x, y) == (0, 0):
        side = ""
    elif abs(x) < 0.38:  # within 22.5 degrees of the vertical
        side = "above" if y < 0 else "below"
    elif abs(y) < 0.38:
        side = "the left" if x < 0 else "the right"
    else:
        side = f"the {upright} {'left' if x < 0 else 'right'}"
    mood = "dramatic" if found.contrast > 75 else "lively" if found.chroma > 28 else "calm"
    frame = "landscape" if found.wide > 1.1 else "portrait" if found.wide < 0.9 else "square"
    return Words(
        side=side,
        softness=_step(found.light.softness, (0.25, "hard"), (0.5, "fairly hard"), otherwise="soft"),
        warmth=_step(found.warmth, (-6, "cool"), (6, "neutral"), otherwise="warm"),
        brightness=_step(found.lightness, (25, "dark"), (42, "dim"), (75, "bright"), otherwise="very bright"),
        mood="muted" if mood == "calm" and found.chroma < 8 else mood,
        surface=_step(found.roughness, (1.5, "smooth"), (4, "slightly textured"), otherwise="textured"),
        camera=f"{frame} format, {'blurred surroundings' if found.depth > 2.5 else 'sharp throughout'}",
        colours=found.colours[:3],
        ground=found.ground,
    )


def english(words: Words) -> str:
    """A text about the picture."""
    return (
        f"The scene is {words.brightness} and {words.mood}, with {words.light}. "
        f"Its main colours are {_list(words.colours)}; the ground is {words.surface} and {words.ground}."
    )


def korean(words: Words) -> str:
    """The same in Korean."""
    say = _KOREAN.__getitem__
    colours = ", ".join(say(colour) for colour in words.colours)
    return (
        f"전체적으로 {say(words.brightness)} 편이고 {say(words.mood)} 분위기의 장면입니다. "
        f"{say(words.softness)} {say(words.warmth)} 빛이 {say(words.side)}에서 들어옵니다. "
        f"주요 색은 {colours}이며, 바닥은 {say(words.surface)} 질감의 {say(words.ground)}입니다."
    )


def prompt(words: Words, wish: str) -> str:
    """The whole scene with the object in it, for the synthesizer.

    Args:
        words: of the scene.
        wish: the user's prompt; empty: a neutral phrase stands for the object.
    """
    thing = wish.strip().rstrip(".,;") or "an object that belongs here"
    return (
        f"A photograph of {thing}, standing naturally on {words.surface} {words.ground} ground, "
        f"in a {words.brightness}, {words.mood} scene with {words.light}; "
        f"{_list(words.colours)} surroundings, a soft contact shadow, realistic, {words.camera}."
    )


def _step(value: float, *limits: tuple[float, str], otherwise: str) -> str:
    return next((word for limit, word in limits if value < limit), otherwise)


def _list(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
