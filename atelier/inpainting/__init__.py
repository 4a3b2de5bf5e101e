"""LaMa inpainting (Suvorov et al. 2021, arXiv 2109.07161): the network, its checkpoints, and the regions it is run on.

The network needs PyTorch and its checkpoints PyYAML; the server's front model needs neither. So the names below are
imported when they are first used, and ``import atelier.inpainting`` works where PyTorch is not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atelier.inpainting.checkpoint import CheckpointError, load_generator
    from atelier.inpainting.config import ConfigError, GeneratorConfig, read_config
    from atelier.inpainting.generator import LamaGenerator

__all__ = ["CheckpointError", "ConfigError", "GeneratorConfig", "LamaGenerator", "load_generator", "read_config"]

_HOME = {
    "CheckpointError": "checkpoint",
    "ConfigError": "config",
    "GeneratorConfig": "config",
    "LamaGenerator": "generator",
    "load_generator": "checkpoint",
    "read_config": "config",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
