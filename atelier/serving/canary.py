"""A request that asks nothing: its answer proves that a model's process reads and answers.

`atelier.serving.model` answers it at once, without work. `atelier.serving.watching` sends it.
"""

from __future__ import annotations

import math
from typing import Any

REQUEST = "atelier_canary"
"""Parameter of such a request."""

CONFIG = "canary"
"""Parameter of a configuration: the seconds within which the model answers somebody, where anybody waits."""

_EMPTY: dict[str, Any] = {"TYPE_STRING": "", "TYPE_BOOL": False}
_WORDS = {"TYPE_STRING": "BYTES"}  # the protocol's, where they differ from the configurations'


def inputs(config: Any) -> list[dict[str, Any]]:
    """The smallest tensors that Triton takes for a model: one empty text, or 0, in each input that it requires.

    Args:
        config: its ``ModelConfig``.
    """
    made = []
    for tensor in config.input:
        if not tensor.optional:
            kind = tensor.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
            shape = [max(1, side) for side in tensor.dims]
            made.append(
                {
                    "name": tensor.name,
                    "datatype": _WORDS.get(kind, kind.removeprefix("TYPE_")),
                    "shape": [1, *shape] if config.max_batch_size else shape,
                    "data": [_EMPTY.get(kind, 0)] * math.prod(shape),
                }
            )
    return made
