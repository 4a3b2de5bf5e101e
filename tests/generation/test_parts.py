"""Noise levels, sizes, prompts and pictures."""

import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from atelier.errors import InvalidInput
from atelier.generation.sampling import make_scheduler, shifted
from atelier.generation.settings import GenerationSettings
from atelier.generation.sizes import fill, fit_area, nearest_frame_nums, read_size
from atelier.generation.text import clean
from atelier.media.pictures import read_picture


def test_official_levels():
    scheduler = make_scheduler("unipc", 5.0, "official")
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [999, 952, 882, 768, 555]
    scheduler = make_scheduler("unipc", 5.0, "diffusers")
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [999, 952, 882, 769, 556]
    scheduler = make_scheduler("dpm++", 5.0, "official")
    scheduler.set_timesteps(5)
    assert scheduler.sigmas[0] == 1
    assert scheduler.sigmas[-1] == 0


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
@pytest.mark.parametrize("shift", [3.0, 5.0])
def test_dpm_is_the_two_step_multistep_formula(steps, shift):
    """Lu et al. 2022, algorithm 2, for data = sample - sigma * velocity, written out in float64."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 6, generator=generator, dtype=torch.float64) / 4

    def velocity(sample, level):
        return torch.tanh(sample @ weights) + level

    levels = [*shifted(np.linspace(1, 0, steps + 1)[:-1], shift), 0.0]
    start = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    sample, before = start, None
    for number, (now, after) in enumerate(itertools.pairwise(levels)):
        data = sample - now * velocity(sample, int(now * 1000) / 1000)
        last = number == steps - 1
        if after == 0:
            step = data
        elif before is None or (last and steps < 15):
            step = after / now * sample + ((1 - after) - (1 - now) * after / now) * data
        else:
            here, there = (math.log((1 - level) / level) for level in (now, after))
            earlier = math.log((1 - before[1]) / before[1]) if before[1] < 1 else -math.inf
            ratio = (here - earlier) / (there - here)
            slope = (data - before[0]) / ratio
            factor = -(1 - after) * (math.exp(-(there - here)) - 1)
            step = after / now * sample + factor * (data + slope / 2)
        before, sample = (data, now), step
    scheduler = make_scheduler("dpm++", shift, "official")
    scheduler.set_timesteps(steps)
    found = start.clone()
    for time in scheduler.timesteps:
        found = scheduler.step(velocity(found, time.item() / 1000), time, found, return_dict=False)[0]
    assert (found - sample).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(1920, 1080, (1248, 704)), (3024, 4032, (800, 1088)), (1000, 1000, (960, 928)), (3000, 1000, (1632, 544))],
)
def test_a_picture_s_shape_is_kept_as_the_official_code_does(width, height, expected):
    assert fit_area(width, height, 1280 * 704) == expected


def test_a_picture_too_thin_is_refused():
    with pytest.raises(InvalidInput, match="too long and thin"):
        fit_area(100000, 3, 96 * 64)


@pytest.mark.parametrize("text", ["", "1280x704", "1280*704*3", "-32*64", "0*64", "999999*64", "1280 * 704"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidInput, match="is no size"):
        read_size(text)


def test_sides_are_multiples_of_32():
    assert read_size("1280*704") == (1280, 704)
    with pytest.raises(InvalidInput, match="multiples of 32"):
        read_size("1280*720")


@pytest.mark.parametrize(
    ("number", "near"), [(120, (117, 121)), (2, (1, 5)), (0, (1, 5)), (-3, (1, 5)), (100, (97, 101))]
)
def test_nearest_numbers_of_frames(number, near):
    assert nearest_frame_nums(number) == near
    with pytest.raises(ValidationError, match=f"the nearest are {near[0]} and {near[1]}"):
        GenerationSettings(frame_num=number)


def test_prompts_are_cleaned_as_wan_does():
    assert clean("  a  cat\n&amp;amp; a dog ") == "a cat & a dog"
    assert clean("고양이　두  마리") == "고양이 두 마리"
    assert clean("donâ€™t") == "don't"


def test_fill_covers_and_cuts_around_the_centre():
    picture = Image.new("RGB", (400, 100))
    picture.paste((255, 0, 0), (150, 0, 250, 100))
    found = np.asarray(fill(picture, 96, 96))
    assert found.shape == (96, 96, 3)
    assert (found[:, 4:-4, 0] > 250).all()


def encoded(picture, form="PNG", **options):
    packed = io.BytesIO()
    picture.save(packed, form, **options)
    return packed.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_every_mode_is_converted(mode):
    grey = np.full((8, 10), 200, np.uint8)
    if mode == "I;16":
        data = encoded(Image.fromarray(grey.astype(np.uint16) * 257))
    elif mode == "CMYK":
        data = encoded(Image.fromarray(grey).convert("RGB").convert("CMYK"), "JPEG", quality=100)
    else:
        data = encoded(Image.fromarray(grey).convert(mode))
    picture, warnings = read_picture(data, max_pixels=1000)
    found = np.asarray(picture)
    assert found.shape == (8, 10, 3)
    assert mode == "1" or np.abs(found.astype(int) - 200).max() <= 2
    assert bool(warnings) == (mode in ("LA", "RGBA"))


def test_orientation_is_honoured():
    picture = Image.new("RGB", (20, 10))
    exif = picture.getexif()
    exif[0x0112] = 8
    assert read_picture(encoded(picture, "JPEG", exif=exif), max_pixels=1000)[0].size == (10, 20)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no picture"),
        (b"GIF89a", "no picture"),
        (encoded(Image.effect_noise((16, 16), 90))[:200], "damaged or cut off"),
        (encoded(Image.new("RGB", (64, 64))), "64x64; 1000 pixels are the most"),
    ],
)
def test_what_is_no_picture(data, words):
    with pytest.raises(InvalidInput, match=words):
        read_picture(data, max_pixels=1000)
