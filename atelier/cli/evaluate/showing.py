"""What the commands share: progress, the verdicts in the terminal, and the exit status."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from atelier.errors import InvalidInput

COLOURS = {"better": "green", "worse": "red", "higher": "cyan", "lower": "cyan"}


def now() -> str:
    """The time, for results."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def asked() -> str:
    """The command that is running, as it could be given again."""
    return shlex.join(["atelier", *sys.argv[1:]])


def new_folder(folder: Path) -> None:
    """A folder for results: made, empty, or one that holds some already.

    Raises:
        InvalidInput: it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "measured").is_dir():
        raise InvalidInput(f"{folder} is not empty, and holds no evaluation; name a new folder.")
    (folder / "measured").mkdir(parents=True, exist_ok=True)


@contextmanager
def bar(words: str, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar: call what it gives with a word for each step that is done."""
    with progress() as shown:
        task = shown.add_task(words, total=total)
        yield lambda word: shown.update(task, advance=1, description=f"{words}: {word}")


def progress() -> Progress:
    """On stderr, where that is a terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def say(results: Mapping[str, Any], page: Path) -> None:
    """The verdicts, what was not computed, and where the page is.

    Raises:
        typer.Exit: with status 1: a variant was not applied, or equals the base.
    """
    console = Console()
    for line in results["missing"]:
        sys.stderr.write(f"{line}\n")
    failed = False
    for entry in results["applied"]:
        failed |= not entry["applied"]
        colour = "green" if entry["applied"] else "bold red"
        word = "applied" if entry["applied"] else "NOT APPLIED"
        console.print(f"[{colour}]{word}[/] {escape(entry['sentence'])}", soft_wrap=True, highlight=False)
    if results["comparisons"]:
        console.print(_table(results))
    for entry in results["sets"]:
        console.print(f"{entry['label']}, {escape(entry['variant'])}: {escape(entry['sentence'])}", soft_wrap=True)
    typer.echo(str(page))
    if failed:
        raise typer.Exit(1)


def _table(results: Mapping[str, Any]) -> Table:
    known = {metric["name"]: metric for metric in results["metrics"]}
    longest = max(len(entry["metric"]) for entry in results["comparisons"])
    # Names that are cut off are none: "sharpness_…" could be two metrics.
    columns = Column("variant", overflow="fold"), Column("metric", min_width=longest)
    said = "Median differences from the base with their 95 % intervals; p after Holm's correction."
    table = Table(*columns, "n", "difference", "p", "verdict", caption=said)
    for entry in results["comparisons"]:
        digits = known[entry["metric"]]["digits"]
        middle = "–" if entry["median"] is None else f"{entry['median']:+.{digits}f}"
        if entry["low"] is not None:
            middle += f" ({entry['low']:+.{digits}f} to {entry['high']:+.{digits}f})"
        p = entry["p"] if entry["p_adjusted"] is None else entry["p_adjusted"]
        verdict = entry["verdict"]
        table.add_row(
            escape(entry["variant"]),
            entry["metric"],  # its name in the tables; the page has its label
            str(entry["n"]),
            middle,
            "–" if p is None else f"{p:.2g}",
            f"[{COLOURS[verdict]}]{verdict}[/]" if verdict in COLOURS else verdict,
        )
    return table
