"""``atelier evaluate run``: every prompt with every seed in every variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atelier.cli.evaluate.generating import make_videos, place_of, shortened
from atelier.cli.evaluate.showing import asked, bar, now, progress, say
from atelier.client import Client, GenerateProgress
from atelier.evaluation.instruments import Instruments
from atelier.evaluation.measuring import Measured, Measuring, Sample, metrics_of, videos_in
from atelier.evaluation.results import assemble, judge_application, write_results
from atelier.evaluation.study import Item, Plan, read_prompts, read_seeds, read_variants
from atelier.generation.sizes import fill
from atelier.media.pictures import read_picture

MOST_PIXELS = 50_000_000

Answers = Mapping[tuple[str, str], Mapping[str, Any]]


def read_plan(prompts: Path, seeds: str, variants: str, settings: Mapping[str, Any]) -> Plan:
    """The plan that the command line describes.

    Raises:
        InvalidInput: a part of it is not understood.
    """
    return Plan(read_prompts(prompts), read_seeds(seeds), read_variants(variants), settings)


def run_study(
    plan: Plan, folder: Path, *, url: str, title: str, weights: Path, reference: Path | None, timeout: float
) -> None:
    """Make the videos, measure them, write results and page, and print the verdicts.

    Raises:
        AtelierError: the server refused or failed; what was made stays, and the same call goes on.
        InvalidInput: the folder, weights or reference videos cannot be used.
        typer.Exit: with status 1: an adapter was not applied.
    """
    instruments = Instruments(weights)  # what cannot be loaded is said before hours of work
    if reference is not None:
        videos_in(reference)
    plan.begin(folder)
    answers = _generate(plan, folder, url, timeout)
    measured = _measure(plan, folder, answers, instruments, reference)
    results = _results(plan, title, answers, measured, instruments)
    say(results, write_results(folder, results))


def _generate(plan: Plan, folder: Path, url: str, timeout: float) -> Answers:
    total = len(plan.prompts) * len(plan.seeds) * len(plan.variants)
    with progress() as shown, Client(url, timeout=timeout) as client:
        videos, stage = shown.add_task("videos", total=total), shown.add_task("", total=None)

        def on_progress(event: GenerateProgress) -> None:
            words = f"queued behind {event.position}" if event.position else event.stage.replace("_", " ")
            shown.update(stage, description=words, completed=event.step, total=event.of or None)

        return make_videos(
            plan,
            folder,
            client,
            patience=timeout,
            on_video=lambda name: shown.update(videos, advance=1, description=f"videos: {name}"),
            on_progress=on_progress,
        )


def _measure(plan: Plan, folder: Path, answers: Answers, instruments: Instruments, reference: Path | None) -> Measured:
    samples = []
    for item in plan.items():
        for variant in plan.variants:
            facts = answers[item.id, variant.id]
            picture = _picture(item, int(facts["width"]), int(facts["height"]))
            place = place_of(folder, item, variant)
            samples.append(Sample(item.id, variant.id, place, item.prompt.text, picture))
    count = len(samples) + len(samples) // len(plan.variants) * (len(plan.variants) - 1)
    with bar("measuring", count) as on_step:
        return Measuring(folder, instruments, on_step)(samples, plan.variants[0].id, reference)


def _picture(item: Item, width: int, height: int) -> Any:
    """What a video began with, cut as the pipeline cuts it."""
    if item.prompt.image is None:
        return None
    picture, _ = read_picture(item.prompt.image.read_bytes(), name=item.prompt.image.name, max_pixels=MOST_PIXELS)
    return np.asarray(fill(picture, width, height))


def _results(plan: Plan, title: str, answers: Answers, measured: Measured, instruments: Instruments) -> dict[str, Any]:
    items: Sequence[Item] = list(plan.items())
    entries: list[dict[str, Any]] = []
    for item in items:
        outputs = {
            variant.id: {
                "file": place_of(Path(), item, variant).as_posix(),
                **measured.outputs[item.id, variant.id],
                "facts": shortened(answers[item.id, variant.id]),
            }
            for variant in plan.variants
        }
        pairs = {variant.id: measured.pairs[item.id, variant.id] for variant in plan.variants[1:]}
        name = {"id": item.id, "name": item.id, "prompt": item.prompt.id, "seed": item.seed}
        entries.append({**name, "outputs": outputs, "pairs": pairs})
    applied = [
        judge_application(
            variant,
            [entry["outputs"][variant.id] for entry in entries],
            [entry["pairs"][variant.id] for entry in entries],
            measured.seeds,
        )
        for variant in plan.variants[1:]
    ]
    first = answers[items[0].id, plan.variants[0].id]
    return assemble(
        kind="videos",
        title=title,
        created=now(),
        variants=plan.variants,
        prompts=plan.as_dict()["prompts"],
        items=entries,
        metrics=metrics_of(measured),
        applied=applied,
        sets=measured.sets,
        missing=[*instruments.missing, *measured.remarks],
        reproduce={
            "command": asked(),
            "model": first["model"],
            "settings": {name: entry["value"] for name, entry in first["settings"].items() if name != "seed"},
            "adapters": _hashes(answers),
            "weights": instruments.digests,
        },
    )


def _hashes(answers: Answers) -> dict[str, str]:
    """Of the adapters' files, by name."""
    return {report["name"]: report["sha256"] for facts in answers.values() for report in facts["adapters"]}
