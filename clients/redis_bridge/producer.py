"""The other side: a producer and a consumer as the old pipeline has them, who know nothing of the bridge.

The tests and the benchmarks work with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from clients.redis_bridge.tasks import RESULT

Pixels = NDArray[np.uint8]
Padding = tuple[int, int, int, int]


def share(array: Pixels) -> dict[str, Any]:
    """Put an array into shared memory, as `multiprocessing` does it, and leave it there for the worker."""
    memory = SharedMemory(create=True, size=array.nbytes)
    np.ndarray(array.shape, array.dtype, memory.buf)[:] = array
    info = {"shm_name": memory.name, "shape": list(array.shape), "dtype": str(array.dtype), "size": array.nbytes}
    memory.close()
    resource_tracker.unregister(memory._name, "shared_memory")  # the worker removes it, not this process
    return info


def soften(image: Pixels) -> Pixels:
    """What the producer did to a page [H, W, 3], BGR, before anything else."""
    return cv2.bilateralFilter(image, 9, 75, 75)


def fit(image: Pixels, mask: Pixels, target: tuple[int, int]) -> tuple[Pixels, Pixels, Padding]:
    """Scale a page down where it is too large, centre it, and pad it.

    Args:
        image: [H, W, 3].
        mask: [H, W].
        target: height and width of the padded page.

    Returns:
        The padded page, its mask, and the pixels added: top, right, bottom, left.
    """
    height, width = image.shape[:2]
    scale = min(target[0] / height, target[1] / width)
    if scale < 1:
        size = (int(width * scale), int(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    down, across = target[0] - image.shape[0], target[1] - image.shape[1]
    top, left = down // 2, across // 2
    padding = (top, across - left, down - top, left)
    edges = (top, down - top, left, across - left)
    page, hole = (cv2.copyMakeBorder(array, *edges, cv2.BORDER_REFLECT_101) for array in (image, mask))
    return page, hole, padding


def payload(
    request_id: str,
    page: Pixels,
    mask: Pixels,
    original_size: tuple[int, int],
    padding: Padding,
    is_long: bool,
    **changes: Any,
) -> bytes:
    """A task as it is pushed; its page and its mask lie in shared memory then. ``changes`` replace fields."""
    fields = {
        "request_id": request_id,
        "image_id": f"{request_id}.jpg",
        "original_size": list(original_size),
        "padding_info": list(padding),
        "preprocessed_img_shm_info": share(page),
        "preprocessed_mask_shm_info": share(mask),
        "is_long": is_long,
    }
    return json.dumps({**fields, **changes}).encode()


def answer(client: Any, request_id: str) -> dict[bytes, bytes]:
    """The answer's hash; empty as long as there is none."""
    found: dict[bytes, bytes] = client.hgetall(RESULT.format(request_id))
    return found


def received(fields: Mapping[bytes, bytes]) -> Pixels:
    """The picture of an answer, as the rendering step reads it; its segment is removed."""
    info = json.loads(fields[b"inpaint_shm_info"])
    memory = SharedMemory(name=info["shm_name"])
    picture = np.ndarray(info["shape"], info["dtype"], memory.buf).copy()
    assert info["size"] == picture.nbytes
    memory.close()
    memory.unlink()
    return picture
