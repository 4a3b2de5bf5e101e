"""The scene's analysis by Qwen2-VL."""

from __future__ import annotations

import copy
import importlib.util
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Qwen2VLForConditionalGeneration, StoppingCriteria, StoppingCriteriaList

from atelier import memory
from atelier.compositing.jobs import AnalysisJob, Light, Scene, StageReport
from atelier.compositing.neural import answers
from atelier.compositing.neural.asking import Asked, Reader, messages
from atelier.compositing.neural.devices import compute_type, is_gpu, resolve
from atelier.compositing.neural.loading import (
    CheckpointError,
    check_loaded,
    check_weights,
    digest,
    foreign,
    open_folder,
    quiet,
    read_json,
    require,
    shard_files,
)
from atelier.compositing.neural.pictures import flattened
from atelier.compositing.settings import AnalyzerSettings
from atelier.errors import InvalidInput
from atelier.memory import Memory
from atelier.timing import timed

_FILES = (
    *("config.json", "chat_template.json", "generation_config.json", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json"),
)
_RANDOM = threading.Lock()  # PyTorch's random numbers are one sequence for the process, and `generate` takes no other
_PACKAGES = {"bnb-int8": "bitsandbytes", "nf4": "bitsandbytes", "torchao-int8": "torchao"}
# Few weights, and what a picture shows suffers first: the network's eyes and its last layer stay as they are.
_WHOLE = ["visual", "model.visual", "lm_head"]
_GIVEN = ("text", "prompt", "palette", "mood", "camera", "surfaces")


class QwenAnalyzer:
    """Reads scenes with Qwen2-VL.

    Args:
        folder: of Qwen2-VL-7B-Instruct, as published.
        settings: of the stage.

    Attributes:
        loaded: memory after loading.

    Raises:
        CheckpointError: files are missing, unreadable, or of another model.
        InvalidInput: device or quantisation are not to be had here.
    """

    def __init__(self, folder: Path, settings: AnalyzerSettings) -> None:
        self._settings = settings
        self.device = resolve(settings.device)
        self._quantisation = _quantisation(settings.quantisation, self.device)
        folder = open_folder(folder, "Qwen2-VL-7B-Instruct")
        files = [*_FILES, *shard_files(folder)]
        if (folder / "config.json").is_file():  # of another model other files may be missing too
            kind = read_json(folder, "config.json").get("model_type")
            if kind != "qwen2_vl":
                raise CheckpointError(f"{folder.name}/config.json describes a {kind}; accepted: qwen2_vl.")
        require(folder, files)
        check_weights(folder, files)
        self._model = _load(folder, self._quantisation, self.device)
        self._longest = int(self._model.config.text_config.max_position_embeddings)
        self._reader = Reader(folder, int(self._model.config.image_token_id), settings.image_tokens)
        self._facts = {
            "name": "Qwen2-VL",
            "digest": digest(folder, files),
            "licence": "Apache-2.0",
            "quantisation": self._quantisation,
        }
        self.loaded: dict[str, Memory] = {"language_model": memory.measure(self.device)}

    def __call__(self, job: AnalysisJob) -> Scene:
        """Read a scene. What of the answer cannot be read comes from the scene's statistics, and the report says so.

        Args:
            job: the scene, and what is asked about it.

        Raises:
            InvalidInput: a picture is too narrow, or words and pictures are too many.
        """
        from atelier.compositing.analyzer import analyze  # which imports this module where weights are there

        report = StageReport("neural", models={"language_model": dict(self._facts)})
        if self._quantisation != self._settings.quantisation:
            report.facts["why_not_quantised"] = f"{self._settings.quantisation} is for GPUs; here is none."
        with timed(report.seconds, "statistics"):
            base = analyze(job)
        job.check()
        with timed(report.seconds, "tokens"):
            pictures = [job.background, *([] if job.reference is None else [flattened(job.reference)])]
            asked = self._reader(messages(job), pictures)
            self._check_length(asked)
        memory.reset_peak(self.device)
        with timed(report.seconds, "generation"):
            said, tokens = self._generate(asked, job, report)
        report.facts["tokens"] = {"asked": asked.length, "answered": tokens}
        report.facts["answer"] = said[:4000]
        report.memory = {name: used.as_dict() for name, used in self.loaded.items()}
        report.memory["generation"] = memory.measure(self.device).as_dict()
        return scene_of(job, base, answers.read(said, job.language), report)

    def _check_length(self, asked: Asked) -> None:
        most = self._longest - self._settings.max_new_tokens
        if asked.length > most:
            raise InvalidInput(
                f"Pictures and PROMPT are {asked.length} tokens for the analyst; up to {most} are accepted."
            )

    def _generate(self, asked: Asked, job: AnalysisJob, report: StageReport) -> tuple[str, int]:
        config = copy.deepcopy(self._model.generation_config)
        config.max_new_tokens = self._settings.max_new_tokens
        # The published settings sample among one token, which would make a temperature void.
        config.do_sample = self._settings.temperature > 0
        config.temperature = self._settings.temperature if config.do_sample else None
        config.top_k, config.top_p = (0, 1.0) if config.do_sample else (None, None)
        inputs = {name: value.to(self.device) for name, value in asked.inputs.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        seed = None
        if config.do_sample:
            seed = next(s for s in (job.seed, self._settings.seed, secrets.randbits(63)) if s is not None)
            report.facts["seed"] = seed
        with quiet(), _seeded(seed, self.device), torch.inference_mode():
            tokens = self._model.generate(
                **inputs, generation_config=config, stopping_criteria=StoppingCriteriaList([_Check(job.check)])
            )[0, asked.length :]
        return self._reader.decode(tokens), len(tokens)


class _Check(StoppingCriteria):
    """Asks between tokens whether to go on; what it raises ends `generate`."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._check()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def _seeded(seed: int | None, device: str) -> Iterator[None]:
    """PyTorch's random numbers from a seed, and afterwards as if nothing had been drawn."""
    if seed is None:
        yield
        return
    devices = [torch.device(device)] if is_gpu(device) else []
    with _RANDOM, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _quantisation(asked: str, device: str) -> str:
    """What is done of what was asked.

    Raises:
        InvalidInput: its package is not there.
    """
    kind = "none" if asked == "nf4" and not is_gpu(device) else asked
    package = _PACKAGES.get(kind)
    if package is not None and importlib.util.find_spec(package) is None:
        raise InvalidInput(
            f"quantisation {kind} needs the package {package}, which is not installed; none works without."
        )
    return kind


def _config(kind: str, dtype: torch.dtype) -> Any:
    library: Any = transformers
    if kind == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return library.TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=_WHOLE)
    if kind == "bnb-int8":
        return library.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_WHOLE)
    if kind == "nf4":
        return library.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_use_double_quant=True,
            llm_int8_skip_modules=_WHOLE,
        )
    return None


def _load(folder: Path, kind: str, device: str) -> Any:
    dtype = compute_type(device)
    more: dict[str, Any] = {"device_map": {"": device}} if is_gpu(device) else {}
    quantised = _config(kind, dtype)
    if quantised is not None:
        more["quantization_config"] = quantised
    with quiet(), foreign(folder, "Qwen2-VL"):
        made: Any = Qwen2VLForConditionalGeneration.from_pretrained(
            str(folder), local_files_only=True, dtype=dtype, output_loading_info=True, **more
        )
    model, info = made
    check_loaded(folder, info)
    return model.eval().requires_grad_(False)


def scene_of(job: AnalysisJob, base: Scene, answer: answers.Answer, report: StageReport) -> Scene:
    """The answer, and what it lacks from the statistics."""
    values, missing = answer.values, answer.missing(job.wants_box)
    report.facts["read"] = answer.read
    report.facts["not_read"] = {name: answer.problems.get(name, "it was not there") for name in missing}
    rest = [name for name in missing if name != "box"]
    if rest:
        report.warnings.append(
            f"Of the analyst's answer {', '.join(rest)} could not be read: the picture's statistics stand there."
        )
    if "box" in missing:
        why = answer.problems.get("box", "it was not there")
        report.warnings.append(f"The analyst proposes no place: its box could not be used, {why}.")
    if "text" in missing or "prompt" in missing:
        report.warnings += base.report.warnings
    light: Light = replace(base.light, **values.get("light", {}))
    given = {name: values[name] for name in _GIVEN if name in values}
    return replace(
        base,
        **given,
        light=light,
        box=values.get("box") if job.wants_box else None,
        language=job.language if "text" in values else base.language,
        report=report,
    )
