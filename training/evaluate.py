"""``python -m training.evaluate``: how well a network fills holes, beside what OpenCV does without learning anything.

Pages of a series that was not trained on, lettered in fonts that were not trained on, and photographs; all errors are
measured inside the holes. Exit status: 0, 1 (a goal was missed, or it cannot be run; one line on stderr says which),
2 (usage).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from atelier.errors import InvalidInput
from atelier.inpainting.checkpoint import checkpoint_file
from export.artefact import CHECKOUT, MODEL_REPOSITORY, sha256
from perf import report
from training import fonts, masks, methods, pages, quality, sheet, subjects
from training import settings as training_settings
from training.findings import markdown
from training.methods import BASELINES, NETWORK, Method
from training.quality import Outcome
from training.subjects import Case, EvaluationError

GAIN_ON_PAGES = 3.0
"""dB by which the network must be better than the better baseline on pages."""

GAIN_ON_PHOTOGRAPHS = 0.0
"""Likewise on photographs."""

LOSS_OF_A_FORM = 0.1
"""dB by which a form of the network (ONNX, half precision) may differ from the network on the same pictures."""

SHOWN = (("astronaut", "lettering"), ("coffee", "scratches"), ("chelsea", "strokes"))
"""Photographs, and kinds of masks, that the sheet shows. Of every category of pages it shows the first."""

LIBRARIES = ("numpy", "torch", "onnxruntime", "opencv-python-headless", "scikit-image", "pillow")
DIGITS = 6


@dataclass(frozen=True)
class Amount:
    """How much is done.

    Attributes:
        pages: of every category.
        masks: of every kind, for every photograph.
        side: pixels of the pages; photographs are cut to it.
        slow: pictures of every category that slow methods are tried on.
    """

    pages: int
    masks: int
    side: int
    slow: int


QUICK_AMOUNT = Amount(pages=4, masks=1, side=256, slow=1)


@dataclass
class Judged:
    """What came of it: outcomes in the order of the pictures, and the rows of the sheet."""

    outcomes: list[Outcome] = field(default_factory=list)
    lines: list[sheet.Line] = field(default_factory=list)


def judge(
    cases: Iterable[Case], contestants: Mapping[str, Method], slow: int, on_case: Callable[[Case], None]
) -> Judged:
    """Fill every hole with every method.

    Args:
        cases: the pictures.
        contestants: the methods, by name.
        slow: pictures of every category that slow methods are tried on.
        on_case: told each picture when it is done.

    Raises:
        EvaluationError: a method changed pixels outside a hole.
    """
    judged = Judged()
    for case in cases:
        chosen = {name: method for name, method in contestants.items() if not method.slow or case.is_among(slow)}
        painted = {name: methods.paint(method, case.picture, case.mask) for name, method in chosen.items()}
        outcome = measure(case, painted)
        judged.outcomes.append(outcome)
        if is_shown(case):
            judged.lines.append(line(case, painted, outcome))
        on_case(case)
    return judged


def measure(case: Case, painted: Mapping[str, subjects.Pixels]) -> Outcome:
    """The errors of what each method painted."""
    hole = case.mask > 0
    return Outcome(
        group=case.group,
        category=case.category,
        source=case.source,
        values=3 * int(np.count_nonzero(hole)),
        hole=round(float(hole.mean()), DIGITS),
        mse={n: round(quality.mean_squared_error(case.truth, p, case.mask), DIGITS) for n, p in painted.items()},
        ssim={n: round(quality.ssim(case.truth, p, case.mask), DIGITS) for n, p in painted.items()},
    )


def is_shown(case: Case) -> bool:
    """Whether the sheet shows a picture: the first of its kind, so that nobody chose it for what came of it."""
    if case.group == "pages":
        return case.number == 0
    return (case.source, case.category) in SHOWN and case.number % (case.total // len(subjects.PHOTOGRAPHS)) == 0


def line(case: Case, painted: Mapping[str, subjects.Pixels], outcome: Outcome) -> sheet.Line:
    """A picture as a row of the sheet."""
    name = case.category if case.group == "pages" else f"{case.source}, {case.category}"
    filled = [(painted[method], f"{outcome.psnr(method):.1f} dB") for method in (*BASELINES, NETWORK)]
    covered = f"{outcome.hole:.1%} is hole"
    panels = [(case.picture, name), (sheet.marked(case.picture, case.mask), covered), *filled, (case.truth, "")]
    return sheet.Line(case.mask, panels)


def rows(outcomes: Sequence[Outcome], seed: int) -> list[dict[str, Any]]:
    """Scores and comparison of every category, every group, and every photograph.

    Args:
        outcomes: of all pictures.
        seed: of the bootstrap.

    Returns:
        Of each its ``kind`` (``category``, ``group`` or ``photograph``), ``group`` and ``category`` (a photograph's
        name; of a group ``all``), how many pictures and sources, the mean share of the ``hole``, ``scores`` by method
        (of those that were tried on all its pictures), and what `quality.Comparison` has.
    """
    parts: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        keys = [("category", outcome.category), ("group", "all")]
        keys += [("photograph", outcome.source)] * (outcome.group == "photographs")
        for kind, name in keys:
            parts.setdefault((kind, outcome.group, name), []).append(outcome)
    return [_row(*key, part, seed) for key, part in parts.items()]


def _row(kind: str, group: str, category: str, part: Sequence[Outcome], seed: int) -> dict[str, Any]:
    everywhere = [name for name in part[0].mse if all(name in outcome.mse for outcome in part)]
    return {
        "kind": kind,
        "group": group,
        "category": category,
        "pictures": len(part),
        "sources": len({outcome.source for outcome in part}),
        "hole": float(np.mean([outcome.hole for outcome in part])),
        "scores": {name: asdict(quality.score(part, name)) for name in everywhere},
        **asdict(quality.compare(part, NETWORK, BASELINES, seed)),
    }


def forms(outcomes: Sequence[Outcome], contestants: Mapping[str, Method]) -> list[dict[str, Any]]:
    """The network's other forms against the network in PyTorch, each on the pictures that it was tried on."""
    found = []
    for name in contestants:
        if name in (*BASELINES, NETWORK):
            continue
        for group in ("pages", "photographs"):
            tried = [outcome for outcome in outcomes if outcome.group == group and name in outcome.mse]
            gains = quality.differences(tried, name, NETWORK)
            score = quality.score(tried, name).psnr
            found.append({"method": name, "group": group, "pictures": len(tried), "psnr": score})
            found[-1] |= {"gain": float(np.mean(gains)), "worst": min(gains), "best": max(gains)}
    return found


def goals(
    found: Sequence[Mapping[str, Any]], shapes: Sequence[Mapping[str, Any]], contestants: Mapping[str, Method]
) -> list[dict[str, Any]]:
    """What was to be reached, and whether it was.

    Args:
        found: what `rows` gave.
        shapes: what `forms` gave; the model ``inpaint`` is more than the network, and has no goal.
        contestants: the methods, by name.
    """
    gains = {row["group"]: row["gain"] for row in found if row["kind"] == "group"}
    floors = {"pages": GAIN_ON_PAGES, "photographs": GAIN_ON_PHOTOGRAPHS}
    listed = [
        {"goal": f"{least:.1f} dB over the better baseline on {on}", "found": gains[on], "holds": gains[on] >= least}
        for on, least in floors.items()
    ]
    for shape in shapes:
        if shape["method"] != methods.PAGE:
            title = contestants[shape["method"]].title
            goal = f"{title}: within {LOSS_OF_A_FORM} dB of the network on {shape['group']}"
            listed.append({"goal": goal, "found": shape["gain"], "holds": abs(shape["gain"]) <= LOSS_OF_A_FORM})
    return listed


def evaluate(
    checkpoint: Path, artefacts: Sequence[Path], settings: Path, amount: Amount, threads: int, progress: Progress
) -> tuple[dict[str, Any], Judged]:
    """Run everything.

    Args:
        checkpoint: what `load_generator` takes.
        artefacts: ONNX files of it.
        settings: the training's: its seed and the fonts that were held out.
        amount: how much.
        threads: of every method.
        progress: told how far it is.

    Returns:
        Everything that was found, for `perf.report.write`, and what it was found from.

    Raises:
        EvaluationError: photographs are missing, an artefact is of another checkpoint, or a method is not one.
        InvalidInput: the checkpoint, the settings or the fonts cannot be used.
    """
    trained = training_settings.read(settings)
    held_out = fonts.find(trained.fonts.held_out)
    contestants = methods.find(checkpoint, artefacts, threads)
    total = len(pages.CATEGORIES) * amount.pages + len(subjects.PHOTOGRAPHS) * len(masks.KINDS) * amount.masks
    task = progress.add_task("pages", total=total)

    def cases() -> Iterator[Case]:
        yield from subjects.page_cases(trained.seed, amount.pages, amount.side, held_out)
        yield from subjects.photograph_cases(trained.seed, amount.masks, amount.side, held_out)

    def told(case: Case) -> None:
        progress.update(task, advance=1, description=f"{case.group}, {case.category}")

    judged = judge(cases(), contestants, amount.slow, told)
    file = checkpoint_file(checkpoint)
    document = {
        "benchmark": "quality",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "commit": report.commit(),
        "checkpoint": {"name": checkpoint.resolve().name, "file": file.name, "sha256": sha256(file)},
        "settings": {**asdict(amount), **_settings(trained)},
        **_found(judged.outcomes, contestants, trained.seed),
    }
    return document, judged


def _settings(trained: training_settings.Settings) -> dict[str, Any]:
    return {
        "training_seed": trained.seed,
        "series": trained.seed + subjects.SERIES,
        "fonts": list(trained.fonts.held_out),
        "radius": methods.RADIUS,
        "cap_db": quality.CAP,
        "resamples": quality.RESAMPLES,
        "device": "CPU",
    }


def _found(outcomes: Sequence[Outcome], contestants: Mapping[str, Method], seed: int) -> dict[str, Any]:
    found, shapes = rows(outcomes, seed), forms(outcomes, contestants)
    return {
        "methods": {name: method.title for name, method in contestants.items()},
        "photographs": {name: credit for name, (_, credit) in subjects.PHOTOGRAPHS.items()},
        "goals": rounded(goals(found, shapes, contestants)),
        "rows": rounded(found),
        "forms": rounded(shapes),
        "pictures": [asdict(outcome) for outcome in outcomes],
    }


def rounded(value: Any) -> Any:
    """The same with `DIGITS` digits behind the point, in lists and mappings too."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


def bundled(checkpoint: Path) -> list[Path]:
    """The artefact that this checkout serves, where it is of this checkpoint."""
    artefact = MODEL_REPOSITORY / "lama" / "1" / "model.onnx"
    try:
        methods.describe(artefact, checkpoint)
    except EvaluationError:
        return []
    return [artefact]


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def command(
    checkpoint: Annotated[Path, typer.Option(help="The network.")] = CHECKOUT / "weights" / "lama-mini",
    onnx: Annotated[
        list[Path] | None,
        typer.Option(help="An ONNX file of it; once for each precision. Default: what is bundled, if it is of it."),
    ] = None,
    settings: Annotated[Path, typer.Option(help="The training's settings.")] = CHECKOUT / "training" / "settings.yaml",
    count: Annotated[int, typer.Option("--pages", min=2, help="Pages of every category.")] = 24,
    holes: Annotated[int, typer.Option("--masks", min=1, help="Masks of every kind, for every photograph.")] = 2,
    slow: Annotated[int, typer.Option(min=1, help="Pictures of a category computed in half precision too.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="Threads.", show_default="cores")] = report.cores(),
    quick: Annotated[bool, typer.Option(help="Few and small pictures, to see that it runs.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="perf/results; quick: out/evaluation")
    ] = None,
) -> None:
    """Judge a network's inpainting: OUTPUT/NAME.{json,md,png}, NAME being the checkpoint's."""
    amount = QUICK_AMOUNT if quick else Amount(count, holes, 512, slow)
    folder = output or (CHECKOUT / "out" / "evaluation" if quick else report.RESULTS)
    artefacts = bundled(checkpoint) if onnx is None else onnx
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        document, judged = evaluate(checkpoint, artefacts, settings, amount, threads, progress)
    name = document["checkpoint"]["name"]
    text = markdown(document)
    console.print(Markdown(text))
    files = report.write(document, text, folder, name)
    headings = ("input", "hole", *(document["methods"][method] for method in (*BASELINES, NETWORK)), "truth")
    picture = folder / f"{name}.png"
    sheet.save(sheet.draw(headings, judged.lines), picture)
    for file in (*files, picture):
        console.print(f"wrote {file}", soft_wrap=True)
    missed = [goal for goal in document["goals"] if not goal["holds"]]
    if missed:
        raise EvaluationError("Not reached: " + "; ".join(f"{g['goal']} (found: {g['found']:+.2f} dB)" for g in missed))


def main() -> None:
    """Run the command line; every failure that was foreseen is one line on stderr."""
    try:
        app()
    except (EvaluationError, InvalidInput) as error:
        print(f"evaluate: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"evaluate: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
