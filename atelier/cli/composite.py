"""``atelier composite``."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from atelier.cli.places import require_writable, write_facts
from atelier.client import Client, CompositeProgress, CompositeResult, InvalidRequest
from atelier.client.compositing import png_path

LONGEST = 86400.0
PREVIEW_EVERY = 4
"""Steps between previews where a folder for them is named and nothing else is said."""


def command(
    background: Annotated[Path, typer.Argument(help="Picture that the object comes into.", show_default=False)],
    reference: Annotated[
        Path,
        typer.Argument(help="Picture of the object; its alpha, if any, is what the object is.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the result: .png.")],
    url: Annotated[
        str, typer.Option(help="Server: host:port speaks gRPC, http://host:port speaks HTTP.", envvar="ATELIER_URL")
    ] = "localhost:8001",
    prompt: Annotated[
        str | None, typer.Option(help="What the picture shall show. Default here and below: the server's setting.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(metavar="L,T,R,B", help="Where the object is fitted in, pixels of BACKGROUND.")
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Where it stands: the middle of its lower edge, pixels.")
    ] = None,
    scale: Annotated[float | None, typer.Option(help="Its height as a share of BACKGROUND's, at most 1.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Picture of BACKGROUND's size; not black is where the object shall be.")
    ] = None,
    reference_box: Annotated[
        str | None, typer.Option(metavar="L,T,R,B", help="Around the object in REFERENCE, pixels.")
    ] = None,
    reference_point: Annotated[
        str | None, typer.Option(metavar="X,Y", help="On the object in REFERENCE, pixels.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of what is drawn at random; drawn and told without it.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of the prompt.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="1: all of the fill mask is new; less keeps more of the paste.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the analysis: en, ko, …")] = None,
    mode: Annotated[str | None, typer.Option(help="auto, neural or classical.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Make so many pictures with seeds that follow each other; the best is written.")
    ] = None,
    preview_dir: Annotated[
        Path | None, typer.Option(help="Write previews (JPEG) into this folder as the picture is made.")
    ] = None,
    preview_every: Annotated[
        int | None, typer.Option(help=f"Denoising steps between previews. Default with a folder: {PREVIEW_EVERY}.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream/--no-stream", help="Follow the work (gRPC), or wait for one answer.")
    ] = True,
    report: Annotated[Path | None, typer.Option(help="Write the server's report (JSON) to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until the call is given up.")] = LONGEST,
) -> None:
    """Set the object of REFERENCE into BACKGROUND. Ctrl-C stops the work on the server too."""
    settings: dict[str, Any] = {
        "prompt": prompt,
        "box": _numbers("--box", box, 4),
        "point": _numbers("--point", point, 2),
        "scale": scale,
        "mask": mask,
        "reference_box": _numbers("--reference-box", reference_box, 4),
        "reference_point": _numbers("--reference-point", reference_point, 2),
        "seed": seed,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "strength": strength,
        "language": language,
        "mode": mode,
    }
    png_path(output)  # seen before there is anything to write
    require_writable(output, report)
    streamed = stream and not url.startswith(("http://", "https://"))
    if not streamed and (seeds is not None or preview_dir is not None or preview_every is not None):
        raise InvalidRequest(
            "--seeds, --preview-dir and --preview-every need an answer in parts: a gRPC address, and no --no-stream."
        )
    if streamed:
        every = PREVIEW_EVERY if preview_every is None and preview_dir is not None else preview_every
        parts = {"seeds": seeds, "preview_every": every}
        result = _follow(url, timeout, background, reference, preview_dir, {**settings, **parts})
    else:
        with Client(url, timeout=timeout) as client, Console(stderr=True).status(f"Compositing {background.name} …"):
            result = client.composite(background, reference, **settings)
    result.save(output)
    write_facts(report, result.report)
    _say(output, report, result)


def _follow(
    url: str, timeout: float, background: Path, reference: Path, previews: Path | None, settings: dict[str, Any]
) -> CompositeResult:
    """Ask for the picture, show how far it is, and write the previews."""
    if previews is not None:
        try:
            previews.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"{previews} cannot be made ({error.strerror}).") from None
    with _bar() as show, Client(url, timeout=timeout) as client:

        def on_progress(now: CompositeProgress) -> None:
            show(now)
            if previews is not None and now.preview is not None:
                _write(previews / f"{now.candidate:02d}_{now.step:04d}.jpg", now.preview)

        return client.composite_stream(background, reference, on_progress=on_progress, **settings).result()


def _numbers(option: str, text: str | None, count: int) -> list[float] | None:
    """Numbers with commas between.

    Raises:
        typer.BadParameter: they are not.
    """
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise typer.BadParameter(f"{text!r} is not {count} numbers with commas between.", param_hint=option)
    return numbers


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written ({error.strerror}).") from None


def _say(output: Path, report: Path | None, result: CompositeResult) -> None:
    facts = result.report
    for warning in facts["warnings"]:
        sys.stderr.write(f"{warning}\n")
    if result.analysis:
        typer.echo(result.analysis)
    box = ", ".join(f"{side:g}" for side in facts["placement"]["box"])
    drawn = "" if facts["seed"] is None else f", seed {facts['seed']}"
    typer.echo(f"{output}: the object in {box} (from {facts['placement']['source']}){drawn}")
    if report is not None:
        typer.echo(f"{report}: the report")


@contextmanager
def _bar() -> Iterator[Any]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("asking", total=None)
        before = ("", 0)

        def show(now: CompositeProgress) -> None:
            nonlocal before
            words = f"queued behind {now.position}" if now.stage == "queued" and now.position else now.stage
            if now.candidates > 1 and now.stage != "queued":
                words += f", picture {now.candidate} of {now.candidates}"
            if (now.stage, now.candidate) != before:  # the time that is left is the stage's
                before = (now.stage, now.candidate)
                progress.reset(task)
            progress.update(task, description=words, completed=now.step, total=now.of or None)

        yield show
