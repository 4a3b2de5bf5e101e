"""How far a composite is, as its clients are told."""

from __future__ import annotations

import json


def tensors_of_progress(stage: str, step: int, of: int, seconds: float, *, position: int = 0) -> dict[str, str]:
    """``PROGRESS``, JSON.

    Args:
        stage: ``queued``, ``analysis``, ``extraction``, ``placement``, ``encoding``, ``denoising`` or ``decoding``.
        step: of it, done.
        of: steps of it.
        seconds: since the work began.
        position: in the queue.
    """
    told = {
        "stage": stage,
        "step": step,
        "of": of,
        "seconds": round(seconds, 3),
        "left": round(seconds / step * (of - step), 1) if step else None,
        "position": position,
        "candidate": 1,
        "candidates": 1,
    }
    return {"PROGRESS": json.dumps(told)}
