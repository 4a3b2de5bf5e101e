"""The ``openvino`` backend for servers without the C++ one: same configuration, same answers."""

from typing import Any

import triton_python_backend_utils as pb_utils

from atelier.serving.backends import bridge
from atelier.serving.backends.openvino_session import OpenvinoSession


class TritonPythonModel:
    """One instance of a model: its own process, with its own compiled network."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        self._engine = bridge.load(pb_utils, OpenvinoSession, args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return bridge.execute(pb_utils, self._engine, requests)

    def finalize(self) -> None:
        """Free the network."""
        del self._engine
