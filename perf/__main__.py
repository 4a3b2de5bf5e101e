"""``python -m perf``: run benchmarks, print them, write them.

Exit status: 0, 1 (a benchmark failed; one line on stderr says why), 2 (usage).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from atelier.client import AtelierError
from atelier.errors import InvalidInput
from atelier.serving.launcher import LaunchError
from perf import lama, report, serving
from perf.measure import BenchmarkError

app = typer.Typer(
    name="python -m perf",
    help="Benchmarks: what is compared is measured side by side in one run.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class SizeName(StrEnum):
    """The network."""

    mini = "mini"
    full = "full"


Output = Annotated[Path, typer.Option(help="The folder to write to.", show_default="perf/results")]


@app.command("serving")
def serving_command(
    size: Annotated[
        SizeName, typer.Option(help="The network: mini, the bundled one, or full: random, of big-lama's size.")
    ] = SizeName.mini,
    sides: Annotated[str, typer.Option(help="Pixels of the square pictures, multiples of 8.")] = "256,512",
    batches: Annotated[str, typer.Option(help="Pictures a call, 1 to 8.")] = "1,4",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each.", show_default="cores")] = report.cores(),
    rounds: Annotated[int, typer.Option(min=1, help="Timed calls of each.")] = 30,
    output: Output = report.RESULTS,
) -> None:
    """Served lama against ONNX Runtime and eager PyTorch in one process: OUTPUT/serving-SIZE.{json,md}."""
    settings = serving.Settings(
        size=size.value,
        sides=_numbers("--sides", sides, range(16, 4097, 8), "multiples of 8 from 16 to 4096"),
        batches=_numbers("--batches", batches, range(1, lama.MAX_BATCH + 1), f"1 to {lama.MAX_BATCH}"),
        threads=threads,
        rounds=rounds,
    )
    _serving(settings, output)


@app.command("all")
def all_command(output: Output = report.RESULTS) -> None:
    """Everything that this machine can run, in a few minutes."""
    threads = report.cores()
    _serving(serving.Settings("mini", (256, 512), (1,), threads, rounds=20), output)
    _serving(serving.Settings("full", (256, 512), (1,), threads, rounds=10), output)


def _serving(settings: serving.Settings, output: Path) -> None:
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        document = serving.measure(settings, progress)
    text = serving.markdown(document)
    console.print(Markdown(text))
    for file in report.write(document, text, output, f"serving-{settings.size}"):
        console.print(f"wrote {file}", soft_wrap=True)


def _numbers(option: str, text: str, accepted: Iterable[int], words: str) -> tuple[int, ...]:
    """A list like ``256,512``; ``words`` say what is accepted."""
    allowed = {str(number): number for number in accepted}
    parts = [part.strip() for part in text.split(",")]
    if wrong := [part for part in parts if part not in allowed]:
        raise typer.BadParameter(f"{wrong[0]!r} is not accepted; {words}, with commas between.", param_hint=option)
    return tuple(allowed[part] for part in parts)


def main() -> None:
    """Run the command line; every failure that was foreseen is one line on stderr."""
    try:
        app()
    except (AtelierError, BenchmarkError, InvalidInput, LaunchError) as error:
        print(f"perf: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"perf: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
