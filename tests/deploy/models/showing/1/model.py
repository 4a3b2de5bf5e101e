"""Every metric that a model can show, each once."""

from types import SimpleNamespace

import triton_python_backend_utils as pb_utils

from atelier.serving.metrics import Metrics


class TritonPythonModel:
    def initialize(self, args):
        self.metrics = Metrics(args["model_name"])
        self.metrics.answered("ok", {"decode": 0.1})
        self.metrics.waiting(3)
        self.metrics.applied([{"name": "ink", "effect": 0.5}])
        self.metrics.show_memory(pb_utils.Logger, {"weights": SimpleNamespace(host=2**30, gpu=2**31)})

    def execute(self, requests):
        return [pb_utils.InferenceResponse(error=pb_utils.TritonError("it only shows")) for _ in requests]
