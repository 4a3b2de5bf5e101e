"""Does the artefact paint what the checkpoint paints? The same pictures through both, and the differences."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich import box
from rich.table import Table

from atelier.inpainting.generator import LamaGenerator
from export.errors import ExportError
from export.lama.fused import FusedGenerator, Precision
from export.lama.pictures import Case
from export.lama.targets import Run

# Largest difference of the float32 prediction between correct float32 variants (another order of summation, batch
# normalisation folded, the transform as matrix products): 3.4e-6 on the golden networks, 1.2e-5 at big-lama's size.
FLOAT_ATOL = 2e-5


@dataclass(frozen=True)
class Tolerance:
    """What counts as equal, among the values (pixels times channels) inside the hole.

    Attributes:
        max_levels: Largest difference of one value, in levels of 255; in every case.
        max_share: Largest share of values that may differ at all; over all cases, since one value of a small hole is
            a large share of it.
        min_psnr: Smallest peak signal-to-noise ratio, in dB; over all cases.
    """

    max_levels: int
    max_share: float
    min_psnr: float


TOLERANCE: dict[Precision, Tolerance] = {
    # Truncation turns a difference of 1e-6 into a level where it crosses a whole number: 60 values of a million seen.
    # One level on a thousandth of the values is 78 dB.
    "fp32": Tolerance(max_levels=1, max_share=1e-3, min_psnr=75.0),
    # Rounding alone gives 53 to 65 dB and up to 3 levels, from tiny networks to big-lama's size; truncation shifts
    # any share of the values by one. An overflow, which it must catch, is NaN and painted black.
    "fp16": Tolerance(max_levels=6, max_share=1.0, min_psnr=50.0),
}


@dataclass(frozen=True)
class Difference:
    """An artefact against its checkpoint on one case, in levels of 255, over the values inside the hole.

    Attributes:
        case: The case's name.
        values: How many values are compared.
        max_levels: Largest difference.
        rmse: Root of the mean squared difference.
        psnr: Peak signal-to-noise ratio in dB; None where nothing differs.
        share: Share of values that differ.
        known_identical: Every byte outside the hole is the input's.
        finite: The network's own output, in the artefact's precision, is finite.
        black: The artefact paints the hole black where the checkpoint does not.
    """

    case: str
    values: int
    max_levels: int
    rmse: float
    psnr: float | None
    share: float
    known_identical: bool
    finite: bool
    black: bool

    def violations(self, tolerance: Tolerance) -> list[str]:
        """What is not as it should be in a single case, in words."""
        wrong = []
        if not self.finite:
            wrong.append("the network's output is not finite")
        if self.black:
            wrong.append("the hole is painted black")
        if not self.known_identical:
            wrong.append("pixels outside the hole are changed")
        if self.max_levels > tolerance.max_levels:
            wrong.append(f"a value differs by {self.max_levels} levels (accepted: {tolerance.max_levels})")
        return wrong

    def excesses(self, tolerance: Tolerance) -> list[str]:
        """What is not as it should be in all cases together (see `pooled`), in words."""
        wrong = []
        if self.share > tolerance.max_share:
            wrong.append(f"{self.share:.2%} of the values differ (accepted: {tolerance.max_share:.2%})")
        if self.psnr is not None and self.psnr < tolerance.min_psnr:
            wrong.append(f"PSNR is {self.psnr:.1f} dB (accepted: {tolerance.min_psnr} dB)")
        return wrong


def pooled(differences: Sequence[Difference]) -> Difference:
    """All cases as one."""
    values = sum(entry.values for entry in differences)
    rmse = math.sqrt(sum(entry.values * entry.rmse**2 for entry in differences) / max(values, 1))
    return Difference(
        case="all",
        values=values,
        max_levels=max((entry.max_levels for entry in differences), default=0),
        rmse=rmse,
        psnr=_psnr(rmse),
        share=sum(entry.values * entry.share for entry in differences) / max(values, 1),
        known_identical=all(entry.known_identical for entry in differences),
        finite=all(entry.finite for entry in differences),
        black=any(entry.black for entry in differences),
    )


def _psnr(rmse: float) -> float | None:
    return 20 * math.log10(255 / rmse) if rmse else None


def reference(generator: LamaGenerator, case: Case) -> np.ndarray:
    """The checkpoint's own answer: float32, as upstream cuts it to bytes; uint8 N x H x W x 3."""
    image = torch.from_numpy(case.image).permute(0, 3, 1, 2).float() / 255
    mask = (torch.from_numpy(case.mask) > 0).float().unsqueeze(1)
    with torch.inference_mode():
        levels = (generator(image, mask) * 255).clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).numpy()


def is_finite(network: FusedGenerator, case: Case) -> bool:
    """Whether the network, in its precision, stays finite on this case.

    In PyTorch, because ONNX Runtime's CPU provider computes a half-precision graph in float32 and cannot overflow, and
    because NaN is gone once it is a byte.
    """
    image = torch.from_numpy(case.image).float() / 255
    mask = (torch.from_numpy(case.mask) > 0).float().unsqueeze(3)
    with torch.inference_mode():
        predicted = network(torch.cat([image * (1 - mask), mask], dim=3).permute(0, 3, 1, 2))
    return bool(torch.isfinite(predicted).all())


def compare(case: Case, expected: np.ndarray, found: np.ndarray, finite: bool) -> Difference:
    """Differences of one case; ``expected`` and ``found`` are uint8 N x H x W x 3."""
    if found.shape != expected.shape or found.dtype != np.uint8:
        raise ExportError(
            f"The artefact answers {found.dtype} {list(found.shape)} to {case.name}, not {list(expected.shape)}."
        )
    hole = case.mask > 0
    gap = np.abs(found[hole].astype(np.int16) - expected[hole])
    rmse = math.sqrt(float(np.mean(np.square(gap, dtype=np.float64)))) if gap.size else 0.0
    return Difference(
        case=case.name,
        values=gap.size,
        max_levels=int(gap.max(initial=0)),
        rmse=rmse,
        psnr=_psnr(rmse),
        share=float(np.mean(gap > 0)) if gap.size else 0.0,
        known_identical=bool(np.array_equal(found[~hole], case.image[~hole])),
        finite=finite,
        black=bool(gap.size and not found[hole].any() and expected[hole].any()),
    )


def verify(
    run: Run,
    generator: LamaGenerator,
    precision: Precision,
    pictures: Iterable[Case],
    progress: Callable[[str], None] = lambda _: None,
) -> list[Difference]:
    """Run an artefact and its checkpoint on the same pictures.

    Args:
        run: The artefact.
        generator: The checkpoint's network.
        precision: The artefact's precision.
        pictures: What to run on.
        progress: Told the name of each case before it runs.

    Returns:
        One entry a case.
    """
    network = FusedGenerator(generator, "matmul", precision)
    differences = []
    for case in pictures:
        progress(case.name)
        finite = is_finite(network, case)
        differences.append(compare(case, reference(generator, case), run(case.image, case.mask), finite))
    return differences


def refuse_differences(differences: Sequence[Difference], tolerance: Tolerance) -> None:
    """Raise `ExportError`, naming the first thing that is out of tolerance."""
    found = [(f"on {entry.case}", entry.violations(tolerance)) for entry in differences]
    found.append(("over all cases", pooled(differences).excesses(tolerance)))
    wrong = [(where, sentences) for where, sentences in found if sentences]
    if wrong:
        where, sentences = wrong[0]
        raise ExportError(
            f"The artefact is not the checkpoint's network, and was not kept: {where}, {', '.join(sentences)}"
            + (f"; and more, in {len(wrong) - 1} other place(s)." if len(wrong) > 1 else ".")
        )


def table(differences: Sequence[Difference], tolerance: Tolerance) -> Table:
    """The differences, to be printed."""
    title = "Artefact against checkpoint: levels of 255 inside the hole, PSNR in dB"
    view = Table(title=title, box=box.SIMPLE, padding=(0, 1), pad_edge=False)
    view.add_column("case")
    for heading in ("max", "rmse", "PSNR", "differ"):
        view.add_column(heading, justify="right", no_wrap=True)
    for heading in ("known", "finite", ""):
        view.add_column(heading, no_wrap=True)
    total = pooled(differences)
    for entry in [*differences, total]:
        wrong = entry.violations(tolerance) or (entry is total and entry.excesses(tolerance))
        view.add_row(
            entry.case,
            str(entry.max_levels),
            f"{entry.rmse:.4f}",
            "equal" if entry.psnr is None else f"{entry.psnr:.1f}",
            f"{entry.share:.3%}",
            "same" if entry.known_identical else "CHANGED",
            "yes" if entry.finite else "NO",
            "FAILS" if wrong else "ok",
            end_section=entry is differences[-1],
        )
    return view


def as_json(differences: Sequence[Difference], tolerance: Tolerance) -> dict[str, object]:
    """The differences, for the artefact's description."""
    return {
        "tolerance": asdict(tolerance),
        "all": asdict(pooled(differences)),
        "cases": [asdict(entry) for entry in differences],
    }
