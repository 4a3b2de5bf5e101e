"""Random checkpoints in the true on-disk layout, for tests and for a machine without the published weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

Size = Literal["tiny", "full"]
Maker = Callable[[Size, Path, int], None]  # size, output folder, seed


def _lama(size: Size, output: Path, seed: int) -> None:
    from export.lama.synthetic import write  # PyTorch, which --help need not wait for

    write(size, output, seed)


def _gvm(size: Size, output: Path, seed: int) -> None:
    from export.gvm.synthetic import write

    write(size, output, seed)


MAKERS: dict[str, Maker] = {"lama": _lama, "gvm": _gvm}
