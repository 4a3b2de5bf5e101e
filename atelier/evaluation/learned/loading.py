"""Reads weights, and refuses what a library would fill up with random numbers."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoImageProcessor
from transformers.utils import logging

from atelier.errors import InvalidInput

_LISTED = 3  # names in an error message


def pretrained(model: Any, folder: Path, device: str, **options: Any) -> Any:
    """A network of transformers from a folder, in float32, for inference.

    Transformers fills tensors that a file does not have with random numbers and only warns; here that is an error, as
    the metric would be noise.

    Args:
        model: its class, with ``from_pretrained``.
        folder: in Hugging Face's layout.
        device: PyTorch's name.
        **options: for the class.

    Returns:
        The network.

    Raises:
        InvalidInput: files are missing, unreadable or do not fit.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the command line has its own
    try:
        network, report = model.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True, dtype=torch.float32, **options
        )
        network.to(device)
    except Exception as error:  # every layer below has its own: OSError, SafetensorError, pickle's, RuntimeError …
        raise unreadable(folder, error) from None
    finally:
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    refuse_missing(folder, report["missing_keys"])
    return network.eval().requires_grad_(False)


def image_processor(folder: Path) -> Any:
    """What cuts and scales pictures as the network's configuration says, by Pillow.

    Args:
        folder: with ``preprocessor_config.json``.

    Raises:
        InvalidInput: it describes nothing that is known.
    """
    try:
        return AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            str(folder), backend="pil", local_files_only=True
        )
    except Exception as error:
        raise unreadable(folder, error) from None


def state_dict(file: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` or of a PyTorch file, which is read without running what it may hold.

    Raises:
        InvalidInput: it is neither, or is cut short.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:
        raise unreadable(file, error) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidInput(f"{file.name} holds no tensors by name.")
    return state


def fill(network: nn.Module, state: dict[str, Tensor], file: Path, device: str) -> None:
    """Put tensors into a network, all that it has; what else the file holds is left out.

    Raises:
        InvalidInput: one is missing or of another shape.
    """
    wanted = network.state_dict()
    refuse_missing(file, [name for name in wanted if name not in state])
    wrong = [name for name, tensor in wanted.items() if state[name].shape != tensor.shape]
    if wrong:
        name = wrong[0]
        raise InvalidInput(
            f"{file.name}: {name} is {list(state[name].shape)}, and {list(wanted[name].shape)} is needed."
        )
    network.load_state_dict({name: state[name].float() for name in wanted})
    network.to(device).eval().requires_grad_(False)


def refuse_missing(where: Path, names: Any) -> None:
    """Raise if there are any.

    Raises:
        InvalidInput: with the first of them.
    """
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        raise InvalidInput(f"{where.name} lacks {len(listed)} tensor(s): {', '.join(listed[:_LISTED])}{more}.")


def unreadable(path: Path, error: Exception) -> InvalidInput:
    """The error in one line, without the machine's paths."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].replace(str(path), path.name)
    return InvalidInput(f"{path.name} cannot be loaded: {first[:200].rstrip('.')}.")
