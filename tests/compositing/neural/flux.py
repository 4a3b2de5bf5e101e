"""Tiny checkpoints of FLUX, and jobs for them."""

from dataclasses import replace

import numpy as np

from atelier.compositing.jobs import Light, Placement, Scene, StageReport, SynthesisJob
from atelier.compositing.settings import SynthesizerSettings
from atelier.media.boxes import Box
from export.flux.synthetic import write_fill, write_klein, write_redux

RESOLUTION = 96
CROP = Box(8, 12, 80, 96)


def write_all(folder):
    """All three, by the names that the synthesizer has for them."""
    makers = {"checkpoint": write_fill, "redux": write_redux, "klein": write_klein}
    for name, make in makers.items():
        make("tiny", folder / name, 0)
    return {name: folder / name for name in makers}


def settings(**changes):
    return SynthesizerSettings(**{"device": "cpu", "resolution": RESOLUTION} | changes)


def scene(prompt):
    return Scene("", prompt, Light(), (), "", "", "", None, "en", StageReport("given"))


def colours(seed, *shape):
    """Something smooth, so that resizing does not make it grey."""
    coarse = np.random.default_rng(seed).integers(0, 256, (*(max(2, side // 8) for side in shape[:2]), *shape[2:]))
    rows = np.linspace(0, coarse.shape[0] - 1, shape[0]).round().astype(int)
    columns = np.linspace(0, coarse.shape[1] - 1, shape[1]).round().astype(int)
    return coarse[rows][:, columns].astype(np.uint8)


def an_object(seed=5, height=30, width=24):
    picture = colours(seed, height, width, 4)
    picture[..., 3] = 255
    picture[:4, :4, 3] = 0
    return picture


def job(crop=CROP, *, object_seed=5, background_seed=0, paste_seed=None, **changes):
    """A job whose crop is worked at as it is: its longer side is the resolution."""
    height, width = crop.bottom + 9, crop.right + 7
    background = colours(background_seed, height, width, 3)
    picture = an_object(object_seed)
    mask = np.zeros((height, width), np.uint8)
    middle = Box(crop.top + crop.height // 4, crop.left + crop.width // 4, crop.height // 2, crop.width // 2)
    mask[middle.slices] = 255
    pre_composite = background.copy()
    pre_composite[middle.slices] = colours(
        object_seed if paste_seed is None else paste_seed, middle.height, middle.width, 3
    )
    placement = Placement(middle, crop, mask, mask, pre_composite, "box", StageReport("classical"))
    made = SynthesisJob(background, picture, placement, prompt="a red cup on a table", seed=1, steps=4)
    return replace(made, **changes)
