"""PyTorch's checkpoint files, read as data: no code of the file is ever run, and no library of its maker is needed.

A published LaMa checkpoint pickles classes of PyTorch Lightning and OmegaConf beside the weights. ``torch.load`` either
refuses it (``weights_only=True``) or imports, and can be made to call, whatever the file names. The reader below knows
four names: ordered dictionaries, tensors, parameters and storages. Anything else becomes an inert stand-in that takes
every argument and does nothing. Tensors stay references until `Archive.tensor` is asked for one, so the evaluator
networks that fill half of big-lama's file cost no memory.

Three layouts are read: the zip archive of PyTorch 1.6 and later, the plain pickle of earlier versions, and the zip
archive of TorchScript, whose modules come out as stand-ins with their attributes (its code is not looked at).
"""

import math
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from atelier.errors import InvalidInput


class CheckpointError(InvalidInput):
    """A checkpoint that cannot be read, or that does not hold the weights it should."""


@dataclass(frozen=True)
class StorageRef:
    """One block of numbers in the file."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class TensorRef:
    """One tensor in the file: a view of a block."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Inert:
    """What stands for any object that is not known here: accepts everything, does nothing, keeps its attributes."""

    state: object = None

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Take an element of a list, and drop it."""

    def extend(self, values: object) -> None:
        """Take several elements, and drop them."""

    add = append


_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class _RebuildTensor:
    """Stands for ``torch._utils._rebuild_tensor_v2``. One a file: nothing that a file does to it outlives the load."""

    __slots__ = ()

    def __call__(self, storage: object, offset: object, shape: object, stride: object, *_: object) -> TensorRef:
        if not (isinstance(storage, StorageRef) and isinstance(offset, int)):
            raise pickle.UnpicklingError("a tensor without storage")
        sizes, steps = _whole_numbers(shape), _whole_numbers(stride)
        if len(sizes) != len(steps):
            raise pickle.UnpicklingError("a tensor whose shape and stride differ in length")
        last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        if offset < 0 or (0 not in sizes and max(last + 1, math.prod(sizes)) > storage.numel):
            raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
        return TensorRef(storage, offset, sizes, steps)


class _RebuildParameter:
    """Stands for ``torch._utils._rebuild_parameter``: the tensor inside counts."""

    __slots__ = ()

    def __call__(self, tensor: object, *_: object) -> object:
        return tensor


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")
        self._known: dict[tuple[str, str], object] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
            ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
        }

    def find_class(self, module_name: str, global_name: str) -> object:
        # A stand-in of its own for each name: what a file does to the class stays in this load.
        return self._known.get((module_name, global_name)) or type("Inert", (Inert,), {})

    def persistent_load(self, pid: object) -> StorageRef:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(numel), *_) if numel >= 0:
                return StorageRef(key, dtype, numel)
        raise pickle.UnpicklingError("an unknown kind of reference")


def _whole_numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not all(isinstance(entry, int) and entry >= 0 for entry in value):
        raise pickle.UnpicklingError("a shape that is not whole numbers")
    return tuple(value)


class Archive:
    """One checkpoint file, opened for reading.

    Args:
        path: The file.

    Attributes:
        root: What the file holds: dictionaries, lists, plain values, `TensorRef` and `Inert`.
        is_torchscript: The file is a TorchScript archive; ``root`` is then its outermost module, an `Inert`.

    Raises:
        CheckpointError: It is not there, not a checkpoint, or cut short.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self.is_torchscript = False
        self._blocks: dict[str, tuple[int, int]] = {}  # key: first byte, length
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise CheckpointError(f"{path.name} cannot be read: {error.strerror}.") from error
        try:
            self.root = self._read_zip() if zipfile.is_zipfile(self._file) else self._read_plain()
        except CheckpointError:
            self._file.close()
            raise
        except Exception as error:  # a pickle can raise anything at all
            self._file.close()
            raise CheckpointError(f"{path.name} is not a PyTorch checkpoint, or it was cut short.") from error

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tensor(self, ref: TensorRef) -> torch.Tensor:
        """Read one tensor.

        Raises:
            CheckpointError: The file does not hold all of its bytes.
        """
        start, length = self._blocks.get(ref.storage.key, (0, -1))
        if length != ref.storage.numel * ref.storage.dtype.itemsize:
            raise CheckpointError(f"{self._name} was cut short: the numbers of a tensor are missing.")
        if 0 in ref.shape:
            return torch.empty(ref.shape, dtype=ref.storage.dtype)
        self._file.seek(start)
        data = bytearray(self._file.read(length))
        if len(data) != length:
            raise CheckpointError(f"{self._name} was cut short: the numbers of a tensor are missing.")
        flat = torch.frombuffer(data, dtype=ref.storage.dtype)
        # Cloned: a small view must not keep a large block alive.
        return torch.as_strided(flat, ref.shape, ref.stride, ref.offset).clone(memory_format=torch.contiguous_format)

    def _read_zip(self) -> object:
        with zipfile.ZipFile(self._file) as archive:
            records = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
            if "data.pkl" not in records:
                raise CheckpointError(f"{self._name} is a zip file, but not a PyTorch checkpoint (no data.pkl in it).")
            for name, entry in records.items():  # TorchScript's code may be compressed, weights never are
                if entry.compress_type != zipfile.ZIP_STORED and (name == "data.pkl" or name.startswith("data/")):
                    raise CheckpointError(f"{self._name} is compressed; PyTorch writes checkpoints uncompressed.")
            if "byteorder" in records and archive.read(records["byteorder"]) != b"little":
                raise CheckpointError(f"{self._name} was written on a big-endian machine, which is not supported.")
            self.is_torchscript = "constants.pkl" in records
            with archive.open(records["data.pkl"]) as pickled:
                root: object = _Unpickler(pickled).load()  # type: ignore[arg-type]
            self._blocks = {
                name.removeprefix("data/"): (_first_byte(self._file, entry), entry.file_size)
                for name, entry in records.items()
                if name.startswith("data/")
            }
        return root

    def _read_plain(self) -> object:
        """The layout before PyTorch 1.6: five pickles, then length and bytes of each storage."""
        self._file.seek(0)
        if tarfile.is_tarfile(self._file):
            raise CheckpointError(f"{self._name} is in PyTorch's tar format of 2016; save it anew with torch.save.")
        self._file.seek(0)
        if _Unpickler(self._file).load() != 0x1950A86A20F9469CFC6C:
            raise CheckpointError(f"{self._name} is not a PyTorch checkpoint.")
        _Unpickler(self._file).load()  # protocol version
        _Unpickler(self._file).load()  # byte order and type sizes of the machine
        sizes: dict[str, StorageRef] = {}

        class Noting(_Unpickler):
            def persistent_load(self, pid: object) -> StorageRef:
                storage = super().persistent_load(pid)
                return sizes.setdefault(storage.key, storage)

        root: object = Noting(self._file).load()
        for key in _Unpickler(self._file).load():
            self._file.seek(8, 1)  # the number of elements, which the pickle holds too
            length = sizes[key].numel * sizes[key].dtype.itemsize
            self._blocks[key] = (self._file.tell(), length)
            self._file.seek(length, 1)
        if self._file.tell() > self._file.seek(0, 2):
            raise CheckpointError(f"{self._name} was cut short: it ends before its numbers do.")
        return root


def _first_byte(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where a stored record's bytes start: behind a local header of 30 bytes, a name and padding."""
    file.seek(entry.header_offset + 26)
    header = file.read(4)
    return entry.header_offset + 30 + int.from_bytes(header[:2], "little") + int.from_bytes(header[2:], "little")


def module_tensors(module: object, prefix: str = "") -> Iterator[tuple[str, TensorRef]]:
    """Names and tensors of a TorchScript module and of the modules inside it, named as in a state dict."""
    pending = [(prefix, module)]
    seen: set[int] = set()
    while pending:
        path, current = pending.pop()
        if id(current) in seen or not (isinstance(current, Inert) and isinstance(current.state, dict)):
            continue
        seen.add(id(current))
        for name, value in current.state.items():
            if isinstance(value, TensorRef):
                yield f"{path}{name}", value
            else:
                pending.append((f"{path}{name}.", value))


def state_dict_tensors(root: object) -> Iterator[tuple[str, TensorRef]]:
    """Names and tensors of a checkpoint: those of its ``state_dict`` where it has one, else its own."""
    holder = root
    if isinstance(root, dict) and dict.__contains__(root, "state_dict"):
        holder = dict.__getitem__(root, "state_dict")
    if isinstance(holder, dict):
        for key in dict.__iter__(holder):  # not .items(): a pickle may put an attribute of that name on the instance
            value = dict.__getitem__(holder, key)
            if isinstance(key, str) and isinstance(value, TensorRef):
                yield key, value
