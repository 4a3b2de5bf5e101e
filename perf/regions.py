"""The two strategies of ``inpaint``: the network on tiles around the mask's parts, or on the whole page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from atelier.client import Client
from atelier.serving import checkout
from perf import report
from perf.measure import PAUSE, interleave, ratios, summarise
from perf.servers import served
from training import fonts, pages, quality
from training import settings as training_settings
from training.subjects import SERIES

_TRAINING = checkout.root() / "training" / "settings.yaml"
PAGE, REGIONS = "page", "regions"
STRATEGIES = (PAGE, REGIONS)
SLACK = 0.25  # of a share: a page counts for it that misses it by no more


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        side: pixels of the square pages.
        shares: of a page that is masked.
        pages: of every share.
        rounds: timed calls of each strategy on each page.
        fill_flat: whether parts on flat ground are filled without the network (`regions`); the server's default is yes.
        seed: of the pages.
    """

    side: int = 1536
    shares: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3)
    pages: int = 4
    rounds: int = 3
    fill_flat: bool = True
    seed: int = 20


def measure(settings: Settings, progress: Progress) -> dict[str, Any]:
    """Serve the bundled network and inpaint pages in both ways.

    Raises:
        InvalidInput: the fonts of the pages are not installed.
        LaunchError: the server did not come up.
    """
    facts = report.machine()
    task = progress.add_task("drawing pages", total=None)
    chosen = list(_pages(settings))
    found: list[dict[str, Any]] = []
    repository = checkout.root() / "model_repository"
    progress.update(task, description="starting Triton", total=len(chosen))
    with served(repository, ("inpaint",)) as server, Client(server.grpc_url) as client:
        release = client.status().version
        for share, sample in chosen:
            progress.update(task, description=f"{share:.0%} masked, {sample.category}")
            found.append({"share": share, **_page(client, sample, settings)})
            progress.advance(task)
    return {
        "benchmark": "regions",
        "machine": facts,
        "versions": report.versions(release),
        "commit": report.commit(),
        "settings": {**asdict(settings), "pause_seconds": PAUSE, "device": "CPU"},
        "pages": found,
    }


def _pages(settings: Settings) -> Iterator[tuple[float, pages.Sample]]:
    """Pages of the evaluation's series, lettered in fonts that were not trained on, by their masks' shares."""
    held_out = fonts.find(training_settings.read(_TRAINING).fonts.held_out)
    wanted = dict.fromkeys(settings.shares, settings.pages)
    number = 0
    while any(wanted.values()):
        sample = pages.draw(settings.seed + SERIES, number, settings.side, settings.side, held_out)
        number += 1
        masked = float((sample.mask > 0).mean())
        near = [share for share in wanted if wanted[share] and abs(masked - share) <= SLACK * share]
        if near:
            wanted[near[0]] -= 1
            yield near[0], sample


def _page(client: Client, sample: pages.Sample, settings: Settings) -> dict[str, Any]:
    """Seconds and PSNR of one page, by strategy."""
    files = [cv2.imencode(".png", array)[1].tobytes() for array in (sample.picture[..., ::-1], sample.mask)]
    calls = {name: partial(client.inpaint, *files, strategy=name) for name in STRATEGIES}
    calls[REGIONS] = partial(calls[REGIONS], fill_flat=settings.fill_flat)
    results = {name: call() for name, call in calls.items()}
    timings = interleave(calls, rounds=settings.rounds, warm_up=0, seed=settings.seed)
    return {
        "category": sample.category,
        "masked": round(float((sample.mask > 0).mean()), 4),
        "tiles": len(results[REGIONS].report["tiles"]),
        "psnr": {name: round(_psnr(result.image, sample), 3) for name, result in results.items()},
        "seconds": {name: [round(value, 5) for value in values] for name, values in timings.seconds.items()},
    }


def _psnr(image: NDArray[np.uint8], sample: pages.Sample) -> float:
    hole = sample.mask > 0
    difference = image[hole].astype(np.float64) - sample.truth[hole]
    return min(quality.CAP, quality.psnr(float(np.square(difference).mean())))


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What the pages of one share come to: median seconds, the median ratio, mean PSNRs and their mean difference."""
    quotients = [q for page in found for q in ratios(page["seconds"][PAGE], page["seconds"][REGIONS])]
    gains = [page["psnr"][REGIONS] - page["psnr"][PAGE] for page in found]
    return {
        **{name: summarise([s for page in found for s in page["seconds"][name]]).median for name in STRATEGIES},
        "faster": summarise(quotients).median,
        "psnr_page": float(np.mean([page["psnr"][PAGE] for page in found])),
        "psnr_regions": float(np.mean([page["psnr"][REGIONS] for page in found])),
        "gain": float(np.mean(gains)),
        "worst": min(gains),
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The result to read."""
    settings, facts = document["settings"], document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    flat = "without the network, as is the default" if settings["fill_flat"] else "by the network too"
    rows = []
    for share in settings["shares"]:
        part = [page for page in document["pages"] if page["share"] == share]
        figures = summary(part)
        tiles = np.mean([page["tiles"] for page in part])
        seconds = [f"{figures[name]:.2f}" for name in STRATEGIES]
        psnr = [f"{figures[name]:.2f}" for name in ("psnr_page", "psnr_regions")]
        gains = [f"{figures[name]:+.2f}" for name in ("gain", "worst")]
        rows.append(
            [f"{share:.0%}", str(len(part)), f"{tiles:.1f}", *seconds, f"{figures['faster']:.2f}", *psnr, *gains]
        )
    headings = ["masked", "pages", "tiles", "page, s", "regions, s", "times faster", "page, dB", "regions, dB"]
    where = f"on {report.describe(facts)}; load average at the start {facts['load_average_at_start']}. {versions}."
    lines = [
        "# Regions against the whole page: `inpaint`",
        f"`python -m perf regions --side {settings['side']}`, commit {document['commit']}, {where}",
        f"Drawn pages of {settings['side']} × {settings['side']} with lama-mini, {settings['rounds']} timed calls of "
        "each strategy on each page, in turn, over gRPC, encoded pictures in and out. Parts on flat ground are filled "
        f"{flat}. PSNR is inside the hole. *Gain* is regions minus page: its mean, and its worst page.",
        report.table([*headings, "gain, dB", "worst"], rows),
    ]
    return "\n\n".join(lines) + "\n"
