"""Random checkpoints in the true on-disk layout, for tests and for a machine without the published weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

Size = Literal["tiny", "full"]
Layout = Literal["diffusers", "original"]
Maker = Callable[[Size, Path, int], None]  # size, output folder, seed


def _lama(size: Size, output: Path, seed: int) -> None:
    from export.lama.synthetic import write  # PyTorch, which --help need not wait for

    write(size, output, seed)


def _gvm(size: Size, output: Path, seed: int) -> None:
    from export.gvm.synthetic import write

    write(size, output, seed)


def wan(size: Size, output: Path, seed: int, layout: Layout = "diffusers") -> None:
    """Write a random Wan2.2 TI2V-5B; the one model that lies on disk in two ways."""
    from export.wan.synthetic import write

    write(size, output, seed, layout)


def _flux_fill(size: Size, output: Path, seed: int) -> None:
    from export.flux.synthetic import write_fill

    write_fill(size, output, seed)


def _flux_redux(size: Size, output: Path, seed: int) -> None:
    from export.flux.synthetic import write_redux

    write_redux(size, output, seed)


def _flux2_klein(size: Size, output: Path, seed: int) -> None:
    from export.flux.synthetic import write_klein

    write_klein(size, output, seed)


def _qwen2_vl(size: Size, output: Path, seed: int) -> None:
    from export.compositing.synthetic import write_qwen2_vl

    write_qwen2_vl(size, output, seed)


def _sam2(size: Size, output: Path, seed: int) -> None:
    from export.compositing.synthetic import write_sam2

    write_sam2(size, output, seed)


def _birefnet(size: Size, output: Path, seed: int) -> None:
    from export.compositing.synthetic import write_birefnet

    write_birefnet(size, output, seed)


MAKERS: dict[str, Maker] = {
    "lama": _lama,
    "gvm": _gvm,
    "wan": wan,
    "flux-fill": _flux_fill,
    "flux-redux": _flux_redux,
    "flux2-klein": _flux2_klein,
    "qwen2-vl": _qwen2_vl,
    "sam2": _sam2,
    "birefnet": _birefnet,
}
