"""Calls from one model to another (Triton's BLS). Importable only inside Triton's Python backend."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.serving.errors import CallFailed, Unavailable
from atelier.serving.repository import PROFILE_VARIABLE, read_model


def call(
    model: str, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], *, timeout: float
) -> list[NDArray[Any]]:
    """Run another model and wait for its answer.

    Args:
        model: its name; the newest loaded version answers.
        inputs: arrays with their batch dimension, by tensor name.
        outputs: the tensors that are wanted.
        timeout: seconds that the request may wait in the other model's queue.

    Raises:
        Unavailable: its queue is full, the time is over, or it is not loaded.
        CallFailed: it failed; the message is its own.
    """
    request = pb_utils.InferenceRequest(
        model_name=model,
        inputs=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()],
        requested_output_names=list(outputs),
        timeout=int(timeout * 1e6),
        # Where the other model runs on a GPU its outputs would stay there, and have no numpy array.
        preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
    )
    response = request.exec()
    if response.has_error():
        error = response.error()
        if error.code() == pb_utils.TritonError.UNAVAILABLE:
            raise Unavailable(error.message())
        if not pb_utils.is_model_ready(model, ""):
            raise Unavailable(f"The model {model}, which this one calls, is not loaded.")
        raise CallFailed(f"{model}: {error.message()}")
    return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]


class Identity:
    """Which version and checkpoint of another model answers now, for reports.

    The facts come from the version folder beside the calling model and the exporter's description of the artefact in
    it; on a server that keeps the models elsewhere, only the name is known.
    """

    def __init__(self, repository: str, model: str) -> None:
        self._folder = Path(repository).parent / model
        self._known: dict[str, Any] = {}
        self._read_at = float("-inf")

    def read(self) -> dict[str, Any]:
        """``{"name", "version", "checkpoint", "sha256", "synthetic", "precision"}``; read again after a second."""
        if time.monotonic() - self._read_at > 1.0:
            self._known = {"name": self._folder.name} | self._describe()
            self._read_at = time.monotonic()
        return self._known

    def _describe(self) -> dict[str, Any]:
        versions = sorted((int(p.name) for p in self._folder.glob("*") if p.name.isdecimal()), reverse=True)
        for version in versions:
            if pb_utils.is_model_ready(self._folder.name, str(version)):
                return {"version": str(version)} | self._description(self._folder / str(version))
        return {"version": None}

    def _description(self, folder: Path) -> dict[str, Any]:
        """What the exporter wrote beside the artefact (``model.onnx.json``); empty without it."""
        try:
            artefact = read_model(self._folder, os.environ.get(PROFILE_VARIABLE)).artefact
            file = folder / f"{artefact.name}.json" if artefact else folder
            facts = json.loads(file.read_text(encoding="utf-8"))
        except (InvalidInput, OSError, ValueError):  # a report is not worth a request
            return {}
        return {key: facts[key] for key in ("checkpoint", "sha256", "synthetic", "precision") if key in facts}
