"""The repository's lint: what a model repository must satisfy to run unchanged on both servers.

Every rule stands for a failure that was seen: on the embedded server, on the container, or under load.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2

from atelier.errors import InvalidInput
from atelier.serving.options import CONTAINER_PROFILE
from atelier.serving.repository import Model, parse_config

NEWER_FIELDS = {"model_metrics": "24.11", "max_inflight_requests": "25.11"}
"""Fields that the embedded server (24.10) does not know, and the release that brought each. It drops the model."""

ADAPTER_LINES = 40
"""Lines of a ``model.py`` without its docstrings and blank lines: a Python model is an adapter, no home for logic."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def lint(repositories: Sequence[Path]) -> list[Finding]:
    """All findings in these repositories, in the order of the files.

    Raises:
        InvalidInput: a repository is not a folder.
    """
    findings: list[Finding] = []
    folders: dict[str, Path] = {}
    for repository in repositories:
        if not repository.is_dir():
            raise InvalidInput(f"The model repository {repository} is not a folder.")
        for folder in sorted(p for p in repository.iterdir() if p.is_dir() and not p.name.startswith(".")):
            if folder.name in folders:
                findings.append(Finding(folder, 1, f"the model stands in {folders[folder.name].parent} too"))
            folders[folder.name] = folder
    for folder in folders.values():
        findings += _lint_model(folder, frozenset(folders))
    return findings


def _lint_model(folder: Path, names: frozenset[str]) -> Iterator[Finding]:
    default = folder / "config.pbtxt"
    if not default.is_file():
        yield Finding(default, 1, "is missing: Triton would guess the model's configuration")
        return
    for file in (default, *sorted(folder.glob("configs/*.pbtxt"))):
        try:
            config = parse_config(file)
        except InvalidInput as error:
            line = re.match(rf"{re.escape(str(file))}:(\d+):(\d+) : (.*)", str(error), re.DOTALL)
            yield Finding(file, int(line[1]) if line else 1, line[3] if line else str(error))
            continue
        if file == default:
            yield from _newer_fields(file, config)
        for rule in RULES:
            yield from (_finding(file, *found) for found in rule(Model(folder.name, folder, file, config), names))
    for script in sorted(folder.glob("*/model.py")):
        yield from _adapter(script)


def _finding(file: Path, word: str, message: str) -> Finding:
    """A finding at the first line that holds the word."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return Finding(file, next((i for i, line in enumerate(lines, 1) if word in line.split("#")[0]), 1), message)


Found = Iterator[tuple[str, str]]
"""A word of the line that is wrong, and what is wrong with it."""


def _name(model: Model, _: frozenset[str]) -> Found:
    if model.config.name and model.config.name != model.name:
        yield "name:", f"the name '{model.config.name}' is not the folder's: leave it out"


def _instances(model: Model, _: frozenset[str]) -> Found:
    config = model.config
    if config.platform == "ensemble":
        return
    if not config.instance_group:
        yield "backend", "there is no instance_group: backends differ in how many instances that means"
    for group in config.instance_group:
        if group.count == 0:
            yield "instance_group", "count is missing: backends differ in how many instances that means"
        if group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU:
            yield "KIND_GPU", "KIND_GPU does not load without a GPU: leave kind out, and Triton takes one where it is"


def _queue(model: Model, _: frozenset[str]) -> Found:
    batching = model.config.dynamic_batching
    for policy in (batching.default_queue_policy, *batching.priority_queue_policy.values()):
        if policy.allow_timeout_override and not policy.default_timeout_microseconds:
            yield "allow_timeout_override", "without default_timeout_microseconds it does nothing"
    if model.config.HasField("dynamic_batching") and not batching.default_queue_policy.max_queue_size:
        yield "dynamic_batching", "max_queue_size is missing: the queue would grow without limit"


def _warm_up(model: Model, _: frozenset[str]) -> Found:
    for sample in model.config.model_warmup:
        if sample.batch_size == 0:
            yield sample.name or "model_warmup", f"the warm-up '{sample.name}' has batch_size 0, which is skipped"


def _ensemble(model: Model, names: frozenset[str]) -> Found:
    """Steps in parallel can hang or leak requests on servers before 26.02 when one of them fails."""
    if model.profile == CONTAINER_PROFILE:
        return
    produced: list[set[str]] = []
    for step in model.config.ensemble_scheduling.step:
        if produced and not produced[-1] & set(step.input_map.values()):
            yield (
                f'"{step.model_name}"',
                f"the step '{step.model_name}' runs beside the one before it: keep ensembles linear",
            )
        produced.append(set(step.output_map.values()))


def _required(model: Model, names: frozenset[str]) -> Found:
    for name in model.requires:
        if name not in names:
            yield name, f"the model '{name}' that it calls is in none of the repositories"


def _ragged(model: Model, _: frozenset[str]) -> Found:
    """C++ backends concatenate ragged inputs into one dimension."""
    for tensor in model.config.input:
        if tensor.allow_ragged_batch and model.backend != "python":
            yield (
                "allow_ragged_batch",
                f"the backend '{model.backend}' flattens ragged inputs: pad to one size before it",
            )


RULES: tuple[Callable[[Model, frozenset[str]], Found], ...] = (
    _name,
    _instances,
    _queue,
    _warm_up,
    _ensemble,
    _required,
    _ragged,
)


def _newer_fields(file: Path, config: model_config_pb2.ModelConfig) -> Iterator[Finding]:
    for field in _fields(config):
        if field in NEWER_FIELDS:
            message = f"{field} came with {NEWER_FIELDS[field]}; the embedded server refuses it: put it in configs/"
            yield _finding(file, field, message)


def _fields(message: Message) -> Iterator[str]:
    """The names of all fields that are set, at any depth."""
    for descriptor, value in message.ListFields():
        yield descriptor.name
        entry = descriptor.message_type
        if entry is None or entry.GetOptions().map_entry:
            continue
        for child in [value] if isinstance(value, Message) else value:
            yield from _fields(child)


def _adapter(script: Path) -> Iterator[Finding]:
    try:
        tree = ast.parse(script.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        yield Finding(script, getattr(error, "lineno", None) or 1, f"is not Python: {error}")
        return
    lines: set[int] = set()
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not is_docstring:
            whole = isinstance(node, ast.Import | ast.ImportFrom) or not hasattr(node, "body")
            last = node.end_lineno or node.lineno
            lines |= set(range(node.lineno, last + 1)) if whole else {node.lineno}
    if len(lines) > ADAPTER_LINES:
        message = f"has {len(lines)} lines of code, {ADAPTER_LINES} at most: logic belongs into the library"
        yield Finding(script, 1, message)
