"""Files of weights: named, opened without being read, checked against a network, and moved into it.

Tensors are mapped from their file. Where neither type nor device changes they are the network's parameters as they
lie, so a checkpoint is in memory once, in pages that the system may drop and read again. The files are therefore not
to be overwritten in place while a network that was loaded from them is used.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from atelier.errors import CheckpointError

_LISTED = 3
_SMALL = 1 << 20  # elements; norms and biases, which are read at once and are not finite where a training went wrong
_BLOCKS, _BLOCK = 64, 1 << 18  # of a file that `digest` reads: 16 MiB


@dataclass
class Part:
    """A network without memory, and the tensors that are to fill it.

    Attributes:
        where: what an error calls the files.
        module: the network, its parameters on the meta device.
        tensors: by their names in the files; emptied by `fill`.
        names: from the network's parameters to the files' tensors.
    """

    where: str
    module: nn.Module
    tensors: dict[str, Tensor]
    names: dict[str, str]


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The settings in a file of the folder.

    Raises:
        CheckpointError: missing, unreadable, or no object.
    """
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder.name}/{name} is missing.") from None
    except (OSError, ValueError):
        raise CheckpointError(f"{folder.name}/{name} cannot be read as JSON.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{folder.name}/{name} holds no settings.")
    return value


def weight_files(folder: Path, stem: str) -> list[str]:
    """Names of the files that hold a network: the shards that its index names, else the one file.

    Args:
        folder: where they are, or should be: nothing is looked for but the index.
        stem: what their names begin with.

    Raises:
        CheckpointError: the index cannot be used.
    """
    index = f"{stem}.safetensors.index.json"
    if not (folder / index).is_file():
        return [f"{stem}.safetensors"]
    shards = read_json(folder, index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
        raise CheckpointError(f"{folder.name}/{index} has no weight_map.")
    return sorted({Path(shard).name for shard in shards.values()})


def require(folder: Path, files: Iterable[str]) -> None:
    """Refuse a folder that lacks any of the files, naming each.

    Raises:
        CheckpointError: files are missing.
    """
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise CheckpointError(f"The checkpoint in {folder.name} lacks {len(missing)} file(s): {', '.join(missing)}.")


def open_files(folder: Path, files: Iterable[str]) -> dict[str, Tensor]:
    """All tensors of safetensors or .pth files, mapped and not yet read.

    Raises:
        CheckpointError: a file is cut off, damaged or not of its kind, or two hold tensors of one name.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        found = _open(folder / file)
        if twice := sorted(tensors.keys() & found.keys()):
            raise CheckpointError(f"{folder.name}/{file} repeats {len(twice)} tensor(s) of other files: {twice[0]}.")
        tensors |= found
    return tensors


def _open(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # Files of the oldest kind are no archives and cannot be mapped.
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{file.parent.name}/{file.name} cannot be read: {reason(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{file.parent.name}/{file.name} is no plain dictionary of tensors.")
    return dict(state)


def reason(error: Exception) -> str:
    """The first line of what a library says, without a path: an error of the system says it in its own field."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def check(part: Part) -> None:
    """Refuse tensors that are not exactly those of the network.

    Raises:
        CheckpointError: tensors are missing, have no place, have other shapes, or are quantised to integers.
    """
    tensors, expected = part.tensors, part.module.state_dict()
    _refuse(part.where, "lacks", [source for source in part.names.values() if source not in tensors])
    _refuse(part.where, "has unexpected", sorted(tensors.keys() - set(part.names.values())))
    _refuse(
        part.where,
        "has wrong shapes of",
        [
            f"{source} ({list(tensors[source].shape)} instead of {list(expected[name].shape)})"
            for name, source in part.names.items()
            if tensors[source].shape != expected[name].shape
        ],
    )
    _refuse(part.where, "has integers in", [name for name in tensors if not tensors[name].is_floating_point()])


def _refuse(where: str, what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise CheckpointError(f"{where} {what} {len(names)} tensor(s): {', '.join(names[:_LISTED])}{more}.")


def fill(
    part: Part,
    dtype: torch.dtype,
    keep_float32: Iterable[str] = (),
    device: str | torch.device = "cpu",
) -> None:
    """Move a part's tensors into its network, one by one, and set it to inference.

    Args:
        part: checked; its tensors are gone afterwards.
        dtype: of the parameters.
        keep_float32: names of modules and parameters that stay float32.
        device: for parameters and buffers.

    Raises:
        CheckpointError: small tensors hold values that are not finite.
    """
    kept, state, broken = set(keep_float32), {}, []
    sources = {source: name for name, source in part.names.items()}
    for source in list(part.tensors):  # in the files' order, so that a shard is let go before the next is read
        name, tensor = sources[source], part.tensors.pop(source)
        if tensor.numel() <= _SMALL and not bool(tensor.float().isfinite().all()):
            broken.append(source)
        target = torch.float32 if kept & set(name.split(".")) else dtype
        state[name] = tensor.to(device=device, dtype=target).contiguous()
    _refuse(part.where, "has values that are not finite in", broken)
    part.module.load_state_dict(state, strict=False, assign=True)
    part.module.to(device=device).eval().requires_grad_(False)


def digest(folder: Path, files: Iterable[str]) -> str:
    """A fingerprint of a checkpoint that takes no reading of all of it.

    SHA-256 over each file's name, size and content; of a file above 16 MiB over 64 blocks of 256 KiB, the first, the
    last and those evenly between. It tells checkpoints, types and layouts apart. It is no proof against a change of
    single weights between the blocks.

    Args:
        folder: not part of the fingerprint.
        files: relative to the folder, in any order.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name in sorted(set(files)):
        size = (folder / name).stat().st_size
        total.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as stream:
            if size <= _BLOCKS * _BLOCK:
                total.update(stream.read())
                continue
            for number in range(_BLOCKS):
                stream.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
                total.update(stream.read(_BLOCK))
    return total.hexdigest()
