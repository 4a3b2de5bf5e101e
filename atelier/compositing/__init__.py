"""An object of one picture set into another, in four stages that can each be used alone.

`BackgroundAnalyzer` reads the scene, `ObjectExtractor` cuts the object out, `MaskGenerator` finds its place, and
`ObjectSynthesizer` sets it in. Each has a neural way, with weights, and a classical one, without weights or PyTorch:
networks are imported when they are first needed, and the names below when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atelier.compositing.analyzer import BackgroundAnalyzer
    from atelier.compositing.extractor import ObjectExtractor
    from atelier.compositing.masks import MaskGenerator
    from atelier.compositing.synthesizer import ObjectSynthesizer

__all__ = ["BackgroundAnalyzer", "MaskGenerator", "ObjectExtractor", "ObjectSynthesizer"]

_HOME = {
    "BackgroundAnalyzer": "analyzer",
    "MaskGenerator": "masks",
    "ObjectExtractor": "extractor",
    "ObjectSynthesizer": "synthesizer",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
