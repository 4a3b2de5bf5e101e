"""The ``pytorch`` backend for servers without the C++ one: TorchScript, same configuration, same answers."""

from typing import Any

import triton_python_backend_utils as pb_utils

from atelier.serving.backends import bridge
from atelier.serving.backends.torchscript import TorchScript


class TritonPythonModel:
    """One instance of a model: its own process, with its own module.

    There is no ``auto_complete_config``: TorchScript tells neither shapes nor types, and the C++ backend has none.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        self._engine = bridge.load(pb_utils, TorchScript, args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return bridge.execute(pb_utils, self._engine, requests)

    def finalize(self) -> None:
        """Free the module, and what it held on the GPU."""
        self._engine.close()
