"""``atelier evaluate videos``: folders of videos that exist."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atelier.cli.evaluate.showing import asked, bar, new_folder, now, say
from atelier.errors import InvalidInput
from atelier.evaluation.instruments import Instruments
from atelier.evaluation.measuring import Measured, Measuring, Sample, metrics_of, videos_in
from atelier.evaluation.results import assemble, judge_application, write_results
from atelier.evaluation.study import Variant, names_of, read_json
from atelier.media.video import CODECS, Facts, Timed, VideoReader, VideoWriter, open_video

PLAYED = {".mp4": ("h264", "av1", "vp9"), ".webm": ("vp8", "vp9", "av1")}
"""What browsers play: codecs by the ending of the file."""

Files = Mapping[str, Mapping[str, Path]]


def compare_videos(
    folders: Sequence[Path], output: Path, *, prompts: Path | None, title: str, weights: Path, reference: Path | None
) -> None:
    """Measure videos in pairs, write results and page, and print the verdicts.

    Args:
        folders: two, of videos of the same names; the first is the base.
        output: where to write.
        prompts: JSON, texts by the videos' names; None: they are not known.
        title: of the page.
        weights: folder of the metrics' weights.
        reference: folder of real videos, or None.

    Raises:
        InvalidInput: a video cannot be read or has no partner, or a folder cannot be used.
        typer.Exit: with status 1: a video equals its partner.
    """
    files = paired(folders)
    texts = _texts(prompts, files) if prompts else {}
    variants = named(folders)
    instruments = Instruments(weights)
    new_folder(output)
    by_variant = {variant.id: {name: both[n] for name, both in files.items()} for n, variant in enumerate(variants)}
    samples = [
        Sample(name, variant.id, by_variant[variant.id][name], texts.get(name, ""))
        for name in files
        for variant in variants
    ]
    with bar("measuring", len(samples) + len(files)) as on_step:
        measured = Measuring(output, instruments, on_step)(samples, variants[0].id, reference)
    items = _items(variants, by_variant, texts, measured, output)
    results = assemble(
        kind="videos",
        title=title,
        created=now(),
        variants=variants,
        prompts=[{"id": name, "text": text} for name, text in texts.items()],
        items=items,
        metrics=metrics_of(measured),
        applied=[
            judge_application(
                variants[1],
                [item["outputs"][variants[1].id] for item in items],
                [item["pairs"][variants[1].id] for item in items],
                measured.seeds,
            )
        ],
        sets=measured.sets,
        missing=[*instruments.missing, *measured.remarks],
        reproduce={"command": asked(), "weights": instruments.digests},
    )
    say(results, write_results(output, results))


def paired(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Videos of several folders by name.

    Raises:
        InvalidInput: a folder has none, or one has no partner.
    """
    found = [names_of(videos_in(folder)) for folder in folders]
    everything = sorted(set().union(*found))
    for folder, files in zip(folders, found, strict=True):
        if gone := [name for name in everything if name not in files]:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            raise InvalidInput(f"{folder} has no video {gone[0]}{more}, which another folder has; all need partners.")
    return {name: [files[name] for files in found] for name in everything}


def named(folders: Sequence[Path]) -> list[Variant]:
    """Folders as variants, by their names where these differ."""
    names = [folder.resolve().name or "root" for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{chr(ord('a') + number)} {name}" for number, name in enumerate(names)]
    return [Variant(name, name, {}, number == 0) for number, name in enumerate(names)]


def _texts(file: Path, files: Mapping[str, Any]) -> dict[str, str]:
    texts = read_json(file)
    if not isinstance(texts, dict) or not all(isinstance(text, str) and text.strip() for text in texts.values()):
        raise InvalidInput(f'{file} is not as accepted: {{"NAME": "prompt", …}}.')
    if gone := [name for name in files if name not in texts]:
        raise InvalidInput(f"{file} has no prompt for {gone[0]}.")
    return {name: texts[name].strip() for name in files}


def _items(
    variants: list[Variant], files: Files, texts: Mapping[str, str], measured: Measured, output: Path
) -> list[dict[str, Any]]:
    items = []
    for name in files[variants[0].id]:
        outputs = {}
        for variant in variants:
            source = files[variant.id][name]
            place, as_it_is = show(source, output / "videos" / variant.id)
            facts = {"source": source.name} if as_it_is else {"source": source.name, "shown": "an H.264 copy"}
            shown = place.relative_to(output).as_posix()
            outputs[variant.id] = {"file": shown, **measured.outputs[name, variant.id], "facts": facts}
        pairs = {variant.id: measured.pairs[name, variant.id] for variant in variants[1:]}
        prompt = name if name in texts else None
        items.append({"id": name, "name": name, "prompt": prompt, "seed": None, "outputs": outputs, "pairs": pairs})
    return items


def show(source: Path, folder: Path) -> tuple[Path, bool]:
    """A copy that browsers play: of the file as it is where they play it, else in H.264.

    Returns:
        The copy, and whether it is the file as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_video(source, name=source.name) as reader:
        facts = reader.facts
        upright = not facts.rotation and facts.pixel_aspect == 1
        if isinstance(reader, VideoReader) and facts.codec in PLAYED.get(source.suffix.lower(), ()) and upright:
            place = folder / source.name
            shutil.copyfile(source, place)
            return place, True
        place = folder / f"{source.stem}.mp4"
        write_shown(place, facts, reader)
    return place, False


def write_shown(place: Path, facts: Facts, frames: Iterable[Timed]) -> None:
    """A video as H.264 that every browser plays: of even sides, the last column and row repeated where they are odd."""
    right, below = facts.width % 2, facts.height % 2
    width, height = facts.width + right, facts.height + below
    with VideoWriter(str(place), CODECS["h264"], facts, width=width, height=height) as writer:
        for timed in frames:
            writer.write(np.pad(timed.pixels, ((0, below), (0, right), (0, 0)), mode="edge"), timed.time)
