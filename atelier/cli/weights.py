"""``atelier weights``: which weights and adapters are there, and whether they fit."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from atelier.errors import InvalidInput
from atelier.serving import checkout, repository
from atelier.serving.catalogue import CATALOGUE, Weights
from atelier.serving.stored import lacks

ADAPTED = "generate"
"""The model whose weights adapters are for."""
SHOWN = 5
"""Faults of a folder that are named."""

Loras = Annotated[Path | None, typer.Option(help="Folder of adapters. Default: the server's, weights/loras.")]


def list_command(loras: Loras = None) -> None:
    """List weights and adapters, and what can be had with atelier weights pull."""
    # Names are folded: one that is cut off is none.
    table = Table("what", "for", Column("where", overflow="fold"), "MiB", "licence", Column("pull", overflow="fold"))
    known = {_home(weights): weights for weights in CATALOGUE}
    for model in repository.discover(checkout.default_repositories()):
        place = _checkpoint(model)
        if place is not None:
            there = f"{_bytes(place) / 2**20:.1f}" if place.is_dir() else "missing"
            table.add_row("weights", model.name, _shown(place), there, *_terms(known.pop(place, None)))
        elif model.artefact is not None and model.backend != "python":
            there = f"{model.artefact.stat().st_size / 2**20:.1f}" if model.artefact.exists() else "missing"
            table.add_row("artefact", model.name, _shown(model.artefact), there)
    for place, weights in known.items():
        there = f"{_bytes(place) / 2**20:.1f}" if place.is_dir() else "missing"
        table.add_row("weights", ", ".join(weights.models), _shown(place), there, *_terms(weights))
    for file in _adapters(loras):
        table.add_row("adapter", ADAPTED, _shown(file), f"{file.stat().st_size / 2**20:.1f}")
    Console().print(table)


def check_command(loras: Loras = None) -> None:
    """See whether the weights that are there are whole, and every adapter fits; exit status 1 where not.

    Of weights, names and sizes are looked at. Adapters are read, which needs PyTorch, and the weights of generate.
    """
    there, wrong = _check_folders()
    models = {model.name: model for model in repository.discover(checkout.default_repositories())}
    place = _checkpoint(models[ADAPTED])
    if place is None or not place.is_dir():
        if not there or _adapters(loras):
            raise InvalidInput(f"The weights of {ADAPTED} are missing: {place}.")
    else:
        wrong += _check_adapters(place, _adapters(loras))
    if wrong:
        raise typer.Exit(1)


def _check_folders() -> tuple[int, int]:
    """How many of the catalogue's folders are there, and how many of them are not whole; each is shown."""
    table, wrong = Table("weights", "where", "state"), 0
    for weights in CATALOGUE:
        folder = _home(weights)
        if folder.is_dir():
            found = lacks(weights, folder)
            wrong += bool(found)
            table.add_row(weights.name, _shown(folder), escape("; ".join(found[:SHOWN])) or "whole")
    if table.row_count:
        Console().print(table)
    return table.row_count, wrong


def _check_adapters(place: Path, files: list[Path]) -> int:
    """How many adapters do not fit the weights; each is shown."""
    try:
        from atelier.generation.checkpoint import describe_transformer
        from atelier.generation.lora import LoraError, examine
    except ModuleNotFoundError as error:
        raise InvalidInput(f"This needs the package {error.name}: pip install 'atelier[generation]'.") from None
    network = describe_transformer(place)
    table, wrong = Table(Column("adapter", overflow="fold"), "layers", "rank", "alpha", "change", "SHA-256"), 0
    for file in files:
        try:
            found = examine(network, file)
        except LoraError as error:
            sys.stderr.write(f"{error}\n")
            wrong += 1
            continue
        alpha = "-" if found.alpha is None else f"{found.alpha:g}"
        layers = f"{found.modules_applied} of {found.modules_expected}"
        table.add_row(found.name, layers, str(found.rank), alpha, f"{found.delta_norm:.4g}", found.sha256[:16])
    Console().print(table)
    return wrong


def _home(weights: Weights) -> Path:
    """Where the models look for them."""
    return checkout.root() / "weights" / weights.folder


def _terms(weights: Weights | None) -> tuple[str, str]:
    """Licence and name of what can be pulled; nothing of other weights."""
    if weights is None:
        return "", ""
    return escape(weights.licence) + ("" if weights.commercial else ", NO commercial use"), weights.name


def _checkpoint(model: repository.Model) -> Path | None:
    """The folder of a model's weights; None where it has none of its own."""
    folder = model.parameter(repository.CHECKPOINT)
    if not folder:
        return None
    named = os.environ.get(f"ATELIER_{model.name.upper()}_CHECKPOINT") or folder
    return checkout.root() / Path(named).expanduser()


def _adapters(folder: Path | None) -> list[Path]:
    named = folder or Path(os.environ.get("ATELIER_GENERATE_LORAS") or "weights/loras").expanduser()
    place = named if folder else checkout.root() / named
    if folder and not place.is_dir():
        raise InvalidInput(f"{folder} is no folder.")
    return sorted(place.glob("*.safetensors")) if place.is_dir() else []


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _shown(path: Path) -> str:
    root = checkout.root()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
