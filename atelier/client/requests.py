"""What callers hand over, checked before anything is sent, so that every mistake is an ``InvalidRequest``."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from atelier.client.errors import InvalidRequest
from atelier.client.shared import Mapped

MAX_TIMEOUT = 86400.0
"""Seconds of the longest deadline, one day."""

# gRPC takes no others, and keeps names that end in -bin for bytes.
_HEADER_NAME = re.compile(r"[a-z0-9_.-]+(?<!-bin)")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


class Deadline:
    """The one deadline of a call, which may be several questions to the server.

    Args:
        seconds: from now on, at most ``MAX_TIMEOUT``.

    Raises:
        InvalidRequest: that is no number of seconds.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_timeout(seconds)
        self._end = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """Seconds that are left, never less than 0."""
        return max(0.0, self._end - time.monotonic())


def check_timeout(seconds: Any) -> float:
    """A number of seconds that a call can have.

    Raises:
        InvalidRequest: it is none, or one out of range.
    """
    numeric = isinstance(seconds, int | float | np.integer | np.floating) and not isinstance(seconds, bool)
    if not numeric or not 0 < seconds <= MAX_TIMEOUT:  # which is false of "not a number"
        raise InvalidRequest(
            f"The timeout is {shown(seconds)} s; it must be more than 0 and at most {MAX_TIMEOUT:.0f} (one day)."
        )
    return float(seconds)


def check_inputs(inputs: Any) -> dict[str, NDArray[Any] | Mapped]:
    """Arrays by tensor name, of types and sizes that Triton takes.

    Raises:
        InvalidRequest: they are not.
    """
    if not isinstance(inputs, Mapping) or not inputs:
        raise InvalidRequest("The inputs are no mapping, or an empty one; accepted: arrays by tensor name.")
    for name, given in inputs.items():
        check_text("A tensor's name", name)
        array = check_mapped(name, given).array if isinstance(given, Mapped) else given
        if not isinstance(array, np.ndarray):
            raise InvalidRequest(f"{name} is a {type(array).__name__}; accepted: an array.")
        if np_to_triton_dtype(array.dtype) is None:
            raise InvalidRequest(
                f"{name} is an array of {array.dtype} ({array.dtype.str}); accepted: bool, integers and floats in this "
                "machine's byte order, and bytes as objects."
            )
        if array.size == 0:
            raise InvalidRequest(f"{name} is an array {list(array.shape)}, which is empty.")
        if array.dtype == np.object_:
            _check_strings(name, array)
    return dict(inputs)


def check_mapped(name: str, given: Mapped) -> Mapped:
    """An array in a segment that the server can read as it stands.

    Raises:
        InvalidRequest: it cannot.
    """
    check_text(f"The segment of {name}", given.key)
    array = given.array
    if not isinstance(array, np.ndarray) or array.dtype.hasobject or not array.flags.c_contiguous or not array.size:
        raise InvalidRequest(f"{name} lies in a segment, but is no C-contiguous array of numbers.")
    return given


def _check_strings(name: str, array: NDArray[Any]) -> None:
    """Refuse other objects than bytes and texts, of which tritonclient would send what Python prints."""
    for item in array.flat:
        if not isinstance(item, bytes):
            check_text(f"An element of {name}", item)


def check_outputs(outputs: Any) -> dict[str, int | Mapped | None]:
    """Wanted tensors, with their bytes where they are known, or the place that they are to be written to.

    Raises:
        InvalidRequest: that is something else.
    """
    wanted = {} if outputs is None else outputs
    if not isinstance(wanted, Mapping):
        raise InvalidRequest("The outputs are no mapping; accepted: a number of bytes, or None, by tensor name.")
    for name, size in wanted.items():
        check_text("A tensor's name", name)
        if isinstance(size, Mapped):
            check_mapped(name, size)
        elif size is not None and not (is_whole(size) and size > 0):
            raise InvalidRequest(f"The bytes of {name} are {shown(size)}; accepted: a positive integer, or None.")
    return {name: size if size is None or isinstance(size, Mapped) else int(size) for name, size in wanted.items()}


def check_headers(headers: Any) -> dict[str, str]:
    """Headers that both protocols carry; their names are the same in capitals.

    Raises:
        InvalidRequest: one of them is none.
    """
    given = {} if headers is None else headers
    if not isinstance(given, Mapping):
        raise InvalidRequest("The headers are no mapping; accepted: texts by name.")
    checked = {}
    for name, value in given.items():
        lowered = name.lower() if isinstance(name, str) else ""
        if not _HEADER_NAME.fullmatch(lowered) or not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            # The value may be a key: it is not repeated.
            raise InvalidRequest(
                f"The header {shown(name)} cannot be sent; accepted: ASCII texts, by names of letters, digits, - and _."
            )
        checked[lowered] = value
    return checked


def check_text(name: str, text: Any, *, empty: bool = False) -> str:
    """A text that UTF-8 can hold.

    Raises:
        InvalidRequest: it is none, or empty without leave.
    """
    if not isinstance(text, str) or not (text or empty):
        raise InvalidRequest(f"{name} is {shown(text)}; accepted: a text.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} is {shown(text)}, which is no valid text.") from None
    return text


def is_whole(number: Any) -> bool:
    """Whether it is a whole number, 16.0 as well as 16."""
    if isinstance(number, float | np.floating):
        return bool(number.is_integer())
    return isinstance(number, Integral) and not isinstance(number, bool)


def integer(name: str, number: Any) -> NDArray[np.int32]:
    """A number as an ``INT32 [1]`` tensor with its batch dimension; never cut to 32 bits."""
    bounds = np.iinfo(np.int32)
    if not is_whole(number) or not bounds.min <= number <= bounds.max:
        raise InvalidRequest(f"{name} is {shown(number)}; accepted: an integer of 32 bits.")
    return np.array([[number]], dtype=np.int32)


def flag(name: str, value: Any) -> NDArray[np.bool_]:
    """A truth value as a ``BOOL [1]`` tensor with its batch dimension; a text such as "no" is none."""
    if not isinstance(value, bool | np.bool_) and not (isinstance(value, Integral) and value in (0, 1)):
        raise InvalidRequest(f"{name} is {shown(value)}; accepted: True or False.")
    return np.array([[bool(value)]])


def strings(*values: bytes) -> NDArray[np.object_]:
    """Files or texts as a ``STRING [1]`` tensor with its batch dimension."""
    # dtype object: numpy's own bytes type drops trailing zeros
    array = np.empty((len(values), 1), dtype=np.object_)
    array[:, 0] = values
    return array


def shown(value: Any) -> str:
    """A value as a message repeats it: short, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # an integer of more than 4300 digits, for one
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"
