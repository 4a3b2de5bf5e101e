import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from atelier.compositing import BackgroundAnalyzer
from atelier.compositing.classical.colour import match, name, to_lab, to_rgb
from atelier.compositing.classical.light import look
from atelier.compositing.jobs import AnalysisJob
from atelier.compositing.scene import from_json, to_json
from atelier.compositing.settings import AnalyzerSettings
from atelier.errors import InvalidInput
from tests.compositing.pictures import NOWHERE, meadow, vase


def analyze(background, mode="auto", **job):
    return BackgroundAnalyzer(AnalyzerSettings(), root=NOWHERE)(AnalysisJob(background, **job), mode)


def lit_from(x, y, height=90, width=160):
    """A grey wall, brightest at a point (0..1)."""
    rows, columns = np.mgrid[0:height, 0:width]
    distance = np.hypot(columns / width - x, rows / height - y)
    return np.repeat(np.clip(220 - 220 * distance, 10, 220).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ((0.05, 0.05), "the upper left"),
        ((0.95, 0.05), "the upper right"),
        ((0.05, 0.95), "the lower left"),
        ((0.95, 0.95), "the lower right"),
        ((0.5, 0.0), "above"),
        ((0.5, 1.0), "below"),
        ((0.0, 0.5), "the left"),
        ((1.0, 0.5), "the right"),
    ],
)
def test_where_the_light_comes_from(at, words):
    scene = analyze(lit_from(*at))
    x, y = scene.light.direction
    assert np.hypot(x, y) == pytest.approx(1)
    assert np.dot((x, y), np.subtract(at, 0.5)) > 0
    assert scene.light.description.endswith(f"from {words}")


def test_an_even_picture_has_light_from_nowhere_in_particular():
    scene = analyze(np.full((50, 70, 3), 128, np.uint8))
    assert scene.light.direction == (0.0, 0.0)
    assert scene.light.softness == pytest.approx(1)
    assert scene.palette == ("#808080",)
    assert "from all around" in scene.text


def test_softness_is_told_from_large_areas():
    halves = np.zeros((80, 80, 3), np.uint8)
    halves[:, :40] = 255
    assert look(halves).light.softness < 0.1 < 0.9 < look(meadow()[:50]).light.softness


def test_the_colour_of_the_light():
    warm = np.full((40, 40, 3), (200, 150, 90), np.uint8)
    assert look(warm).light.colour == (255, 191, 115)
    assert "warm light" in analyze(warm).text
    assert "cool light" in analyze(warm[..., ::-1].copy()).text


def test_the_palette_is_of_large_areas_first():
    picture = np.full((100, 100, 3), (20, 60, 160), np.uint8)
    picture[:30] = (230, 220, 60)
    assert analyze(picture).palette[:2] == ("#143ca0", "#e6dc3c")


def test_it_is_the_same_each_time():
    assert to_json_without_seconds(analyze(meadow())) == to_json_without_seconds(analyze(meadow()))


def to_json_without_seconds(scene):
    scene.report.seconds.clear()
    return to_json(scene)


def test_english():
    scene = analyze(meadow(), language="en-GB")
    assert scene.language == "en"
    assert scene.text.startswith("The scene is ")
    assert "green" in scene.text
    assert scene.box is None
    assert scene.report.mode == "classical"
    assert scene.report.facts["mode_asked"] == "auto"
    assert "`atelier weights pull qwen2-vl-7b-instruct`" in scene.report.facts["why_classical"]
    assert from_json(to_json(scene)) == scene


@pytest.mark.parametrize("language", ["ko", "ko-KR", "KO"])
def test_korean(language):
    scene = analyze(meadow(), language=language)
    assert scene.language == "ko"
    assert "초록색" in scene.text
    assert scene.text.endswith("입니다.")
    assert not any("a" <= letter <= "z" for letter in scene.text)
    assert scene.prompt.isascii()


def test_every_word_has_a_korean_one():
    from atelier.compositing.classical import words

    rng = np.random.default_rng(3)
    for _ in range(60):
        base = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        picture = cv2.resize(base, (64, 48), interpolation=int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_CUBIC])))
        korean = words.korean(words.describe(look(picture)))
        assert not any("a" <= letter <= "z" for letter in korean)


def test_another_language_is_told():
    scene = analyze(meadow(), language="fr")
    assert scene.language == "en"
    assert scene.report.warnings == ["The classical analyzer writes en and ko, not fr: English."]


def test_the_users_prompt_is_in_the_prompt():
    scene = analyze(meadow(), prompt="a red vase with tulips.")
    assert scene.prompt.startswith("A photograph of a red vase with tulips, standing ")
    assert "light" in scene.prompt
    assert scene.report.warnings == []
    assert "빨간 꽃병" in analyze(meadow(), prompt="빨간 꽃병").prompt
    assert "does not translate" in analyze(meadow(), prompt="빨간 꽃병").report.warnings[0]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (2, 2), (1, 400)])
def test_tiny_and_thin_pictures(shape):
    rng = np.random.default_rng(1)
    scene = analyze(rng.integers(0, 256, (*shape, 3), dtype=np.uint8), language="ko")
    assert from_json(to_json(scene)) == scene


def test_large_pictures_are_looked_at_small():
    picture = cv2.resize(meadow(), (6000, 4000))
    started = time.perf_counter()
    large = look(picture)
    assert time.perf_counter() - started < 20
    small = look(meadow())
    assert large.lightness == pytest.approx(small.lightness, abs=2)
    assert np.dot(large.light.direction, small.light.direction) > 0.9


def test_neural_without_weights_is_refused():
    with pytest.raises(InvalidInput, match="background analyzer has no weights qwen2-vl-7b-instruct"):
        analyze(meadow(), "neural")


def test_classical_may_be_asked_for():
    assert analyze(meadow(), "classical").report.facts["mode_asked"] == "classical"
    assert "why_classical" not in analyze(meadow(), "classical").report.facts


@pytest.mark.parametrize(
    "background",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_picture_is_refused(background):
    with pytest.raises(InvalidInput, match=r"BACKGROUND is .*; UINT8 \[H, W, 3\] with pixels is accepted"):
        analyze(background)


def test_too_many_pixels_are_refused():
    small = BackgroundAnalyzer(AnalyzerSettings(max_pixels=99), root=NOWHERE)
    with pytest.raises(InvalidInput, match="BACKGROUND has 10x10 pixels; at most 99 are accepted"):
        small(AnalysisJob(np.zeros((10, 10, 3), np.uint8)))
    with pytest.raises(InvalidInput, match="REFERENCE has 10x10 pixels"):
        small(AnalysisJob(np.zeros((5, 5, 3), np.uint8), np.zeros((10, 10, 3), np.uint8)))


class Stopped(Exception):
    pass


def test_it_can_be_stopped():
    def stop():
        raise Stopped

    with pytest.raises(Stopped):
        analyze(meadow(), check=stop)


def test_lab_and_back():
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    np.testing.assert_allclose(to_rgb(to_lab(picture)), picture, atol=0.6)


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((0, 0, 0), "black"), ((255, 255, 255), "white"), ((128, 128, 128), "grey"), ((220, 20, 20), "red"),
        ((255, 140, 0), "orange"), ((240, 220, 40), "yellow"), ((30, 140, 40), "green"), ((30, 60, 200), "blue"),
        ((110, 70, 30), "brown"), ((225, 205, 175), "beige"), ((128, 0, 160), "purple"), ((40, 180, 180), "turquoise"),
    ],
)  # fmt: skip
def test_names_of_colours(rgb, word):
    assert name(to_lab(np.array([[rgb]], np.uint8))[0, 0]) == word


def test_matching_moves_towards_the_context_and_no_further():
    lab = to_lab(np.full((4, 4, 3), 100, np.uint8))  # no spread: nothing to divide by
    context = to_lab(np.full((4, 4, 3), 110, np.uint8)).reshape(-1, 3)
    weight = np.ones((4, 4), np.float32)
    moved = match(lab, weight, context, 1)
    np.testing.assert_allclose(moved[0, 0], context[0], atol=1e-3)
    np.testing.assert_allclose(match(lab, weight, context, 0), lab)
    far = match(lab, weight, to_lab(np.array([[[20, 200, 20]]], np.uint8)).reshape(-1, 3), 1)
    assert np.abs(far - lab).max() <= 14
    assert np.abs(far - lab)[..., 1:].max() <= 5
    np.testing.assert_array_equal(match(lab, weight, context[:0]), lab)


def test_nothing_here_needs_pytorch():
    code = (
        "import sys; from atelier.compositing import *; import atelier.compositing.metrics\n"
        "assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_of_a_reference_with_alpha_nothing_is_told():
    assert analyze(meadow(), reference=vase()).report.warnings == []
