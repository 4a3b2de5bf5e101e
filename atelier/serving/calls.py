"""Calls from one model to another (Triton's BLS). Importable only inside Triton's Python backend."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from atelier.errors import InvalidInput
from atelier.serving.beats import PULSE
from atelier.serving.errors import CallFailed, Cancelled, Unavailable
from atelier.serving.leases import LEASE, Lease
from atelier.serving.repository import PROFILE_VARIABLE, read_model

ERRORS = "atelier_errors"
"""Parameter of a request: the output that carries what it fails with, as JSON, not as an error. Of an error Triton 2.51
passes the words alone from one model to another; one that follows an answer it loses, or never ends the call."""

FACTS = ("METADATA", "REPORT")
"""Outputs that may carry an error."""


def call(
    model: str,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    *,
    timeout: float,
    facts: str | None = None,
    check: Callable[[], None] | None = None,
) -> list[NDArray[Any]]:
    """Run another model and wait for its answer.

    Args:
        model: its name; the newest loaded version answers.
        inputs: arrays with their batch dimension, by tensor name.
        outputs: the tensors that are wanted.
        timeout: seconds that the request may wait in the other model's queue.
        facts: where the inputs are a client's own: the output, one of `FACTS`, by which the other model says what it
            refuses.
        check: called meanwhile, from another thread; raises to give the call up.

    Raises:
        InvalidInput, Cancelled: as the other model says, where ``facts`` is set.
        Unavailable: its queue is full, the time is over, or it is not loaded.
        CallFailed: it failed; the message is its own.
    """
    parameters = {ERRORS: facts} if facts else {}
    with ExitStack() as stack:
        if check is not None:
            lease = stack.enter_context(Lease())
            stack.enter_context(lease.while_wanted(check))
            parameters[LEASE] = lease.name
        response = pb_utils.InferenceRequest(
            model_name=model,
            inputs=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()],
            requested_output_names=list(outputs),
            timeout=int(timeout * 1e6),
            # Where the other model runs on a GPU its outputs would stay there, and have no numpy array.
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU),
            parameters=parameters,
        ).exec()
    PULSE.beat()
    if response.has_error():
        error = response.error()
        if error.code() == pb_utils.TritonError.UNAVAILABLE:
            raise Unavailable(error.message())
        if not pb_utils.is_model_ready(model, ""):
            raise Unavailable(f"The model {model}, which this one calls, is not loaded.")
        raise CallFailed(f"{model}: {error.message()}")
    if facts:
        told = pb_utils.get_output_tensor_by_name(response, facts)
        _raise_error(model, bytes(told.as_numpy().reshape(-1)[0]) if told is not None else b"{}")
    return [pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs]


def call_stream(
    model: str,
    tensors: Sequence[Any],
    outputs: Sequence[str],
    *,
    timeout: float,
    check: Callable[[], None],
    on_answer: Callable[[Mapping[str, bytes]], None] = lambda _: None,
) -> dict[str, bytes]:
    """Run a decoupled model to its end, and keep the last element that it sends of each output.

    Args:
        model: its name.
        tensors: of the request, Triton's own.
        outputs: ``STRING [1]`` tensors that are wanted; one of `FACTS` among them.
        timeout: seconds that the request may wait in the other model's queue.
        check: called with each answer; raises to give the call up.
        on_answer: called with each answer's ``STRING [1]`` outputs, whatever they are.

    Raises:
        InvalidInput, Unavailable, Cancelled: as the other model says.
        CallFailed: it failed; the message is its own.
        Exception: whatever ``check`` and ``on_answer`` raise, once the other model has stopped.
    """
    facts = next(name for name in outputs if name in FACTS)
    found: dict[str, bytes] = {}
    failure: str | None = None
    given_up: Exception | None = None
    with Lease() as lease:
        request = pb_utils.InferenceRequest(
            model_name=model,
            inputs=list(tensors),
            requested_output_names=[],  # all, as progress has outputs of its own
            timeout=int(timeout * 1e6),
            parameters={ERRORS: facts, LEASE: lease.name},
        )
        for response in request.exec(decoupled=True):  # to the end: what is left unread would stay in memory
            PULSE.beat()
            if response.has_error():
                failure = failure or response.error().message()
                continue
            answer = {tensor.name(): bytes(tensor.as_numpy().reshape(-1)[0]) for tensor in response.output_tensors()}
            found |= {name: value for name, value in answer.items() if name in outputs}
            if given_up is None:
                try:
                    check()
                    on_answer(answer)
                except Exception as error:
                    given_up = error
                    lease.release()
    if given_up is not None:
        raise given_up
    if failure is not None:
        raise _failure(model, "", failure)
    _raise_error(model, found.get(facts, b"{}"))
    if missing := [name for name in outputs if name not in found]:
        raise CallFailed(f"{model} ended without {missing[0]}.")
    return found


def error_as_data(code: str, message: str) -> str:
    """What a model answers in one of `FACTS` instead of an error."""
    return json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)


def _raise_error(model: str, told: bytes) -> None:
    """Raise what a model told with `error_as_data`; nothing where it told something else."""
    if error := json.loads(told).get("error"):
        raise _failure(model, error["code"], error["message"])


def _failure(model: str, code: str, text: str) -> Exception:
    """The exception for what another model failed with."""
    kinds: dict[str, type[Exception]] = {
        "INVALID_ARG": InvalidInput,
        "UNAVAILABLE": Unavailable,
        "CANCELLED": Cancelled,
    }
    if code in kinds:
        return kinds[code](text)
    if not pb_utils.is_model_ready(model, ""):
        return Unavailable(f"The model {model}, which this one calls, is not loaded.")
    return CallFailed(f"{model}: {text}")


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
