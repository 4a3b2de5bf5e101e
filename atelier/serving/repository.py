"""Model repositories as files: configurations, profiles, and what a model still lacks before it can load."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from atelier.errors import InvalidInput
from atelier.serving import canary, checkout

ARTEFACTS = {
    "onnxruntime": "model.onnx",
    "openvino": "model.xml",
    "pytorch": "model.pt",
    "tensorrt": "model.plan",
    "python": "model.py",
}
"""The file that each backend loads where the configuration names none."""

RUNTIMES = {
    "onnxruntime": ("onnxruntime", "serve"),
    "openvino": ("openvino", "serve"),
    "pytorch": ("torch", "export"),
}
"""Python-based backends: the package that each needs, and the extra of Atelier that brings it."""

EXTRAS = {"generation": "diffusers"}
"""Extras of Atelier that Python models name: a package by which each is known to be installed."""

PROFILE_VARIABLE = "ATELIER_PROFILE"
"""Environment variable by which the launcher tells the models the profile that the server was started with."""

REQUIRES = "requires"
"""Parameter of a configuration: names of the models that it calls (BLS), separated by commas."""

EXTRA = "extra"
"""Parameter of a configuration: the extra of Atelier that a Python model needs."""

CHECKPOINT = "checkpoint"
"""Parameter of a configuration, and setting of its model: the folder of its weights, relative to the checkout."""

BRING = "bring"
"""Parameter of a configuration: the command that brings a missing artefact."""


LAUNCHER_S = (REQUIRES, BRING, EXTRA, canary.CONFIG)
"""Parameters that the launcher reads, and models pass over."""


@dataclass(frozen=True)
class Model:
    """One folder of a repository, seen through one profile."""

    name: str
    folder: Path
    config_file: Path
    config: model_config_pb2.ModelConfig

    @property
    def profile(self) -> str:
        """``default``, or the name of the file in ``configs/`` that applies."""
        return "default" if self.config_file.parent == self.folder else self.config_file.stem

    @property
    def backend(self) -> str:
        """The backend's name; ``ensemble`` for a pipeline that is configuration alone."""
        return str(self.config.backend or self.config.platform)

    @property
    def requires(self) -> tuple[str, ...]:
        """Models that this one calls: an ensemble's steps, and the parameter ``requires``."""
        steps = [step.model_name for step in self.config.ensemble_scheduling.step]
        named = self.parameter(REQUIRES).split(",")
        return tuple(dict.fromkeys(name.strip() for name in (*steps, *named) if name.strip()))

    @property
    def version(self) -> int | None:
        """The newest version folder, which is the one that Triton serves by default."""
        return latest_version(self.folder)

    @property
    def artefact(self) -> Path | None:
        """The file that the backend will load; ``None`` for an ensemble."""
        if self.config.platform == "ensemble":
            return None
        file = self.config.default_model_filename or ARTEFACTS.get(self.backend, "model")
        return self.folder / str(self.version or 1) / file

    def parameter(self, key: str) -> str:
        """A parameter's text, empty where the configuration does not have it."""
        return self.config.parameters[key].string_value if key in self.config.parameters else ""


def latest_version(folder: Path) -> int | None:
    """The largest version among a model's folders (positive integers without a leading 0); ``None`` without one."""
    versions = [int(p.name) for p in folder.glob("[1-9]*") if p.is_dir() and p.name.isdecimal()]
    return max(versions, default=None)


def parse_config(file: Path) -> model_config_pb2.ModelConfig:
    """Read a ``config.pbtxt``.

    Raises:
        InvalidInput: the file cannot be read, or is no model configuration; the message has line and column.
    """
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise InvalidInput(f"{file}:{error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: cannot be read: {error}") from None


def read_model(folder: Path, profile: str | None = None) -> Model:
    """One model's folder, through its ``configs/<profile>.pbtxt`` where it has that file, else ``config.pbtxt``.

    Raises:
        InvalidInput: the configuration does not parse.
    """
    chosen = folder / "configs" / f"{profile}.pbtxt"
    file = chosen if profile and chosen.is_file() else folder / "config.pbtxt"
    return Model(folder.name, folder, file, parse_config(file))


def discover(repositories: Sequence[Path], profile: str | None = None) -> list[Model]:
    """All models of the repositories, by name.

    Args:
        repositories: folders that hold one folder a model.
        profile: where a model has ``configs/<profile>.pbtxt``, that file is its configuration, as with Triton's
            ``--model-config-name``; the others keep ``config.pbtxt``.

    Raises:
        InvalidInput: a repository is not there, a name stands twice, a configuration does not parse, or no model has
            the profile.
    """
    models: dict[str, Model] = {}
    for repository in repositories:
        if not repository.is_dir():
            raise InvalidInput(f"The model repository {repository} is not a folder.")
        for default in sorted(repository.glob("*/config.pbtxt")):
            folder = default.parent
            if folder.name in models:
                raise InvalidInput(f"The model '{folder.name}' stands in two repositories.")
            models[folder.name] = read_model(folder, profile)
    if profile and all(model.profile == "default" for model in models.values()):
        have = ", ".join(profiles(repositories)) or "none"
        raise InvalidInput(f"No model has the profile '{profile}'; there are: {have}.")
    return [models[name] for name in sorted(models)]


def profiles(repositories: Sequence[Path]) -> list[str]:
    """The names of all profiles that some model has."""
    return sorted({file.stem for repository in repositories for file in repository.glob("*/configs/*.pbtxt")})


def missing(
    models: Iterable[Model], backends: Path | None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What each model lacks before it can load: model name to one sentence; models that lack nothing are left out.

    Args:
        models: what ``discover`` found.
        backends: the folder of Python-based backends when the embedded server will run them; ``None`` for a server
            that brings its own backends, of which nothing is checked.
        environment: the server's variables, which may name other folders of weights.
    """
    by_name = {model.name: model for model in models}
    lacks = {name: problem for name, model in by_name.items() if (problem := _own_lack(model, backends, environment))}
    unsettled = True
    while unsettled:  # what a model requires may itself require something that is missing
        unsettled = False
        for name, model in by_name.items():
            absent = [r for r in model.requires if r in lacks or r not in by_name]
            if absent and name not in lacks:
                lacks[name] = f"It calls {', '.join(absent)}, which cannot be loaded."
                unsettled = True
    return lacks


def _own_lack(model: Model, backends: Path | None, environment: Mapping[str, str]) -> str | None:
    if model.artefact is not None and not model.artefact.exists():
        place = "/".join(model.artefact.parts[-3:])
        bring = model.parameter(BRING)
        return f"{place} is missing; bring it with: {bring}" if bring else f"{place} is missing."
    if problem := _lacks_weights(model, environment):
        return problem
    if backends is None or model.backend in ("python", "ensemble"):
        return None
    if not (backends / model.backend / "model.py").is_file():
        return f"The embedded server has no backend '{model.backend}': serve it on NVIDIA's container."
    package, extra = RUNTIMES.get(model.backend, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        return f"The backend '{model.backend}' needs the package {package}: pip install 'atelier[{extra}]'."
    return None


def _lacks_weights(model: Model, environment: Mapping[str, str]) -> str | None:
    """What a Python model with weights of its own lacks: their folder, or the packages that read them."""
    extra, folder = model.parameter(EXTRA), model.parameter(CHECKPOINT)
    if extra in EXTRAS and importlib.util.find_spec(EXTRAS[extra]) is None:
        return f"The model needs the package {EXTRAS[extra]}: pip install 'atelier[{extra}]'."
    folder = environment.get(f"ATELIER_{model.name.upper()}_CHECKPOINT") or folder
    if not folder or (checkout.root() / Path(folder).expanduser()).is_dir():
        return None
    bring = model.parameter(BRING)
    return f"{folder} is missing, the folder of its weights{f'; {bring}' if bring else ''}."
