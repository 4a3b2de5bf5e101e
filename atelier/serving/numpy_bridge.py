"""NumPy 2 under the embedded server's Python backend, which was compiled for NumPy 1.

The stub of Triton 2.51 holds an old pybind11 that reads a data type's item size at the place where NumPy 1 kept it.
NumPy 2 keeps the data type's flags there, mostly 0, and two things go wrong: arrays that the stub makes get strides
of 0 (every element is the first one, and ``STRING`` inputs end the process), and an output's size comes out as 0
bytes. NumPy 1 is no way out: it has no builds for Python 3.13.

So the embedded server's copy of ``triton_python_backend_utils.py`` imports this module, which gives the stub

* a table of NumPy's C functions in which ``PyArray_NewFromDescr`` ignores such strides,
* a ``Tensor`` that hands numeric arrays over through DLPack, where the stub computes the size by itself, and
* strings in an array whose data type says 1 at the place where the stub looks for the item size.

Servers since 24.11 were compiled for NumPy 2 and never import this.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

NEW_FROM_DESCR = 94
"""Index of ``PyArray_NewFromDescr`` in NumPy's C API, the same in all versions."""

TABLE_LENGTH = 300
"""Functions that are copied: pybind11 takes none beyond index 282, and NumPy's table is longer."""

ITEM_SIZE_OFFSET = 32
"""Bytes from the start of a data type to NumPy 1's item size (an int), where NumPy 2 has the flags (64 bits)."""

_NewFromDescr = ctypes.PYFUNCTYPE(
    ctypes.py_object,
    ctypes.c_void_p,  # type
    ctypes.c_void_p,  # data type; the reference is stolen
    ctypes.c_int,  # number of dimensions
    ctypes.POINTER(ctypes.c_ssize_t),  # shape
    ctypes.POINTER(ctypes.c_ssize_t),  # strides; NULL for C order
    ctypes.c_void_p,  # data
    ctypes.c_int,  # flags
    ctypes.c_void_p,  # base
)

_kept: list[Any] = []
"""What the stub points to from now on."""


def install() -> None:
    """Mend the stub in this process, before it has made its first array."""
    import c_python_backend_utils as stub  # exists inside the stub alone
    import triton_python_backend_utils as utils

    stub_tensor = stub.Tensor
    _mend_strides(lambda: stub_tensor("first", np.zeros(1, np.uint8)))
    # The stub copies its Tensor into triton_python_backend_utils when that has been imported.
    stub.Tensor = _tensor_maker(stub_tensor, utils)


def _mend_strides(take_table: Any) -> None:
    """Let the stub take a table of functions that makes whole arrays; everybody else keeps NumPy's own."""
    import numpy.core.multiarray as multiarray  # where pybind11 looks for the table

    capsule = multiarray._ARRAY_API
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    original = (ctypes.c_void_p * TABLE_LENGTH).from_address(pointer(capsule, None))
    table = (ctypes.c_void_p * TABLE_LENGTH)(*original)
    new_from_descr = _NewFromDescr(original[NEW_FROM_DESCR] or 0)

    def without_broken_strides(
        kind: Any, dtype: Any, ndim: int, shape: Any, strides: Any, data: Any, flags: int, base: Any
    ) -> Any:
        broken = bool(strides) and all(strides[i] == 0 for i in range(ndim))
        return new_from_descr(kind, dtype, ndim, shape, None if broken else strides, data, flags, base)

    callback = _NewFromDescr(without_broken_strides)
    table[NEW_FROM_DESCR] = ctypes.cast(callback, ctypes.c_void_p).value
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    _kept.extend([table, callback, new_from_descr])
    multiarray._ARRAY_API = make(ctypes.addressof(table), None, None)
    try:
        take_table()
    finally:
        multiarray._ARRAY_API = capsule


def _tensor_maker(stub_tensor: Any, utils: Any) -> Any:
    """What ``pb_utils.Tensor`` is from now on: it makes the stub's tensors."""
    byte_type = np.dtype(np.uint8, metadata={"made for": __name__})  # an object of its own, no singleton
    item_size = ctypes.c_uint64.from_address(id(byte_type) + ITEM_SIZE_OFFSET)
    serialize = utils.serialize_byte_tensor
    forget_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
    forget_destructor.argtypes = (ctypes.py_object, ctypes.c_void_p)

    def serialize_for_stub(array: Any) -> Any:
        data = np.frombuffer(serialize(array) or b"", dtype=byte_type)
        item_size.value = 1  # until the stub has asked for the size: see below
        return data

    class Tensor:
        """Makes tensors from arrays, as the stub's own class does under NumPy 1."""

        from_dlpack = staticmethod(stub_tensor.from_dlpack)

        def __new__(cls, name: str, array: Any) -> Any:
            if array.dtype.kind in "OSU" or array.size == 0:  # of nothing, 0 bytes is the right size
                try:
                    return stub_tensor(name, array)
                finally:
                    item_size.value = 0
            # DLPack takes no read-only arrays, and Triton's side of it C order only.
            capsule = np.require(array, requirements=["C", "W"]).__dlpack__()
            # The stub frees the array itself, but renames the capsule in a way that NumPy's destructor complains of.
            forget_destructor(capsule, None)
            return stub_tensor.from_dlpack(name, capsule)

    utils.serialize_byte_tensor = serialize_for_stub
    return Tensor
