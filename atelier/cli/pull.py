"""``atelier weights pull``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from atelier.errors import InvalidInput
from atelier.serving import checkout, stored
from atelier.serving.catalogue import Weights, find
from atelier.serving.fetching import File, Offer, fetch, look_up, page_of


def pull_command(
    name: Annotated[str, typer.Argument(help="Of the catalogue: see atelier weights list.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="Folder to make. Default: where the models look, weights/NAME of the checkout.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of the repository. Default: its newest.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept a non-commercial licence without being asked.")] = False,
) -> None:
    """Download published weights, whole and checked; a download that was interrupted goes on.

    A token for gated repositories is read from the environment variable HF_TOKEN alone.
    """
    weights = find(name)
    target = to.expanduser() if to is not None else checkout.root() / "weights" / weights.folder
    _show_licence(weights)
    if target.exists():
        _say_what_is_there(weights, target, revision)
        return
    if not weights.commercial and not yes:
        _confirm(weights)
    offer = look_up(weights, revision)
    sys.stderr.write(f"{len(offer.files)} files, {offer.size / 1e9:.2f} GB, commit {offer.commit[:12]}\n")
    with _progress(offer) as on_bytes:
        fetch(offer, target, on_bytes)
    typer.echo(f"{target}: {weights.name}, for {', '.join(weights.models)}")
    if weights.then:
        typer.echo(f"Then: {weights.then.format(folder=target)}")


def _show_licence(weights: Weights) -> None:
    use = "commercial use allowed" if weights.commercial else "NO commercial use"
    gated = "; gated: accept the licence there, and set HF_TOKEN" if weights.gated else ""
    sys.stderr.write(f"{weights.name}: licence {weights.licence}, {use}; {page_of(weights)}{gated}\n")


def _confirm(weights: Weights) -> None:
    """Have a person accept a non-commercial licence."""
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"The licence of {weights.name} ({weights.licence}) allows no commercial use: accept it with --yes."
        )
    if not typer.confirm("Do you accept this licence, and use them for nothing commercial?", err=True):
        raise InvalidInput(f"{weights.name} was not downloaded: its licence was not accepted.")


def _say_what_is_there(weights: Weights, target: Path, revision: str | None) -> None:
    """A folder is never written over; one that is whole is well."""
    if not target.is_dir():
        raise InvalidInput(f"{target} is no folder.")
    wrong, record = stored.lacks(weights, target), stored.read_record(target)
    if wrong:
        raise InvalidInput(f"{target} is there, and not whole ({wrong[0]}): move it away, or name another with --to.")
    commit = str(record.get("commit", ""))
    if revision is not None and not (commit and commit.startswith(revision)):
        raise InvalidInput(
            f"{target} is there, from {commit[:12] or 'elsewhere'}: move it away, or name another: --to."
        )
    typer.echo(f"{target}: there already{f', commit {commit[:12]}' if commit else ''}")


@contextmanager
def _progress(offer: Offer) -> Iterator[Any]:
    """A bar over all bytes where there is a terminal, else a line a file."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=offer.size)
        begun: list[str] = []

        def on_bytes(file: File, count: int) -> None:
            if file.name not in begun:
                begun.append(file.name)
                if not console.is_terminal:
                    sys.stderr.write(
                        f"{len(begun)} of {len(offer.files)}: {file.name}, {file.size / 1e6:.1f} MB"
                        f"{f', {count / 1e6:.1f} of them there' if count else ''}\n"
                    )
            progress.update(task, description=file.name, advance=count)

        yield on_bytes
