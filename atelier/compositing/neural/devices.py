"""Where the networks compute, and in what type."""

from __future__ import annotations

import gc

import torch

from atelier.errors import InvalidInput


def resolve(device: str) -> str:
    """PyTorch's name of the device that a setting means.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: a GPU where there is one.

    Raises:
        InvalidInput: it is no such name, or there is no such device here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise InvalidInput(f"device is {device!r:.40}; accepted: auto, cpu, cuda, cuda:N.")
    if found.type == "cuda":
        if not torch.cuda.is_available():
            raise InvalidInput(f"device is {device}, and PyTorch finds no GPU here.")
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise InvalidInput(f"device is {device}, and PyTorch finds {torch.cuda.device_count()} GPU(s) here.")
    return device


def is_gpu(device: str) -> bool:
    """Whether a resolved device is a GPU."""
    return torch.device(device).type == "cuda"


def compute_type(device: str) -> torch.dtype:
    """What large networks compute in: bfloat16 on a GPU, float32 on a CPU, many of which have no other."""
    return torch.bfloat16 if is_gpu(device) else torch.float32


def release(device: str) -> None:
    """Give memory back that nothing uses any more; to be called after the last reference to a network is gone."""
    gc.collect()  # hooks of accelerate refer to their networks and back
    if is_gpu(device):
        torch.cuda.empty_cache()
