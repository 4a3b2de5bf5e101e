"""The commands' options. What they do is imported when they are called: no other command needs its libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from atelier.errors import InvalidInput

LONGEST = 86400.0
WEIGHTS = Path("weights/evaluation")

Output = Annotated[Path, typer.Option("--output", "-o", help="The folder for results and page.")]
Weights = Annotated[Path, typer.Option(help="Folder of the metrics' weights.")]
Reference = Annotated[Path | None, typer.Option(help="Folder of real videos, for FVD and KVD.")]
Title = Annotated[str, typer.Option(help="Of the page.")]


@contextmanager
def _libraries() -> Iterator[None]:
    """Say which extra brings what is not installed.

    Raises:
        InvalidInput: something is not.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InvalidInput(f"{error.name} is not installed: pip install -e '.[evaluation]' brings it.") from None


def run(
    prompts: Annotated[Path, typer.Option(help="Text with a prompt a line, or a JSON list of texts or {text, image}.")],
    seeds: Annotated[str, typer.Option(help="With commas between: every prompt is made with each of them.")],
    variants: Annotated[str, typer.Option(help="base,lora:NAME@SCALE,…; several at once: lora:A@1+lora:B@0.5.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The study's folder; an interrupted one goes on.")],
    url: Annotated[str, typer.Option(help="Server: host:port.", envvar="ATELIER_URL")] = "localhost:8001",
    title: Title = "Did the LoRA help?",
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
    fps: Annotated[int | None, typer.Option(help="Frames a second of the files.")] = None,
    crf: Annotated[int | None, typer.Option(help="Quality of the files, 0 to 51; less is better.")] = None,
    weights: Weights = WEIGHTS,
    reference: Reference = None,
    timeout: Annotated[float, typer.Option(help="Seconds until a video is given up.")] = LONGEST,
) -> None:
    """Make every prompt with every seed in every variant, measure, compare, and write a page."""
    given = {
        "negative_prompt": negative_prompt,
        "frame_num": frame_num,
        "size": size,
        "sample_steps": sample_steps,
        "guidance_scale": guidance_scale,
        "shift": shift,
        "solver": solver,
        "grid": grid,
        "fps": fps,
        "crf": crf,
    }
    with _libraries():
        from atelier.cli.evaluate.studies import read_plan, run_study
    settings = {name: value for name, value in given.items() if value is not None}
    plan = read_plan(prompts, seeds, variants, settings)
    run_study(plan, output, url=url, title=title, weights=weights, reference=reference, timeout=timeout)


def videos(
    first: Annotated[Path, typer.Argument(metavar="DIR_A", help="Videos: what the others are compared with.")],
    second: Annotated[Path, typer.Argument(metavar="DIR_B", help="Videos of the same names.")],
    output: Output,
    prompts: Annotated[
        Path | None, typer.Option(help='JSON: {"NAME": "prompt", …}, for CLIP scores; names without ending.')
    ] = None,
    title: Title = "Videos in pairs",
    weights: Weights = WEIGHTS,
    reference: Reference = None,
) -> None:
    """Compare videos that exist, paired by name."""
    with _libraries():
        from atelier.cli.evaluate.folders import compare_videos
    compare_videos([first, second], output, prompts=prompts, title=title, weights=weights, reference=reference)


def images(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR…", help="Results of one method each; the first is the base.")
    ],
    truth: Annotated[Path, typer.Option(help="The true pictures, of the same names and sizes.")],
    output: Output,
    mattes: Annotated[
        bool, typer.Option("--mattes", help="They are alpha mattes: pictures, or a folder of frames for each clip.")
    ] = False,
    title: Title = "Against the truth",
) -> None:
    """Judge inpainted pictures or mattes by the truth: PSNR, SSIM, GMSD; of mattes MAD, MSE, Grad, dtSSD, Conn."""
    with _libraries():
        from atelier.cli.evaluate.pictures import compare_pictures
    compare_pictures(folders, truth, output, mattes=mattes, title=title)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that run, videos or images wrote.")],
) -> None:
    """Write tables and page again from results.json; nothing is computed."""
    with _libraries():
        from atelier.cli.evaluate.showing import say
        from atelier.evaluation.results import RESULTS, write_report
        from atelier.evaluation.study import read_json
    page = write_report(folder)
    say(read_json(folder / RESULTS), page)
