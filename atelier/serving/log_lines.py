"""What the lines of a server's log tell."""

from __future__ import annotations

from collections.abc import Sequence

from atelier.serving.options import has_gpu

HARMLESS = (
    "CudaDriverHelper has not been initialized",
    "CUDA driver version is insufficient for CUDA runtime version",
    "no pinned memory pool",
)
"""What a server that was built with CUDA calls errors and warnings on a machine without a GPU."""

LAST_WORDS = (" E ", "error", "terminate called", "what():")
"""What the lines have in them that tell why a server did not come up."""


def is_harmless(line: str) -> bool:
    """Whether a line of the server's log tells of nothing that is wrong here."""
    return not has_gpu() and any(words in line for words in HARMLESS)


def last_words(lines: Sequence[str]) -> str:
    """The line that tells best why a server did not come up."""
    said = [line for line in lines if not is_harmless(line)]
    errors = [line for line in said if any(word in line for word in LAST_WORDS)]
    return (errors or said or ["it wrote nothing"])[-1]


def one_line(reason: str) -> str:
    """The first sentence of a load error: the Python backend appends where it was raised."""
    return " ".join(reason.split("\n\nAt:")[0].split())
