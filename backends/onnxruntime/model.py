"""The ``onnxruntime`` backend for servers without the C++ one: same configuration, same answers."""

from typing import Any

import triton_python_backend_utils as pb_utils

from atelier.serving.backends import bridge
from atelier.serving.backends.config import LoadError
from atelier.serving.backends.onnx_complete import complete
from atelier.serving.backends.onnx_session import OnnxSession


class TritonPythonModel:
    """One instance of a model: its own process, with its own session."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in what the configuration leaves out."""
        try:
            # Not add_input and add_output: they refuse the reshape that an output without dims needs.
            complete(auto_complete_model_config.as_dict(), bridge.version_folder(), pb_utils.Logger)
        except LoadError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model."""
        self._engine = bridge.load(pb_utils, OnnxSession, args)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of one batch."""
        return bridge.execute(pb_utils, self._engine, requests)

    def finalize(self) -> None:
        """Free the session."""
        del self._engine
