"""Does an artefact compute what the checkpoint computes? The same arrays through both, at sizes not traced with."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich import box
from rich.table import Table

from atelier.matting.checkpoint import Checkpoint
from export.errors import ExportError
from export.gvm.graphs import ENCODER, UNET, Graph, Precision, Run, Tensors


@dataclass(frozen=True)
class Tolerance:
    """What counts as equal, as a share of the reference's root mean square.

    Attributes:
        max: largest difference of a value.
        rms: root of the mean squared difference.
    """

    max: float
    rms: float


TOLERANCE: dict[Precision, Tolerance] = {
    # Another order of summation: 2e-6 to 3e-5 seen.
    "fp32": Tolerance(1e-3, 1e-4),
    # Ten bits of mantissa through some hundred layers.
    "fp16": Tolerance(0.2, 0.02),
}


@dataclass(frozen=True)
class Difference:
    """An artefact against its checkpoint on one case.

    Attributes:
        model: the artefact's.
        case: its shapes, to read.
        max: largest difference of a value, as a share of the reference's root mean square.
        rms: root of the mean squared difference, likewise.
        finite: whether every value is a number.
    """

    model: str
    case: str
    max: float
    rms: float
    finite: bool

    def fits(self, tolerance: Tolerance) -> bool:
        """Whether it is within the tolerance."""
        return self.finite and self.max <= tolerance.max and self.rms <= tolerance.rms


def cases(graph: Graph) -> Iterator[tuple[str, Tensors]]:
    """Inputs of several sizes, none of them the traced one, all random but for the seed.

    None is so small that its lowest level has one pixel: normalised over so few values, rounding grows a hundredfold.
    """
    random = np.random.default_rng(7)

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    if graph is UNET:
        for batch, frames, height, width, timestep in (
            (1, 1, 16, 24, 999.0),
            (1, 5, 28, 16, 999.0),
            (3, 4, 16, 16, 650.5),
        ):
            time = np.array([timestep], np.float32)
            yield (
                f"{batch} × {frames} × {height} × {width}, t {timestep:g}",
                {
                    "SAMPLE": noise(batch, frames, 8, height, width),
                    "TIMESTEP": time,
                },
            )
    elif graph is ENCODER:
        for frames, height, width in ((1, 64, 96), (3, 160, 96)):
            yield f"{frames} × {height} × {width}", {"FRAMES": np.tanh(noise(frames, 3, height, width))}
    else:
        for frames, height, width in ((1, 12, 16), (5, 20, 12)):
            yield f"{frames} × {height} × {width}", {"LATENTS": noise(frames, 4, height, width)}


def reference(graph: Graph, checkpoint: Checkpoint) -> list[np.ndarray]:
    """What the checkpoint's own network answers, in float32; taken before the export, which moves it."""
    network = graph.network(checkpoint)
    with torch.inference_mode():
        return [network(*map(torch.from_numpy, tensors.values())).numpy() for _, tensors in cases(graph)]


def compare(graph: Graph, expected: Sequence[np.ndarray], run: Run) -> list[Difference]:
    """The same arrays through the artefact."""
    found = []
    for (case, tensors), wanted in zip(cases(graph), expected, strict=True):
        answer = run(tensors)
        scale = float(np.sqrt(np.square(wanted).mean())) or 1.0
        difference = np.abs(answer.astype(np.float64) - wanted) / scale
        finite = bool(np.isfinite(answer).all())
        largest, rms = float(difference.max()), float(np.sqrt(np.square(difference).mean()))
        found.append(Difference(graph.model, case, largest, rms, finite))
    return found


def refuse(differences: Sequence[Difference], tolerance: Tolerance) -> None:
    """Stop an artefact that is another network.

    Raises:
        ExportError: a difference is beyond the tolerance.
    """
    if wrong := [difference for difference in differences if not difference.fits(tolerance)]:
        first = wrong[0]
        raise ExportError(
            f"{first.model} is not the checkpoint's network: on {first.case} it differs by {first.max:.2g} (at most "
            f"{tolerance.max:g}) and {first.rms:.2g} on average (at most {tolerance.rms:g})."
        )


def table(differences: Sequence[Difference], tolerance: Tolerance) -> Table:
    """The differences, to be printed."""
    title = "Artefact against checkpoint: shares of the reference's root mean square"
    view = Table(title=title, box=box.SIMPLE, padding=(0, 1), pad_edge=False)
    for heading in ("model", "case"):
        view.add_column(heading)
    for heading in ("max", "rms", ""):
        view.add_column(heading, justify="right", no_wrap=True)
    for entry in differences:
        verdict = "ok" if entry.fits(tolerance) else "FAILS"
        view.add_row(entry.model, entry.case, f"{entry.max:.1e}", f"{entry.rms:.1e}", verdict)
    return view


def as_json(differences: Sequence[Difference], tolerance: Tolerance) -> dict[str, object]:
    """The differences, for an artefact's description."""
    return {"tolerance": asdict(tolerance), "cases": [asdict(entry) for entry in differences]}
