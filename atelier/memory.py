"""What memory is taken: the host's of this process, and the GPU's where there is one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch


@dataclass(frozen=True)
class Memory:
    """Bytes in use.

    Attributes:
        host: resident memory of this process.
        gpu: of PyTorch on the device; None without a GPU.
        gpu_peak: the most of it since `reset_peak`; None likewise.
    """

    host: int
    gpu: int | None
    gpu_peak: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not there is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def measure(device: str) -> Memory:
    """What is in use now.

    Args:
        device: PyTorch's name of it.
    """
    host = psutil.Process().memory_info().rss
    if torch.device(device).type != "cuda":
        return Memory(host, None, None)
    return Memory(host, torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device))


def reset_peak(device: str) -> None:
    """Begin to look for the most anew."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
