"""The files of a deployment as data, and what the programs that they start accept."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer
import yaml

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
BRIDGE = "bridge"
UNLOADING = 30
"""Seconds that `atelier serve` gives its server to unload, beyond --exit-timeout."""


@functools.cache
def serve_options() -> dict[str, str | None]:
    """The options of ``atelier serve`` with the environment variable of each."""
    command = typer.main.get_command(app).commands["serve"]
    options = [option for option in command.params if option.param_type_name == "option"]
    return {name: option.envvar for option in options for name in option.opts}


@functools.cache
def known_variables() -> frozenset[str]:
    """The environment variables that Atelier's programs read."""
    stages = (
        compositing.AnalyzerSettings,
        compositing.ExtractorSettings,
        compositing.PlacementSettings,
        compositing.SynthesizerSettings,
    )
    names = {variable for variable in serve_options().values() if variable} | {"ATELIER_ADMIN_KEY", "ATELIER_TOOLS"}
    for settings in (BridgeSettings, JobSettings, InpaintSettings, GenerationSettings, *stages):
        names |= {f"{settings.model_config['env_prefix']}{field}".upper() for field in settings.model_fields}
    return frozenset(names | {f"ATELIER_GENERATE_{field}".upper() for field in LoadOptions.model_fields})


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
    """What ``kubectl kustomize`` makes of an overlay; of ``bridge``: `cpu-small` with that component."""
    folder = DEPLOY / "k8s" / "overlays" / overlay
    with tempfile.TemporaryDirectory() as scratch:
        if overlay == BRIDGE:
            folder = Path(scratch).resolve()
            both = {"resources": "overlays/cpu-small", "components": "components/bridge"}
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
