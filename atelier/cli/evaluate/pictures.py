"""``atelier evaluate images``: pictures or mattes against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.cli.evaluate.folders import named, write_shown
from atelier.cli.evaluate.showing import asked, bar, new_folder, now, say
from atelier.errors import InvalidInput
from atelier.evaluation.describing import METRICS
from atelier.evaluation.pairs import file_digest
from atelier.evaluation.pictures import matte_metrics, picture_metrics
from atelier.evaluation.results import assemble, write_results
from atelier.evaluation.study import names_of
from atelier.media.codecs import Picture, decode_mask, decode_picture, encode_picture
from atelier.media.video import Facts, Timed

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
RATE = Fraction(24)
"""Frames a second at which a clip of mattes is shown; nothing that is measured depends on it."""

Pixels = NDArray[np.uint8]
Files = list[Path]
"""Of one item: a picture, or a clip's frames in order."""


def compare_pictures(folders: Sequence[Path], truth: Path, output: Path, *, mattes: bool, title: str) -> None:
    """Measure pictures or mattes against the true ones, write results and page, and print the verdicts.

    Args:
        folders: of one method each, the first the base.
        truth: the true ones, of the same names and sizes.
        output: where to write.
        mattes: whether they are mattes; clips of them are folders of frames.
        title: of the page.

    Raises:
        InvalidInput: one cannot be read or has no partner, sizes differ, or a folder cannot be used.
    """
    found = [_found(folder, mattes) for folder in [truth, *folders]]
    for folder, there in zip(folders, found[1:], strict=True):
        if gone := sorted(set(found[0]) ^ set(there)):
            raise InvalidInput(f"{gone[0]} is in {truth} or in {folder}, and not in both; all need partners.")
    variants = named(folders)
    new_folder(output)
    clips = any(len(files) > 1 for files in found[0].values())
    items: list[dict[str, Any]] = []
    with bar("measuring", len(variants) * len(found[0])) as on_step:
        for name in found[0]:
            outputs = {}
            for variant, files in zip(variants, found[1:], strict=True):
                outputs[variant.id] = _judged(files[name], found[0][name], name, mattes, clips, output / variant.id)
                on_step(f"{name} {variant.id}")
            items.append(
                {
                    "id": name,
                    "name": name,
                    "prompt": None,
                    "seed": None,
                    "outputs": outputs,
                    "pairs": _no_pairs(outputs),
                }
            )
    names = {metric for item in items for shown in item["outputs"].values() for metric in shown["metrics"]}
    results = assemble(
        kind="videos" if clips else "images",
        title=title,
        created=now(),
        variants=variants,
        prompts=[],
        items=items,
        metrics=[metric for metric in METRICS.values() if metric.name in names],
        applied=[],
        sets=[],
        missing=[],
        reproduce={"command": asked()},
    )
    say(results, write_results(output, results))


def _no_pairs(outputs: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Distances to the base say nothing where there is a truth."""
    return {variant: {} for variant in list(outputs)[1:]}


def _found(folder: Path, clips: bool) -> dict[str, Files]:
    """Pictures, or clips, by name.

    Raises:
        InvalidInput: there are none.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder.")
    found = {name: [file] for name, file in names_of(_pictures(folder)).items()}
    inner = {entry.name: _pictures(entry) for entry in sorted(folder.iterdir()) if clips and entry.is_dir()}
    inner = {name: files for name, files in inner.items() if files}
    if found and inner:
        raise InvalidInput(f"{folder} has pictures and folders of frames; one of them is accepted.")
    if not found and not inner:
        raise InvalidInput(f"{folder} has no pictures; accepted: {', '.join(SUFFIXES)}.")
    return inner or found


def _pictures(folder: Path) -> Files:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in SUFFIXES)


def _judged(files: Files, truths: Files, name: str, mattes: bool, clips: bool, folder: Path) -> dict[str, Any]:
    """What one method made of one item, against the truth; and a copy of it to be shown."""
    if len(files) != len(truths):
        raise InvalidInput(f"{name} has {len(files)} frames and {len(truths)} true ones; as many are needed.")
    try:
        if mattes:
            made, true = (np.stack(_alike([_matte(file) for file in each])) for each in (files, truths))
            metrics: dict[str, Any] = matte_metrics(made, true)
            frames = [np.repeat(alpha[..., None], 3, axis=2) for alpha in made]
        else:
            frames = [_rgb(files[0])]
            metrics = dict(picture_metrics(frames[0], _rgb(truths[0])))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from None
    height, width = frames[0].shape[:2]
    shown = folder / (f"{name}.mp4" if clips else f"{name}.png")
    shown.parent.mkdir(parents=True, exist_ok=True)
    facts = Facts(width, height, RATE, 1 / RATE, len(frames), "png")
    if clips:
        write_shown(shown, facts, (Timed(frame, number / RATE) for number, frame in enumerate(frames)))
    else:
        shown.write_bytes(encode_picture(Picture(frames[0], None, "png")))
    return {
        "file": shown.relative_to(folder.parent).as_posix(),
        "width": width,
        "height": height,
        "frames": len(frames),
        "fps": float(RATE),
        "sha256": file_digest(files[0]) if len(files) == 1 else None,
        "metrics": metrics,
        "facts": {"source": files[0].name if len(files) == 1 else f"{len(files)} pictures"},
    }


def _alike(frames: Sequence[Pixels]) -> Sequence[Pixels]:
    if len({frame.shape for frame in frames}) > 1:
        raise InvalidInput("its frames are of several sizes.")
    return frames


def _matte(file: Path) -> Pixels:
    return decode_mask(_bytes(file), name=file.name)


def _rgb(file: Path) -> Pixels:
    pixels = decode_picture(_bytes(file), name=file.name).pixels
    if pixels.shape[2] in (2, 4):
        raise InvalidInput(f"{file.name} has an alpha channel; pictures without are compared.")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}).") from None
