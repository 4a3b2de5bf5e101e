"""GVM video matting (Ge et al. 2025, arXiv 2508.07905): an alpha for every frame, by one step of a video diffusion.

Written from the published layout of the weights on stock diffusers classes; none of upstream's code is in it. The
networks need PyTorch and diffusers; windows, sizes and the pipeline around them do not, so that a server's front model
needs neither. The names below are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from atelier.quiet import leave_out_notes

if TYPE_CHECKING:
    from atelier.matting.errors import CheckpointError
    from atelier.matting.pipeline import MattingPipeline
    from atelier.matting.settings import MattingSettings

__all__ = ["CheckpointError", "MattingPipeline", "MattingSettings"]

_HOME = {"CheckpointError": "errors", "MattingPipeline": "pipeline", "MattingSettings": "settings"}

leave_out_notes()


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
