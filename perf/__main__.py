"""``python -m perf``: run benchmarks, print them, write them.

Exit status: 0, 1 (a benchmark failed; one line on stderr says why), 2 (usage).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from atelier.client import AtelierError
from atelier.errors import InvalidInput
from atelier.generation.sizes import STRIDE, nearest_frame_nums
from atelier.serving.launcher import LaunchError
from perf import report
from perf.command_line import Later, names_of, numbers, run, shares_of
from perf.measure import BenchmarkError

# What benchmarks need, PyTorch among it, takes seconds to import: each command imports its own.
batching = Later("perf.batching")
compositing = Later("perf.compositing")
generation = Later("perf.generation")
generation_options = Later("perf.generation_options")
lama = Later("perf.lama")
matting = Later("perf.matting")
matting_length = Later("perf.matting_length")
regions = Later("perf.regions")
runtimes = Later("perf.runtimes")
serving = Later("perf.serving")
soak = Later("perf.soak")
sweep = Later("perf.sweep")
tune = Later("perf.tune")

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


class ModelName(StrEnum):
    """What `sweep` loads."""

    lama = "lama"
    inpaint = "inpaint"


class TunedName(StrEnum):
    """What `tune` tries."""

    lama = "lama"


Seconds = Annotated[float, typer.Option(min=0.5, max=600, help="Seconds of a window of perf_analyzer's.")]
Windows = Annotated[int, typer.Option(min=3, max=100, help="Windows of a measurement, until three agree.")]
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
    """Served lama against OpenVINO, ONNX Runtime and eager PyTorch in one process: OUTPUT/serving-SIZE.{json,md}."""
    settings = serving.Settings(
        size=size.value,
        sides=numbers("--sides", sides, range(16, 4097, 8), "multiples of 8 from 16 to 4096"),
        batches=numbers("--batches", batches, range(1, lama.MAX_BATCH + 1), f"1 to {lama.MAX_BATCH}"),
        threads=threads,
        rounds=rounds,
    )
    _serving(settings, output)


@app.command("sweep")
def sweep_command(
    model: Annotated[ModelName, typer.Argument(help="The model: lama, or inpaint with the sample pictures.")],
    size: Annotated[SizeName, typer.Option(help="The network: mini, or full (lama alone).")] = SizeName.mini,
    side: Annotated[int, typer.Option(min=16, max=4096, help="Pixels of the square pictures (lama).")] = 256,
    concurrencies: Annotated[str, typer.Option(help="Requests under way at once, each 1 to 256.")] = "1,2,4,8",
    shares: Annotated[str, typer.Option(help="Percent of the highest throughput, as random arrivals.")] = "30,60,90",
    seconds: Seconds = 3,
    windows: Windows = 6,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.", show_default="cores")] = report.cores(),
    output: Output = report.RESULTS,
) -> None:
    """perf_analyzer over concurrency and Poisson rates, every way in: OUTPUT/sweep-MODEL.{json,md,png}."""
    settings = sweep.Settings(
        model=model.value,
        size=size.value,
        side=numbers("--side", str(side), range(16, 4097, 8), "multiples of 8 from 16 to 4096")[0],
        concurrencies=numbers("--concurrencies", concurrencies, range(1, 257), "1 to 256"),
        shares=shares_of("--shares", shares),
        seconds=seconds,
        windows=windows,
        threads=threads,
    )
    document = run(f"sweep-{model}", output, lambda progress: sweep.measure(settings, progress), sweep.markdown)
    sweep.plot(document, output / f"sweep-{model}.png")


@app.command("batching")
def batching_command(
    size: Annotated[SizeName, typer.Option(help="The network: mini, or full: random, of big-lama's size.")] = (
        SizeName.mini
    ),
    threads: Annotated[int, typer.Option(min=1, help="Threads of each.", show_default="cores")] = report.cores(),
    lone: Annotated[int, typer.Option(min=1, help="Requests that come alone.")] = 8,
    random: Annotated[int, typer.Option(min=2, help="Requests of each run of random arrivals.")] = 40,
    burst: Annotated[int, typer.Option(min=2, help="Requests that come at once.")] = 200,
    backlog: Annotated[int, typer.Option(min=1, help="Long pages that wait when short ones begin to come.")] = 60,
    late: Annotated[int, typer.Option(min=1, help="Short pages that come then.")] = 8,
    loads: Annotated[
        str, typer.Option(help="Percent of the slowest one's throughput, as random arrivals.")
    ] = "30,60,90",
    output: Output = report.RESULTS,
) -> None:
    """The bridge and Triton against the old worker, same arrivals, a real Redis: OUTPUT/batching.{json,md}."""
    settings = batching.Settings(size.value, threads, lone, random, burst, backlog, late, shares_of("--loads", loads))
    run("batching", output, lambda progress: batching.measure(settings, progress), batching.markdown)


@app.command("generation")
def generation_command(
    size: Annotated[str, typer.Option(help="The network, random: tiny, or full: the public one's size.")] = "tiny",
    frame_size: Annotated[str, typer.Option(help="WIDTH*HEIGHT of the video.")] = "160*96",
    frames: Annotated[int, typer.Option(min=1, help="Of the video, 4n + 1.")] = 13,
    steps: Annotated[int, typer.Option(min=1, help="Of denoising.")] = 20,
    rank: Annotated[int, typer.Option(min=1, help="Of the adapter.")] = 32,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the first-block cache.")] = 0.1,
    device: Annotated[str, typer.Option(help="PyTorch's name; auto: a GPU where there is one.")] = "auto",
    bfloat16: Annotated[bool, typer.Option(help="Text encoder and transformer in bfloat16.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch.")] = report.cores(),
    rounds: Annotated[int, typer.Option(min=1, help="Timed videos of each variant.")] = 6,
    output: Output = report.RESULTS,
) -> None:
    """What adapters cost and the first-block cache brings: OUTPUT/generation-SIZE.{json,md}."""
    _check_video(size, frames)
    device = _device(device)
    settings = generation.Settings(size, frame_size, frames, steps, rank, threshold, device, bfloat16, threads, rounds)
    run(f"generation-{size}", output, lambda progress: generation.measure(settings, progress), generation.markdown)


def _device(name: str) -> str:
    """PyTorch's name; ``auto`` is a GPU, or none."""
    from atelier.generation.loading import LoadOptions

    return LoadOptions(device=name).device


def _check_video(size: str, frames: int) -> None:
    if size not in ("tiny", "full"):
        raise typer.BadParameter("accepted: tiny, full", param_hint="--size")
    if frames % STRIDE != 1:
        near = " and ".join(map(str, nearest_frame_nums(frames)))
        raise typer.BadParameter(f"4n + 1 is accepted; the nearest are {near}", param_hint="--frames")


@app.command("generation-options")
def generation_options_command(
    size: Annotated[str, typer.Option(help="The network, random: tiny, or full: the public one's size.")] = "tiny",
    frame_size: Annotated[str, typer.Option(help="WIDTH*HEIGHT of the video.")] = "160*96",
    frames: Annotated[int, typer.Option(min=1, help="Of the video, 4n + 1.")] = 13,
    steps: Annotated[int, typer.Option(min=1, help="Of denoising.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Timed videos of each; the median counts.")] = 3,
    variants: Annotated[
        str, typer.Option(help="Ways of holding the network, with commas between.", show_default="all")
    ] = "",
    device: Annotated[str, typer.Option(help="PyTorch's name; auto: a GPU where there is one.")] = "auto",
    bfloat16: Annotated[bool, typer.Option(help="Text encoder and transformer in bfloat16.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch.")] = report.cores(),
    output: Output = report.RESULTS,
) -> None:
    """Memory and speed of every way of holding Wan: OUTPUT/generation-options-SIZE.{json,md}."""
    _check_video(size, frames)
    names = names_of("--variants", variants or ",".join(generation_options.VARIANTS), generation_options.VARIANTS)
    device = _device(device)
    settings = generation_options.Settings(size, frame_size, frames, steps, names, device, bfloat16, threads, rounds)
    run(
        f"generation-options-{size}",
        output,
        lambda progress: generation_options.measure(settings, progress),
        generation_options.markdown,
    )


@app.command("compositing")
def compositing_command(
    size: Annotated[str, typer.Option(help="The networks, random: tiny, or full; full on a GPU without it.")] = "",
    resolution: Annotated[
        int | None, typer.Option(min=64, max=2048, help="Side of the crop; by size without it.")
    ] = None,
    steps: Annotated[str, typer.Option(help="Of denoising, each measured by itself; by size without them.")] = "",
    variants: Annotated[str, typer.Option(help="Ways of holding FLUX, with commas between.", show_default="all")] = "",
    device: Annotated[str, typer.Option(help="PyTorch's name; auto: a GPU where there is one.")] = "auto",
    checkpoints: Annotated[Path | None, typer.Option(help="A folder with flux-fill and flux-redux in it.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Timed pictures of each; the median counts.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch.")] = report.cores(),
    output: Output = report.RESULTS,
) -> None:
    """Memory and speed of every way of holding FLUX.1-Fill: OUTPUT/compositing-SIZE.{json,md}."""
    if size not in ("", "tiny", "full"):
        raise typer.BadParameter("accepted: tiny, full", param_hint="--size")
    if resolution is not None and resolution % 16:
        raise typer.BadParameter("multiples of 16 are accepted", param_hint="--resolution")
    counts = numbers("--steps", steps, range(1, 201), "1 to 200") if steps else ()
    device = _device(device)
    size = size or ("tiny" if device == "cpu" else "full")
    resolution = resolution or (128 if size == "tiny" else 1024)
    counts = counts or ((4,) if size == "tiny" else (28, 50))
    names = names_of("--variants", variants or ",".join(compositing.VARIANTS), compositing.VARIANTS)
    settings = compositing.Settings(size, resolution, counts, names, device, threads, rounds)
    run(
        f"compositing-{size}",
        output,
        lambda progress: compositing.measure(settings, progress, checkpoints),
        compositing.markdown,
    )


@app.command("matting")
def matting_command(
    size: Annotated[str, typer.Option(help="The network, random: tiny, or full: the public one's size.")] = "tiny",
    width: Annotated[int, typer.Option(min=32, max=8192, help="Pixels of the clip, a multiple of 32.")] = 320,
    height: Annotated[int, typer.Option(min=32, max=8192, help="Likewise.")] = 192,
    frames: Annotated[int, typer.Option(min=1, help="Of the clip.")] = 32,
    windows: Annotated[str, typer.Option(help="Frames of a window, each measured by itself.")] = "8,16,32",
    chunk: Annotated[int, typer.Option(min=1, help="Frames of a call of the decoder.")] = 8,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each.")] = report.cores(),
    rounds: Annotated[int, typer.Option(min=1, help="Timed clips of each.")] = 3,
    output: Output = report.RESULTS,
) -> None:
    """The served `matte` against eager PyTorch, and memory by window: OUTPUT/matting-SIZE.{json,md}."""
    if size not in ("tiny", "full"):
        raise typer.BadParameter("accepted: tiny, full", param_hint="--size")
    if width % 32 or height % 32:
        raise typer.BadParameter("multiples of 32 are accepted", param_hint="--width, --height")
    settings = matting.Settings(
        size, width, height, frames, numbers("--windows", windows, range(1, 513), "1 to 512"), chunk, threads, rounds
    )
    run(f"matting-{size}", output, lambda progress: matting.measure(settings, progress), matting.markdown)


@app.command("matting-length")
def matting_length_command(
    lengths: Annotated[str, typer.Option(help="Frames of a clip, each measured by itself.")] = "100,10000",
    side: Annotated[int, typer.Option(min=32, max=1024, help="Pixels of the square clip, a multiple of 32.")] = 32,
    window: Annotated[int, typer.Option(min=2, max=512, help="Frames of a window.")] = 32,
    chunk: Annotated[int, typer.Option(min=1, max=512, help="Frames of a call of the decoder.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="Of PyTorch.")] = report.cores(),
    output: Output = report.RESULTS,
) -> None:
    """The peak memory of `matte`'s pipeline by length of the clip: OUTPUT/matting-length.{json,md}."""
    if side % 32:
        raise typer.BadParameter("multiples of 32 are accepted", param_hint="--side")
    counts = numbers("--lengths", lengths, range(1, 100_001), "1 to 100000")
    settings = matting_length.Settings(side, counts, window, chunk, threads)
    run("matting-length", output, lambda progress: matting_length.measure(settings, progress), matting_length.markdown)


@app.command("regions")
def regions_command(
    side: Annotated[int, typer.Option(min=256, max=2048, help="Pixels of the square pages.")] = 1536,
    pages: Annotated[int, typer.Option(min=1, max=100, help="Pages of every share.")] = 4,
    rounds: Annotated[int, typer.Option(min=1, help="Timed calls of each strategy on each page.")] = 2,
    fill_flat: Annotated[bool, typer.Option(help="Fill flat parts without the network.")] = True,
    output: Output = report.RESULTS,
) -> None:
    """Whole pages against regions: seconds and PSNR of both: OUTPUT/regions-SIDE.{json,md}."""
    settings = regions.Settings(side=side, pages=pages, rounds=rounds, fill_flat=fill_flat)
    run(f"regions-{side}", output, lambda progress: regions.measure(settings, progress), regions.markdown)


@app.command("runtimes")
def runtimes_command(
    size: Annotated[SizeName, typer.Option(help="The network: mini, or full: random, of big-lama's size.")] = (
        SizeName.full
    ),
    sides: Annotated[str, typer.Option(help="Pixels of the square pictures, multiples of 8.")] = "256,512",
    batches: Annotated[str, typer.Option(help="Pictures a call, 1 to 8.")] = "1,4",
    threads: Annotated[str, typer.Option(help="Threads of each.")] = "1,2",
    rounds: Annotated[int, typer.Option(min=1, help="Timed calls of each.")] = 3,
    output: Output = report.RESULTS,
) -> None:
    """Eager PyTorch, TorchScript, ONNX Runtime and OpenVINO beside each other: OUTPUT/runtimes-SIZE.{json,md}."""
    settings = runtimes.Settings(
        size=size.value,
        sides=numbers("--sides", sides, range(16, 4097, 8), "multiples of 8 from 16 to 4096"),
        batches=numbers("--batches", batches, range(1, lama.MAX_BATCH + 1), f"1 to {lama.MAX_BATCH}"),
        threads=numbers("--threads", threads, range(1, 257), "1 to 256"),
        rounds=rounds,
    )
    run(f"runtimes-{size}", output, lambda progress: runtimes.measure(settings, progress), runtimes.markdown)


@app.command("tune")
def tune_command(
    _model: Annotated[TunedName, typer.Argument(help="The model.")] = TunedName.lama,
    size: Annotated[SizeName, typer.Option(help="The network: mini, or full: random, of big-lama's size.")] = (
        SizeName.full
    ),
    side: Annotated[int, typer.Option(min=16, max=4096, help="Pixels of the square pictures.")] = 256,
    concurrency: Annotated[int, typer.Option(min=2, max=256, help="Requests under way.")] = 8,
    instances: Annotated[str, typer.Option(help="Instances to try.")] = "1,2",
    threads: Annotated[str, typer.Option(help="Threads to try.")] = f"1,{report.cores()}",
    batches: Annotated[str, typer.Option(help="Largest batches to try.")] = "1,4,8",
    delays: Annotated[str, typer.Option(help="Microseconds of queue delay to try.")] = "0,1000,5000",
    seconds: Seconds = 3,
    windows: Windows = 6,
    output: Output = report.RESULTS,
) -> None:
    """Try configurations on a running server and propose one: OUTPUT/tune-lama.{json,md}."""
    settings = tune.Settings(
        size=size.value,
        side=numbers("--side", str(side), range(16, 4097, 8), "multiples of 8 from 16 to 4096")[0],
        concurrency=concurrency,
        instances=numbers("--instances", instances, range(1, 17), "1 to 16"),
        threads=numbers("--threads", threads, range(1, 257), "1 to 256"),
        batches=numbers("--batches", batches, range(1, lama.MAX_BATCH + 1), f"1 to {lama.MAX_BATCH}"),
        delays=numbers("--delays", delays, range(1_000_001), "0 to 1000000"),
        seconds=seconds,
        windows=windows,
    )
    run("tune-lama", output, lambda progress: tune.measure(settings, progress), tune.markdown)


@app.command("soak")
def soak_command(
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes of traffic.")] = 20,
    callers: Annotated[int, typer.Option(min=1, max=256, help="Calls under way.")] = 6,
    kill: Annotated[bool, typer.Option(help="Kill one of the model's processes a quarter into the time.")] = False,
    output: Output = report.RESULTS,
) -> None:
    """Mixed traffic, bad requests and calls given up, for long; memory over time: OUTPUT/soak.{json,md,png}."""
    document = run(
        "soak", output, lambda shown: soak.measure(soak.Settings(minutes, callers, kill), shown), soak.markdown
    )
    soak.plot(document, output / "soak.png")
    if document["failed"]:
        raise BenchmarkError(" ".join(document["failed"]))


@app.command("all")
def all_command(output: Output = report.RESULTS) -> None:
    """Everything that this machine can run, as it was committed: about an hour on two cores."""
    threads = report.cores()
    batching_command(output=output)
    runtimes_command(output=output)
    for size, rounds in ((SizeName.full, 6), (SizeName.mini, 12)):
        _serving(serving.Settings(size.value, (256, 512), (1,), threads, rounds=rounds), output)
    regions_command(side=1024, output=output)
    regions_command(rounds=1, output=output)
    generation_command(output=output)
    compositing_command(size="tiny", output=output)
    matting_command(output=output)
    matting_length_command(output=output)
    tune_command(size=SizeName.mini, output=output)
    sweep_command(ModelName.lama, output=output)
    sweep_command(ModelName.inpaint, concurrencies="1,2,4", shares="60,90", seconds=6, windows=5, output=output)


def _serving(settings: Any, output: Path) -> None:
    run(f"serving-{settings.size}", output, lambda progress: serving.measure(settings, progress), serving.markdown)


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
