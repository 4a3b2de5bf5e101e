"""What the benchmarks' commands share: running one with a bar of progress, and lists of numbers as options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from perf import report


def run(
    name: str, output: Path, measure: Callable[[Progress], dict[str, Any]], markdown: Callable[[dict[str, Any]], str]
) -> dict[str, Any]:
    """Measure with a bar of progress, print, write."""
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        document = measure(progress)
    text = markdown(document)
    console.print(Markdown(text))
    for file in report.write(document, text, output, name):
        console.print(f"wrote {file}", soft_wrap=True)
    return document


class Later:
    """A module that is imported when something of it is first asked for.

    Not the library's ``LazyLoader``: its modules stand in ``sys.modules`` meanwhile, and are run when others look
    there, PyTorch among them, in the midst of an import.

    Args:
        name: of the module, in full.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


def numbers(option: str, text: str, accepted: Iterable[int], words: str) -> tuple[int, ...]:
    """A list like ``256,512``; ``words`` say what is accepted."""
    allowed = {str(number): number for number in accepted}
    parts = [part.strip() for part in text.split(",")]
    if wrong := [part for part in parts if part not in allowed]:
        raise typer.BadParameter(f"{wrong[0]!r} is not accepted; {words}, with commas between.", param_hint=option)
    return tuple(allowed[part] for part in parts)


def names_of(option: str, text: str, there: Iterable[str]) -> tuple[str, ...]:
    """A list of names like ``base,nf4``."""
    names = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in names if name not in there]:
        raise typer.BadParameter(f"there is no {unknown[0]!r}; there are: {', '.join(there)}", param_hint=option)
    return names


def shares_of(option: str, text: str) -> tuple[float, ...]:
    """A list of percents like ``30,60``, as shares."""
    return tuple(part / 100 for part in numbers(option, text, range(1, 151), "1 to 150 percent"))
