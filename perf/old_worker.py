"""The worker that the bridge replaces, written again as a baseline: one loop, hand-rolled batches.

From the current list it takes up to a batch of tasks, waiting a second for each; it runs what came and goes on with the
same list, and changes lists only when nothing came. Pages of one list have one size, as its producers see to.
"""

from __future__ import annotations

import argparse
import json
import time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import redis
import torch

from perf import lama

BATCH = 4
"""``INPAINTING_BATCH_SIZE_LONG`` and ``…_SHORT``."""
PATIENCE = 1
"""Seconds of the old ``BLPOP``."""
PAUSE = 0.1
"""Seconds that it slept before it changed lists."""
READY = "ready"


def work(client: Any, run: Any, lists: list[str]) -> None:
    """Serve until killed."""
    current = 0
    while True:
        taken: list[dict[str, Any]] = []
        while len(taken) < BATCH and (found := client.blpop([lists[current]], timeout=PATIENCE)):
            taken.append(json.loads(found[1]))
        if taken:
            _answer(client, run, taken)
        else:
            time.sleep(PAUSE)
            current = 1 - current


def _answer(client: Any, run: Any, tasks: list[dict[str, Any]]) -> None:
    pages = np.stack([_read(task["preprocessed_img_shm_info"]) for task in tasks])
    masks = np.stack([_read(task["preprocessed_mask_shm_info"]) for task in tasks])
    for task, page in zip(tasks, run(lama.Pictures(pages, masks)), strict=True):
        top, right, bottom, left = task["padding_info"]
        height, width = task["original_size"]
        cut = page[top : page.shape[0] - bottom, left : page.shape[1] - right]
        if cut.shape[:2] != (height, width):
            cut = cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR)
        info = _write(cv2.cvtColor(np.ascontiguousarray(cut), cv2.COLOR_RGB2BGR))
        fields = {"image_id": task["image_id"], "inpaint_shm_info": json.dumps(info)}
        is_long = "true" if task["is_long"] else "false"
        client.hset(f"inpainting_result:{task['request_id']}", mapping={**fields, "is_long": is_long})
        for name in ("preprocessed_img_shm_info", "preprocessed_mask_shm_info"):
            segment = SharedMemory(name=task[name]["shm_name"])
            segment.close()
            segment.unlink()


def _read(info: dict[str, Any]) -> Any:
    segment = SharedMemory(name=info["shm_name"])
    array = np.ndarray(info["shape"], info["dtype"], segment.buf).copy()
    segment.close()
    return array


def _write(array: Any) -> dict[str, Any]:
    segment = SharedMemory(create=True, size=array.nbytes)
    np.ndarray(array.shape, array.dtype, segment.buf)[:] = array
    segment.close()
    resource_tracker.unregister(segment._name, "shared_memory")  # the consumer removes it
    return {"shm_name": segment.name, "shape": list(array.shape), "dtype": str(array.dtype), "size": array.nbytes}


def main() -> None:
    """Load the network and serve; a line on stdout says when it does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--runtime", choices=("eager", "onnxruntime"), required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--lists", nargs=2, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    made = lama.Subject(given.checkpoint, given.repository)
    run = lama.eager(made) if given.runtime == "eager" else lama.with_onnxruntime(made, threads=given.threads)
    print(READY, flush=True)
    work(redis.Redis.from_url(given.redis_url), run, given.lists)


if __name__ == "__main__":
    main()
