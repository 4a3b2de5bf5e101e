"""A composite, stage after stage, each a model of its own: progress, previews, a choice of seeds.

Importable only inside Triton's Python backend.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from atelier.compositing.metrics import score
from atelier.errors import InvalidInput
from atelier.serving.answering import Task
from atelier.serving.calls import call, call_stream
from atelier.serving.compositing import numbers
from atelier.serving.model import Tensors
from atelier.serving.progress import tensors_of_progress
from atelier.serving.request import Request

Arrays = dict[str, NDArray[Any]]

ANALYZER = ("background_analyzer", ("BACKGROUND", "REFERENCE", "PROMPT", "LANGUAGE", "BOX", "POINT", "MASK", "SEED"))
EXTRACTOR = ("object_extractor", ("REFERENCE", "REFERENCE_BOX", "REFERENCE_POINT"))
PLACER = ("mask_generator", ("BACKGROUND", "BOX", "POINT", "SCALE", "MASK"))
SYNTHESIZER = (
    "object_synthesizer_stream",
    ("BACKGROUND", "PROMPT", "STEPS", "GUIDANCE_SCALE", "STRENGTH", "PREVIEW_EVERY"),
)
"""Each stage's model, and the inputs of a request that it takes."""

MOST_SEEDS = 16


class CompositeSettings(BaseSettings):
    """Settings of the calls."""

    model_config = SettingsConfigDict(env_prefix="ATELIER_COMPOSITE_STREAM_", extra="forbid", frozen=True)

    max_queue: int = Field(16, ge=0, description="requests that may wait")
    timeout: float = Field(3600.0, gt=0, description="seconds that a request may wait in a stage's queue")


@dataclass(frozen=True)
class CompositeJob:
    """A composite that is asked for.

    Attributes:
        inputs: the request's tensors.
        seeds: candidates, of which the best is answered.
        seed: of the first; None: drawn.
    """

    inputs: Arrays
    seeds: int
    seed: int | None


def read_job(request: Request) -> CompositeJob:
    """A request's tensors as a job; the stages read what is theirs.

    Raises:
        InvalidInput: ``SEEDS`` or ``SEED`` is out of its range, or the mask is there twice.
    """
    inputs = request.arrays()
    if "PLACEMENT_MASK" in inputs:  # as `composite` calls it, where an output has the stages' name
        if "MASK" in inputs:
            raise InvalidInput("PLACEMENT_MASK and MASK are two names of one input; one of them is accepted.")
        inputs["MASK"] = inputs.pop("PLACEMENT_MASK")
    seed = numbers(inputs, "SEED", 0, 0, 2**63 - 1) if "SEED" in inputs else None
    return CompositeJob(inputs, numbers(inputs, "SEEDS", 1, 1, MOST_SEEDS), seed)


def compose(task: Task[CompositeJob], timeout: float) -> Exception | None:
    """Answer a request.

    Args:
        task: the request.
        timeout: seconds that it may wait in a stage's queue.

    Returns:
        What it failed with, if it did.
    """
    try:
        task.send(Composition(task, timeout).run())
    except Exception as error:
        return error
    return None


class Composition:
    """One request's way through the stages.

    Args:
        task: the request.
        timeout: seconds that it may wait in a stage's queue.
    """

    def __init__(self, task: Task[CompositeJob], timeout: float) -> None:
        self._task, self._timeout, self._inputs = task, timeout, task.job.inputs
        self._began = monotonic()

    def run(self) -> Tensors:
        """Work through the stages.

        Returns:
            ``IMAGE``, ``MASK``, ``ANALYSIS`` and ``REPORT``, which ends the stream.

        Raises:
            InvalidInput, Unavailable, Cancelled, CallFailed: as a stage says.
        """
        analysis, scene, before = self._stage("analysis", 0, ANALYZER, {}, ["ANALYSIS", "SCENE", "REPORT"])
        found, report = self._stage("extraction", 1, EXTRACTOR, {"REPORT": before}, ["OBJECT", "REPORT"])
        more = {"OBJECT": found, "SCENE": scene, "REPORT": report}
        outputs = ["PLACEMENT", "OBJECT_MASK", "FILL_MASK", "PRE_COMPOSITE", "REPORT"]
        placed = self._stage("placement", 2, PLACER, more, outputs)
        made = self._candidates(more | dict(zip(outputs, placed, strict=True)))
        return {**made, "ANALYSIS": bytes(analysis.reshape(-1)[0])}

    def _stage(
        self, name: str, number: int, model: tuple[str, Sequence[str]], more: Arrays, outputs: list[str]
    ) -> list[NDArray[Any]]:
        self._task.report(tensors_of_progress(name, number, 3, monotonic() - self._began))
        inputs = self._inputs_of(model, more)
        answers = call(model[0], inputs, outputs, timeout=self._timeout, facts="REPORT", check=self._task.check)
        # What is answered lives no longer than its response.
        return [answer.copy() for answer in answers]

    def _inputs_of(self, model: tuple[str, Sequence[str]], more: Arrays) -> Arrays:
        names = (*model[1], "MODE")
        return {name: self._inputs[name] for name in names if name in self._inputs} | more

    def _candidates(self, more: Arrays) -> dict[str, bytes]:
        """Every candidate's answer, of which the best is returned."""
        job = self._task.job
        made: list[tuple[dict[str, bytes], dict[str, Any]]] = []
        seed = job.seed  # without one the synthesizer's own setting applies, or it draws one
        for number in range(job.seeds):
            answer = self._synthesize(more, seed, number)
            report = json.loads(answer["REPORT"])
            made.append((answer, report))
            if report["seed"] is None:
                break  # nothing was drawn: every other candidate would be the same
            seed = (report["seed"] + 1) % 2**63
        best, report = max(made, key=lambda entry: score(entry[1]["metrics"]))
        if len(made) < job.seeds:
            report["warnings"].append("SEEDS has no effect: the synthesizer drew nothing at random.")
        report["candidates"] = [
            {"seed": facts["seed"], "score": score(facts["metrics"]), "metrics": facts["metrics"]} for _, facts in made
        ]
        return best | {"REPORT": json.dumps(report, ensure_ascii=False).encode()}

    def _synthesize(self, more: Arrays, seed: int | None, number: int) -> dict[str, bytes]:
        inputs = self._inputs_of(SYNTHESIZER, more)
        if seed is not None:
            inputs["SEED"] = np.array([[seed]], np.int64)
        candidate = {"candidate": number + 1, "candidates": self._task.job.seeds}

        def forward(answer: Mapping[str, bytes]) -> None:
            if "PROGRESS" in answer:
                told = json.loads(answer["PROGRESS"])
                if told["stage"] == "queued":  # its queue's places are not this one's
                    return
                told |= candidate | {"seconds": round(monotonic() - self._began, 3)}
                preview = {"PREVIEW": answer["PREVIEW"]} if "PREVIEW" in answer else {}
                self._task.report({"PROGRESS": json.dumps(told), **preview})

        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        outputs = ["IMAGE", "MASK", "REPORT"]
        return call_stream(
            SYNTHESIZER[0], tensors, outputs, timeout=self._timeout, check=self._task.check, on_answer=forward
        )
