"""``atelier matte``."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from atelier.client import Client, InvalidRequest
from atelier.client.matting import Folder, MatteProgress, stem_of

STATE = ".matte.json"
"""Beside the pictures: what they belong to, and the report when they are all there."""
LONGEST = 86400.0


def _option(name: str, words: str, **facts: Any) -> Any:
    """An option under its own name and, as upstream's program spells it, with underscores."""
    return typer.Option(f"--{name.replace('_', '-')}", *([f"--{name}"] if "_" in name else []), help=words, **facts)


def command(
    video: Annotated[Path, typer.Argument(help="mp4, mov, mkv, webm, gif, avi, a zip or a folder of pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to; made where it is missing.")],
    url: Annotated[str, typer.Option(help="Server, gRPC: host:port.", envvar="ATELIER_URL")] = "localhost:8001",
    outputs: Annotated[
        str, typer.Option(help="With commas between: alpha, green, foreground, composite, rgba; pictures come always.")
    ] = "alpha,green",
    background: Annotated[str | None, typer.Option(help="A colour or a file, for composite.")] = None,
    codec: Annotated[str, typer.Option(help="h264, prores4444, vp9, ffv1 or png.")] = "h264",
    estimate_foreground: Annotated[
        bool, _option("estimate_foreground", "Take the old background's colours out of what is partly transparent.")
    ] = False,
    num_frames_per_batch: Annotated[
        int | None, _option("num_frames_per_batch", "Frames of a window. Default here and below: the server's setting.")
    ] = None,
    decode_chunk_size: Annotated[int | None, _option("decode_chunk_size", "Frames of a call of the decoder.")] = None,
    denoise_steps: Annotated[int | None, _option("denoise_steps", "Calls of the network, 1 to 3.")] = None,
    max_resolution: Annotated[int | None, _option("max_resolution", "Pixels of the longer side at most.")] = None,
    size: Annotated[int | None, _option("size", "Pixels of the shorter side, for the network.")] = None,
    num_overlap_frames: Annotated[int | None, _option("num_overlap_frames", "Frames that windows share.")] = None,
    num_interp_frames: Annotated[int | None, _option("num_interp_frames", "Without effect, as upstream.")] = None,
    max_frames: Annotated[int | None, _option("max_frames", "So many frames from the start.")] = None,
    mode: Annotated[str | None, _option("mode", "matte; without effect, as upstream.")] = None,
    noise_type: Annotated[str | None, _option("noise_type", "zeros or gaussian.")] = None,
    seed: Annotated[int | None, _option("seed", "Of gaussian noise.")] = None,
    ensemble_size: Annotated[int | None, _option("ensemble_size", "Copies whose highest alpha counts.")] = None,
    windows: Annotated[str | None, _option("windows", "overlapping, or disjoint as upstream's demo.")] = None,
    image_rate: Annotated[float | None, _option("image_rate", "Frames a second of pictures.")] = None,
    output_image_seq_only: Annotated[bool, _option("output_image_seq_only", "Pictures alone, no videos.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write the server's report (JSON) to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until the call is given up.")] = LONGEST,
) -> None:
    """Cut the subject of VIDEO out: NAME/00000.png …, NAME_alpha.mp4, NAME_green.mp4 in the output folder.

    What was interrupted goes on where it was when the same command is given again.
    """
    settings = {
        "num_frames_per_batch": num_frames_per_batch,
        "decode_chunk_size": decode_chunk_size,
        "denoise_steps": denoise_steps,
        "max_resolution": max_resolution,
        "size": size,
        "num_overlap_frames": num_overlap_frames,
        "num_interp_frames": num_interp_frames,
        "max_frames": max_frames,
        "mode": mode,
        "noise_type": noise_type,
        "seed": seed,
        "ensemble_size": ensemble_size,
        "windows": windows,
        "image_rate": image_rate,
    }
    wanted = [name.strip() for name in outputs.split(",") if name.strip() and name.strip() != "images"]
    job = _Job(video, output, {name: value for name, value in settings.items() if value is not None})
    files: dict[str, Any] = {"codec": codec, "estimate_foreground": estimate_foreground}
    files |= {name: settings[name] for name in ("image_rate", "max_frames") if settings[name] is not None}
    videos = None if output_image_seq_only or not wanted else _Videos(wanted, background, files)
    found = job.matte(url, timeout)
    written = [job.pictures]
    if videos is not None:
        written += videos.compose(video, output, job)
    if report is not None:
        _write_text(report, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    for warning in [*found.get("warnings", []), *(videos.warnings if videos is not None else [])]:
        sys.stderr.write(f"{warning}\n")
    for path in written:
        typer.echo(str(path))


class _Job:
    """A video on its way into a folder, also over several runs of the command.

    Its alpha comes as pictures, which stay when something fails; the videos are made of them here, at the end.
    """

    def __init__(self, video: Path, output: Path, settings: dict[str, Any]) -> None:
        if not video.exists():
            raise InvalidRequest(f"{video} is not there.")
        self._video, self._output, self._settings = video, output, settings
        self.stem = stem_of(video)
        self.pictures = output / self.stem
        if self.pictures.resolve() == video.resolve():
            raise InvalidRequest(f"The pictures would come into {video} itself; choose another --output.")
        self._state = self.pictures / STATE
        if self.alphas() and not self._state.is_file():
            raise InvalidRequest(
                f"{self.pictures} holds pictures that this command did not make; they stay as they are."
            )

    def matte(self, url: str, timeout: float) -> dict[str, Any]:
        """Fetch the pictures that are not there yet; the report of the last run that fetched any."""
        key = self._key()
        known = self._known(key)
        there = len(self.alphas())
        if known and there == known.get("report", {}).get("frames"):
            return dict(known["report"])
        if not known:
            there = 0
            for old in self.pictures.glob("[0-9]*.png"):
                old.unlink()
        done = max(0, there - 1)  # the last one once more: what is to come may be nothing
        if "seed" not in self._settings and self._settings.get("noise_type") == "gaussian":
            self._settings["seed"] = known.get("seed", secrets.randbelow(2**63))
        state = {"key": key, "seed": self._settings.get("seed")}
        _make_folder(self.pictures)
        _write_text(self._state, json.dumps(state))
        if there:
            sys.stderr.write(f"{there} pictures are there already.\n")
        with _bar(self._video.name) as show, Client(url, timeout=timeout) as client:
            result = client.matte(
                self._video,
                self._output,
                name=self.stem,
                outputs=["images"],
                on_progress=show,
                keep=True,
                first_frame=done,
                **self._settings,
            )
        report = {**result.report, "frames": len(self.alphas())}
        if there:
            report["warnings"] = [
                *report["warnings"],
                f"Gone on with at frame {done}: seconds and windows are from there.",
            ]
        _write_text(self._state, json.dumps({**state, "report": report}))
        return report

    def alphas(self) -> list[Path]:
        """The pictures that are there without a gap."""
        found: list[Path] = []
        while (path := self.pictures / f"{len(found):05d}.png").is_file():
            found.append(path)
        return found

    def _key(self) -> str:
        """What the pictures belong to: the video's content, and what was asked for."""
        digest = hashlib.sha256(json.dumps(self._settings, sort_keys=True).encode("utf-8"))
        files = sorted(self._video.iterdir()) if self._video.is_dir() else [self._video]
        for file in files:
            if file.is_file():
                with file.open("rb") as opened:
                    digest.update(hashlib.file_digest(opened, "sha256").digest())
        return digest.hexdigest()

    def _known(self, key: str) -> dict[str, Any]:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) and state.get("key") == key else {}


class _Videos:
    """What is made of a video and its alpha, here; checked before the server is asked.

    Raises:
        InvalidRequest: PyAV is missing, or what was asked for does not exist or does not go together.
    """

    def __init__(self, outputs: list[str], background: str | None, settings: dict[str, Any]) -> None:
        try:
            from pydantic import ValidationError

            from atelier.matting.files import Part
            from atelier.matting.job import JobSettings, check_names, compose_clip
        except ModuleNotFoundError as error:
            raise InvalidRequest(
                f"{error.name} is missing, which writes videos: pip install 'atelier[video]', or ask for pictures "
                "alone (--output-image-seq-only)."
            ) from None
        self._outputs, self._compose, self._part = outputs, compose_clip, Part
        self._background, self.warnings = None, list[str]()
        if background is not None:
            file = Path(background)
            self._background = file.read_bytes() if file.is_file() else background.encode("utf-8")
        try:
            self._settings = JobSettings.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "a setting"
            raise InvalidRequest(f"{name} is {settings.get(name)!r}: {first['msg']}.") from None
        check_names(outputs, self._settings, self._background)

    def compose(self, video: Path, output: Path, job: _Job) -> list[Path]:
        """Write them."""
        folder = Folder(output, job.stem)
        try:
            with _bar("videos") as show:
                for event in self._compose(video, job.alphas(), self._settings, self._outputs, self._background):
                    if isinstance(event, self._part):
                        folder.write(event.name, event.offset, event.data)
                    elif isinstance(event, dict):
                        self.warnings = event["warnings"]
                    else:
                        show(event)
            return list(folder.finish())
        except BaseException:
            folder.discard()
            raise


@contextmanager
def _bar(words: str) -> Iterator[Any]:
    """A bar on stderr, with frames a second."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.2f} frames/s"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(words, total=None, rate=0.0)

        def show(now: MatteProgress) -> None:
            progress.update(task, completed=now.done, total=now.of, rate=now.rate)

        yield show


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be made ({error.strerror}).") from None


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written ({error.strerror}).") from None
