"""One request to a Python model: typed reading of its tensors, its timings, its cancellation."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.serving import canary
from atelier.serving.errors import Cancelled
from atelier.serving.leases import LEASE, is_held


class Request:
    """What a model's ``decode`` reads.

    Attributes:
        id: the client's request id, or one that is made here; it stands in the log and in internal errors.
        seconds: seconds per step, in the order of the steps; exported as metrics when the request is answered.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        given = raw.request_id()
        # It goes into the log and into messages: a client's own id only where it cannot spoil them.
        self.id: str = given if re.fullmatch(r"[\w.:-]{1,64}", given) else uuid.uuid4().hex[:12]
        self.seconds: dict[str, float] = {}

    def raise_if_cancelled(self) -> None:
        """Stop work that nobody waits for.

        Raises:
            Cancelled: the client cancelled, its deadline passed, or the model that called this one gave it up.
        """
        lease = self.parameter(LEASE)
        if self._raw.is_cancelled() or (lease is not None and not is_held(str(lease))):
            raise Cancelled("The request was cancelled.")

    def parameter(self, name: str) -> Any:
        """One of the parameters that came beside the tensors; None where the request has none of that name."""
        return json.loads(self._raw.parameters() or "{}").get(name)

    def refuse_strangers(self, inputs: Collection[str]) -> None:
        """See that nothing came as a parameter that was meant as a tensor.

        Triton's ``generate`` end points make parameters of the names in their JSON that are no input's: a setting with
        a misspelt name would be passed over, and the default apply in its place.

        Args:
            inputs: names of the model's tensors.

        Raises:
            InvalidInput: a parameter's name is in capitals, as tensors' are, or is that of an input in small letters.
        """
        for name in json.loads(self._raw.parameters() or "{}"):
            if name.isupper() or name.upper() in inputs:
                raise InvalidInput(f"{name!r:.60} is no input; there are: {', '.join(inputs)}.")

    @property
    def asks_nothing(self) -> bool:
        """Whether it is one of the launcher's, which are answered without work."""
        return self.parameter(canary.REQUEST) is True

    @property
    def queue_timeout(self) -> float:
        """Seconds that it may wait for its turn; without end where it does not say."""
        return self._raw.timeout() / 1e6 or math.inf

    def data(self, name: str) -> bytes:
        """The one element of a required ``STRING [1]`` tensor.

        Raises:
            InvalidInput: another number of elements.
        """
        return bytes(self._element(name))

    def optional(self, name: str) -> bytes | None:
        """The one element of an optional ``STRING [1]`` tensor; None where the request has none.

        Raises:
            InvalidInput: another number of elements.
        """
        return None if pb_utils.get_input_tensor_by_name(self._raw, name) is None else self.data(name)

    def texts(self, name: str) -> list[str]:
        """All elements of an optional ``STRING [n]`` tensor; none where the request has none.

        Raises:
            InvalidInput: an element is not UTF-8.
        """
        tensor = pb_utils.get_input_tensor_by_name(self._raw, name)
        if tensor is None:
            return []
        try:
            return [bytes(value).decode("utf-8") for value in tensor.as_numpy().reshape(-1)]
        except UnicodeDecodeError:
            raise InvalidInput(f"{name} is not UTF-8 text.") from None

    def tensors(self) -> list[Any]:
        """All of its tensors as Triton's, to be passed on."""
        given: list[Any] = self._raw.inputs()
        return given

    def numbers(self, name: str) -> list[float]:
        """All elements of an optional numeric tensor; none where the request has none."""
        tensor = pb_utils.get_input_tensor_by_name(self._raw, name)
        return [] if tensor is None else [float(value) for value in tensor.as_numpy().reshape(-1)]

    def array(self, name: str) -> NDArray[Any]:
        """A required numeric tensor with its batch dimension; it lives no longer than the request.

        Raises:
            InvalidInput: the request has none of that name.
        """
        tensor = pb_utils.get_input_tensor_by_name(self._raw, name)
        if tensor is None:
            raise InvalidInput(f"{name} is missing.")
        array: NDArray[Any] = tensor.as_numpy()
        return array

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of all of its tensors, by name."""
        return {tensor.name(): tensor.as_numpy().copy() for tensor in self._raw.inputs()}

    def settings(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """The optional inputs that the request carries, by the settings' field names.

        Args:
            fields: tensor name to field name.

        Raises:
            InvalidInput: a tensor does not hold exactly one element, or a text is not UTF-8.
        """
        given: dict[str, Any] = {}
        for tensor, field in fields.items():
            if pb_utils.get_input_tensor_by_name(self._raw, tensor) is None:
                continue
            value = self._element(tensor)
            if isinstance(value, bytes):
                try:
                    value = value.decode("utf-8")
                except UnicodeDecodeError:
                    raise InvalidInput(f"{tensor} is not UTF-8 text.") from None
            given[field] = value
        return given

    def _element(self, name: str) -> Any:
        """The one element of a tensor as Python's own type."""
        tensor = pb_utils.get_input_tensor_by_name(self._raw, name)
        if tensor is None:
            raise InvalidInput(f"{name} is missing.")
        array = tensor.as_numpy()
        if array.size != 1:
            raise InvalidInput(
                f"{name} holds {array.size} elements; a request holds one (the server batches requests by itself)."
            )
        value = array.reshape(-1)[0]
        return value.item() if isinstance(value, np.generic) else value
