"""The demo: a real Triton, the sample pictures, and one picture that shows what happened.

Run by ``make demo``; ``python -m clients.demo [OUTPUT]`` writes to ``out/demo`` unless told otherwise.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from atelier.client import AtelierError, Client, InpaintResult
from atelier.errors import InvalidInput
from atelier.serving import checkout
from atelier.serving.launcher import LaunchError, Server
from atelier.serving.options import ServerOptions, free_ports

PANEL_HEIGHT = 420
MARGIN = 16
CAPTION = 44


@dataclass(frozen=True)
class Sample:
    """A picture, its mask, and what came back."""

    picture: Path
    mask: Path
    result: InpaintResult


def main(arguments: list[str]) -> int:
    """Run the demo; the exit status is 0 where every sample was inpainted."""
    console = Console()
    output = Path(arguments[0]) if arguments else checkout.root() / "out" / "demo"
    started = time.perf_counter()
    try:
        output.mkdir(parents=True, exist_ok=True)
        samples = _inpaint_samples(output, console)
    except (AtelierError, InvalidInput, LaunchError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    sheet = output / "demo.png"
    _contact_sheet(samples).save(sheet)
    console.print(f"Done in {time.perf_counter() - started:.1f} s. Look at {sheet}", soft_wrap=True)
    if _is_synthetic(samples):
        console.print(
            "The bundled network has random weights: this shows that everything works, not what LaMa can do. "
            "With your own checkpoint: .venv/bin/python -m export lama --checkpoint PATH",
            soft_wrap=True,
        )
    return 0


def _inpaint_samples(output: Path, console: Console) -> list[Sample]:
    """Start a server on free ports, inpaint every picture of ``samples/``, stop the server."""
    http, grpc, metrics = free_ports(3)  # the demo runs beside a server that is already there
    options = ServerOptions(
        repositories=checkout.default_repositories(),
        models=("inpaint",),
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
    )
    samples: list[Sample] = []
    with console.status("Starting Triton …"), Server(options) as server:
        server.require_ready()
        console.print(f"Triton is ready: {server.http_url} (HTTP), {server.grpc_url} (gRPC)")
        with Client(server.grpc_url) as client:
            for mask in sorted((checkout.root() / "samples").glob("*.mask.png")):
                name = mask.name.removesuffix(".mask.png")
                picture = next(p for p in sorted(mask.parent.glob(f"{name}.*")) if p != mask)
                result = client.inpaint(picture, mask)
                result.save(output / f"{name}.png")
                (output / f"{name}.json").write_text(json.dumps(result.report, indent=2) + "\n", encoding="utf-8")
                tiles, flat = len(result.report["tiles"]), result.report["flat_parts"]
                seconds = sum(result.report["seconds"].values())
                console.print(f"  {picture.name}: {tiles} tile(s), {flat} flat part(s), {seconds:.2f} s")
                samples.append(Sample(picture, mask, result))
    return samples


def _is_synthetic(samples: list[Sample]) -> bool:
    return any(sample.result.report["model"].get("synthetic") for sample in samples)


def _contact_sheet(samples: list[Sample]) -> Image.Image:
    """Input, mask over input, and result of every sample, a row each."""
    rows = [[_fit(panel) for panel in _panels(sample)] for sample in samples]
    widths = [max(row[column].width for row in rows) for column in range(3)]
    height = CAPTION + sum(max(panel.height for panel in row) + MARGIN for row in rows) + MARGIN
    sheet = Image.new("RGB", (sum(widths) + 4 * MARGIN, height + (CAPTION if _is_synthetic(samples) else 0)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(20)
    top, lefts = CAPTION, [MARGIN * (i + 1) + sum(widths[:i]) for i in range(3)]
    for left, title in zip(lefts, ("input", "mask", "inpainted by Triton"), strict=True):
        draw.text((left, MARGIN - 2), title, fill="black", font=font)
    for row in rows:
        for left, panel in zip(lefts, row, strict=True):
            sheet.paste(panel, (left, top))
        top += max(panel.height for panel in row) + MARGIN
    if _is_synthetic(samples):
        note = "SYNTHETIC CHECKPOINT: random weights, so the filled-in colours mean nothing"
        draw.text((MARGIN, top), note, fill=(190, 30, 30), font=font)
    return sheet


def _panels(sample: Sample) -> list[Image.Image]:
    picture = Image.open(sample.picture).convert("RGB")
    hole = np.asarray(Image.open(sample.mask).convert("L")) > 0
    marked = np.asarray(picture).copy()
    marked[hole] = marked[hole] // 4 + np.array([190, 20, 60], np.uint8)
    return [picture, Image.fromarray(marked), Image.fromarray(sample.result.image).convert("RGB")]


def _fit(panel: Image.Image) -> Image.Image:
    scale = min(1.0, PANEL_HEIGHT / panel.height)
    return panel.resize((round(panel.width * scale), round(panel.height * scale)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
