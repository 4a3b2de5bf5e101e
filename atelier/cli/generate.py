"""``atelier generate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from atelier.cli.places import require_writable, write_facts
from atelier.client import Client, GenerateProgress, GenerateResult, InvalidRequest
from atelier.client.generation import SUFFIXES

LONGEST = 86400.0


def command(
    prompt: Annotated[str, typer.Argument(help="What is to be seen, in any language.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write: .mp4 (H.264), .webm (VP9) or .zip (PNG pictures).")
    ],
    url: Annotated[
        str, typer.Option(help="Server: host:port speaks gRPC, http://host:port speaks HTTP.", envvar="ATELIER_URL")
    ] = "localhost:8001",
    image: Annotated[Path | None, typer.Option(help="A picture that the video begins with.")] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=SCALE of an adapter; may be given several times.")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What is not wanted. Default here and below: the server's setting.")
    ] = None,
    frame_num: Annotated[int | None, typer.Option(help="Frames: 4n + 1.")] = None,
    size: Annotated[str | None, typer.Option(help="1280*704 or 704*1280; with a picture its area.")] = None,
    sample_steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of the prompt.")] = None,
    shift: Annotated[float | None, typer.Option(help="Of the noise levels towards noise.")] = None,
    solver: Annotated[str | None, typer.Option(help="unipc or dpm++.")] = None,
    grid: Annotated[str | None, typer.Option(help="Noise levels: official or diffusers.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise; drawn and told without it.")] = None,
    fps: Annotated[int | None, typer.Option(help="Frames a second of the file.")] = None,
    crf: Annotated[int | None, typer.Option(help="Quality of .mp4 and .webm, 0 to 51; less is better.")] = None,
    metadata: Annotated[Path | None, typer.Option(help="Write everything about the video (JSON) to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until the call is given up.")] = LONGEST,
) -> None:
    """Make a video of PROMPT. Ctrl-C stops the work on the server too."""
    kind = _format_of(output)
    require_writable(output, metadata)
    settings: dict[str, Any] = {
        "negative_prompt": negative_prompt,
        "frame_num": frame_num,
        "size": size,
        "sample_steps": sample_steps,
        "guidance_scale": guidance_scale,
        "shift": shift,
        "solver": solver,
        "grid": grid,
        "seed": seed,
        "fps": fps,
        "crf": crf,
        "format": kind,
    }
    with _bar() as show, Client(url, timeout=timeout) as client:
        result = client.generate(
            prompt, image=image, loras=_adapters(lora or []), on_progress=show, **settings
        ).result()
    result.save(output)
    write_facts(metadata, result.metadata)
    _say(output, result)


def _format_of(output: Path) -> str:
    for name, suffix in SUFFIXES.items():
        if output.suffix.lower() == suffix:
            return name
    raise InvalidRequest(f"{output.name} ends in none of {', '.join(SUFFIXES.values())}.")


def _adapters(given: list[str]) -> dict[str, float]:
    """Scales by names, from ``NAME`` and ``NAME=SCALE``."""
    scales: dict[str, float] = {}
    for text in given:
        name, sign, number = text.rpartition("=")
        try:
            name, scale = (name, float(number)) if sign else (text, 1.0)
        except ValueError:
            raise InvalidRequest(f"--lora {text} has no number behind its =.") from None
        if name in scales:
            raise InvalidRequest(f"--lora names {name} twice.")
        scales[name] = scale
    return scales


def _say(output: Path, result: GenerateResult) -> None:
    facts = result.metadata
    for adapter in facts["adapters"]:
        sys.stderr.write(
            f"Adapter {adapter['name']}: {adapter['modules_applied']} of {adapter['modules_expected']} layers at scale "
            f"{adapter['scale']:g}, change {adapter['delta_norm']:.4g}, effect {adapter['effect']:.4g}.\n"
        )
    for warning in facts["warnings"]:
        sys.stderr.write(f"{warning}\n")
    seconds = sum(facts["seconds"].values())
    typer.echo(
        f"{output}: {facts['frames']} frames of {facts['width']}x{facts['height']}, seed {facts['seed']}, "
        f"{seconds:.1f} s on the server"
    )


@contextmanager
def _bar() -> Iterator[Any]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("asking", total=None)
        stage = ""

        def show(now: GenerateProgress) -> None:
            nonlocal stage
            words = now.stage.replace("_", " ")
            if now.stage == "queued" and now.position:
                words = f"queued behind {now.position}"
            if now.stage != stage:  # the time that is left is the stage's
                stage = now.stage
                progress.reset(task)
            progress.update(task, description=words, completed=now.step, total=now.of or None)

        yield show
