"""The files of a deployment as data, and what the programs that they start accept."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import typer
import yaml
from pydantic import ValidationError

from atelier.cli.app import app
from atelier.compositing import settings as compositing
from atelier.generation.loading import LoadOptions
from atelier.generation.settings import GenerationSettings
from atelier.inpainting.settings import InpaintSettings
from atelier.serving import repository
from clients.job_worker.settings import Settings as JobSettings
from clients.redis_bridge.settings import Settings as BridgeSettings
from tests.conftest import ROOT
from tests.deploy import kubectl

DEPLOY = ROOT / "deploy"
OVERLAYS = sorted(folder.name for folder in (DEPLOY / "k8s" / "overlays").iterdir())
BRIDGE, JOBS, NO_SPARE_GPU = "bridge", "jobs", "no-spare-gpu"
COMPONENTS = {BRIDGE: "cpu-small", JOBS: "gpu-l4", NO_SPARE_GPU: "gpu-l4"}
"""Of the manifests, each with the overlay that it is built with here."""
SECRETS = {
    "ATELIER_ADMIN_KEY": "a-key",
    "ATELIER_BRIDGE_REDIS_URL": "redis://:a-password@redis:6379/0",
    "ATELIER_JOBS_BASE_URL": "https://control.example",
    "ATELIER_JOBS_TOKEN": "a-token",
}
"""What their readers bring, as it may be."""
UNLOADING = 30
"""Seconds that `atelier serve` gives its server to unload, beyond --exit-timeout."""


@functools.cache
def serve_options() -> dict[str, str | None]:
    """The options of ``atelier serve`` with the environment variable of each."""
    command = typer.main.get_command(app).commands["serve"]
    options = [option for option in command.params if option.param_type_name == "option"]
    return {name: option.envvar for option in options for name in option.opts}


SETTINGS = (
    *(BridgeSettings, JobSettings, InpaintSettings, GenerationSettings, LoadOptions),
    *(compositing.AnalyzerSettings, compositing.ExtractorSettings),
    *(compositing.PlacementSettings, compositing.SynthesizerSettings),
)
"""Classes that read the environment. Those of `generate` are two here: the one that joins them needs Triton."""


def _names(settings: Any) -> set[str]:
    return {f"{settings.model_config['env_prefix']}{field}".upper() for field in settings.model_fields}


@functools.cache
def known_variables() -> frozenset[str]:
    """The environment variables that Atelier's programs read."""
    names = {variable for variable in serve_options().values() if variable} | {"ATELIER_ADMIN_KEY", "ATELIER_TOOLS"}
    return frozenset(names.union(*map(_names, SETTINGS)))


def refused(variables: Mapping[str, str | None]) -> list[str]:
    """What Atelier's programs say against an environment's names or values; those without a value are `SECRETS`."""
    own = {name: value for name, value in variables.items() if name.startswith("ATELIER_")}
    given = {name: SECRETS[name] if value is None else value for name, value in own.items()}
    words = [f"{name} is read by nothing" for name in given if name not in known_variables()]
    command = typer.main.get_command(app).commands["serve"]
    with mock.patch.dict(os.environ, given, clear=True):
        try:
            command.make_context("serve", [])
        except typer.BadParameter as error:
            words.append(str(error))
        for settings in SETTINGS:
            try:
                if given.keys() & _names(settings):
                    settings()
            except ValidationError as error:
                words.append(str(error))
    return words


def packages(extra: str) -> set[str]:
    """Names of the packages that an extra brings, with those of the extras that it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    for line in project["optional-dependencies"][extra]:
        if inner := re.fullmatch(r"atelier\[(\w+)\]", line):
            found |= packages(inner[1])
        else:
            found.add(re.split(r"[\[=]", line)[0])
    return found


@functools.cache
def outcomes() -> frozenset[str]:
    """What `atelier_requests_total` has as `outcome`: the codes of ``Model.translate``, as it is written, and ok."""
    tree = ast.parse((ROOT / "atelier" / "serving" / "model.py").read_text(encoding="utf-8"))
    (translate,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "translate")
    returned = [node.value for node in ast.walk(translate) if isinstance(node, ast.Return)]
    return frozenset({"ok"} | {pair.elts[0].value.lower() for pair in returned})


def models() -> dict[str, repository.Model]:
    """The models of the repositories, by name."""
    return {model.name: model for model in repository.discover((ROOT / "model_repository", ROOT / "ensembles"))}


def longest_wait(names: str) -> float:
    """Seconds that a request of these models, or of one that they call, may wait in Triton's queues."""
    there, wanted = models(), names.split(",")
    for name in wanted:  # which grows
        wanted += [other for other in there[name].requires if other not in wanted]
    policies = [there[name].config.dynamic_batching.default_queue_policy for name in wanted]
    return max(policy.default_timeout_microseconds for policy in policies) / 1e6


def compose() -> dict[str, Any]:
    """``docker-compose.yml``."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def interpolated(text: str, **variables: str) -> str:
    """A value of the compose file as Compose reads it: ``${NAME:-default}`` and ``$$``."""

    def value(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else variables.get(found[1]) or found[2]

    return re.sub(r"\$\$|\$\{(\w+):-([^}]*)\}", value, text)


def seconds(span: str) -> float:
    """Compose's spans of time: ``1h30m``, ``10s``."""
    units = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+)([hms])", span)
    assert "".join(number + unit for number, unit in parts) == span
    return sum(int(number) * units[unit] for number, unit in parts)


@functools.cache
def manifests(overlay: str) -> str:
    """What ``kubectl kustomize`` makes of an overlay, or of a component with an overlay."""
    folder = DEPLOY / "k8s" / "overlays" / overlay
    with tempfile.TemporaryDirectory() as scratch:
        if overlay in COMPONENTS:
            folder = Path(scratch).resolve()
            both = {"resources": f"overlays/{COMPONENTS[overlay]}", "components": f"components/{overlay}"}
            lines = [f"{key}: [{os.path.relpath(DEPLOY / 'k8s' / place, folder)}]\n" for key, place in both.items()]
            (folder / "kustomization.yaml").write_text("".join(lines), encoding="utf-8")
        command = [kubectl.install(), "kustomize", folder]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@functools.cache
def _parsed(overlay: str) -> list[Any]:
    return list(yaml.load_all(manifests(overlay), yaml.CSafeLoader))


def objects(overlay: str, kind: str) -> dict[str, Any]:
    """The objects of one kind, by name."""
    return {each["metadata"]["name"]: each for each in _parsed(overlay) if each["kind"] == kind}


def program(name: str) -> str:
    """A program of this environment."""
    return str(Path(sys.executable).parent / name)
