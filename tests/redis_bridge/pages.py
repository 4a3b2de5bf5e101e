"""Pages for the bridge's tests, and tasks of them."""

import numpy as np

from clients.redis_bridge.producer import fit, payload


def picture(seed, height, width):
    """A page to inpaint and its mask: noise, so that no two are alike."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 255
    return image, mask


def task(request_id, seed, size=(40, 60), target=(64, 64), is_long=False, **changes):
    """A payload, and the page and the mask that it is of, padded."""
    page, mask, padding = fit(*picture(seed, *size), target)
    return payload(request_id, page, mask, size, padding, is_long, **changes), page, mask, padding
