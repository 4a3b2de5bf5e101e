"""A request that asks nothing: its answer proves that a model's process reads and answers.

`atelier.serving.model`, `stream` and `queued` answer it at once, without work. `atelier.serving.watching` sends it.
"""

from __future__ import annotations

import math
from typing import Any

REQUEST = "atelier_canary"
"""Parameter of such a request."""

CONFIG = "canary"
"""Parameter of a configuration: the seconds within which the model answers somebody, where anybody waits."""

BROKEN = "cannot work any more"
"""Words of a model's answer that tell that only a new process mends it."""

_EMPTY: dict[str, Any] = {"TYPE_STRING": "", "TYPE_BOOL": False}
_WORDS = {"TYPE_STRING": "BYTES"}  # the protocol's, where they differ from the configurations'


def call(config: Any) -> tuple[str, dict[str, Any]]:
    """What is asked of a model over HTTP: the end point, below the model's own, and the body.

    Triton's ``infer`` refuses decoupled models over HTTP; ``generate`` takes those that answer once, which such a
    request they do. Tensors have the smallest shapes that Triton takes, with one empty text, or 0, in each element.

    Args:
        config: its ``ModelConfig``.
    """
    required = [tensor for tensor in config.input if not tensor.optional]
    if config.model_transaction_policy.decoupled:
        values = {tensor.name: [_empty(tensor)] * math.prod(_shape(tensor)) for tensor in required}
        return "generate", {**values, "parameters": {REQUEST: True}}
    batch = [1] if config.max_batch_size else []
    inputs = [
        {
            "name": tensor.name,
            "datatype": _WORDS.get(_kind(tensor), _kind(tensor).removeprefix("TYPE_")),
            "shape": [*batch, *_shape(tensor)],
            "data": [_empty(tensor)] * math.prod(_shape(tensor)),
        }
        for tensor in required
    ]
    return "infer", {"inputs": inputs, "parameters": {REQUEST: True}}


def _kind(tensor: Any) -> str:
    return str(tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name)


def _empty(tensor: Any) -> Any:
    return _EMPTY.get(_kind(tensor), 0)


def _shape(tensor: Any) -> list[int]:
    return [max(1, side) for side in tensor.dims]
