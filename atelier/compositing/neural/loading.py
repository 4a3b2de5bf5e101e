"""Folders of weights on their way to `from_pretrained`: looked at first, so that an error names what is wrong.

Nothing is fetched, and no code of a folder is run. What the libraries would draw at random, with a line in a log, is an
error here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from atelier.errors import CheckpointError, InvalidInput
from atelier.weights import digest, read_json, reason, require, weight_files

__all__ = [
    "CheckpointError",
    "check_loaded",
    "check_weights",
    "digest",
    "foreign",
    "open_folder",
    "quiet",
    "read_json",
    "reason",
    "require",
    "shard_files",
    "weight_files",
]

_LISTED = 3


def open_folder(folder: Path, what: str) -> Path:
    """The folder, absolute.

    Args:
        folder: of weights.
        what: it is to hold, for the error.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder.name}, which is to hold {what}.")
    return folder.absolute()


def shard_files(folder: Path, stem: str = "model") -> list[str]:
    """Files of a network, its index among them, relative to the folder; they need not be there.

    Args:
        folder: of the network.
        stem: what the names begin with: ``model`` (transformers) or ``diffusion_pytorch_model`` (diffusers).

    Raises:
        CheckpointError: the index cannot be used.
    """
    index = f"{stem}.safetensors.index.json"
    return [*([index] if (folder / index).is_file() else []), *weight_files(folder, stem)]


def check_weights(folder: Path, files: Iterable[str]) -> None:
    """Refuse files that are cut off or damaged, without reading their tensors.

    Args:
        folder: of the files.
        files: relative to it; those that are no safetensors are passed over.

    Raises:
        CheckpointError: a file cannot be used.
    """
    for file in files:
        if not file.endswith(".safetensors"):
            continue
        try:
            with safe_open(folder / file, framework="pt"):
                pass  # the header's places are compared with the file's size as it is opened
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{folder.name}/{file} cannot be read: {reason(error)}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports: what they report is looked at, by `check_loaded` for one."""
    library: Any = transformers_logging
    bar, level = library.is_progress_bar_enabled(), library.get_verbosity()
    library.disable_progress_bar()
    library.set_verbosity_error()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bar:
            library.enable_progress_bar()


@contextlib.contextmanager
def foreign(folder: Path, what: str) -> Iterator[None]:
    """Turn what the libraries raise on unsuitable files into one sentence.

    Args:
        folder: whose path is not to be in the sentence.
        what: of the folder could not be loaded.

    Raises:
        CheckpointError: the block raised anything but `InvalidInput` or an exhausted memory.
    """
    try:
        yield
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:  # the libraries raise anything on settings that do not fit, UnboundLocalError for one
        if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, of a GPU; nothing is wrong with the files
            raise
        said = reason(error).replace(str(folder), folder.name)
        raise CheckpointError(f"{what} in {folder.name} cannot be loaded: {said}") from None


def check_loaded(folder: Path, info: Mapping[str, Any]) -> None:
    """Refuse a network of which tensors were missing, had no place, or had other shapes.

    Args:
        folder: it was loaded from.
        info: the libraries' ``output_loading_info``.

    Raises:
        CheckpointError: not all tensors are those of the network.
    """
    for key, what in (
        ("missing_keys", "lacks"),
        ("unexpected_keys", "has unexpected"),
        ("mismatched_keys", "has wrong shapes of"),
    ):
        names = sorted(str(name[0] if isinstance(name, tuple) else name) for name in info.get(key) or ())
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            raise CheckpointError(
                f"The checkpoint in {folder.name} {what} {len(names)} tensor(s): {', '.join(names[:_LISTED])}{more}."
            )
