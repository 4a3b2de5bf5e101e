"""Small moving clips, from photographs that lie in scikit-image's wheel."""

import cv2
import numpy as np
import skimage.data

FRAMES, HEIGHT, WIDTH = 24, 96, 128


def panned(photograph="astronaut", frames=FRAMES):
    """[T, 96, 128, 3]: a pan by 1.5 pixels a frame to the right and 0.5 down, each frame from twice the size."""
    picture = getattr(skimage.data, photograph)()
    places = [(40 + t, 60 + 3 * t) for t in range(frames)]
    cuts = [picture[y : y + 2 * HEIGHT, x : x + 2 * WIDTH] for y, x in places]
    return np.stack([cv2.resize(cut, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for cut in cuts])


def white_noise(shape=(FRAMES, HEIGHT, WIDTH, 3), seed=1):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def blurred(clip, sigma=1.5):
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip])


def grainy(clip, sigma=8):
    return np.clip(clip + np.random.default_rng(2).normal(0, sigma, clip.shape), 0, 255).astype(np.uint8)


def inverted(clip):
    """Every second frame."""
    copy = clip.copy()
    copy[1::2] = 255 - copy[1::2]
    return copy


def pumping(clip):
    """Every second frame 15 % darker."""
    copy = clip.copy()
    copy[1::2] = (copy[1::2] * 0.85).astype(np.uint8)
    return copy


def repeated(frame, frames=FRAMES):
    return np.repeat(frame[None], frames, axis=0)


def with_black(clip):
    copy = clip.copy()
    copy[-4:] = 0
    return copy
