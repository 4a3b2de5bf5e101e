"""The demo: a real Triton, the sample pictures, and one picture that shows what happened.

Run by ``make demo``; ``python -m clients.demo [OUTPUT]`` writes to ``out/demo`` unless told otherwise.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from atelier.client import AtelierError, Client, InpaintResult
from atelier.errors import InvalidInput
from atelier.serving import checkout
from atelier.serving.launcher import LaunchError, Server
from atelier.serving.options import ServerOptions
from atelier.serving.ports import free_ports

PANEL_HEIGHT = 420
MARGIN = 16
CAPTION = 44
INPAINTED = ("input", "mask", "inpainted by Triton")
COMPOSED = ("scene", "object", "set in by Triton")

SCENE, OBJECT = "meadow.jpg", "beanbag.png"
POINT, SCALE = (430, 560), 0.45
"""Where the middle of the object's lower edge stands, pixels of the scene, and its height as a share of the scene's."""


@dataclass(frozen=True)
class Row:
    """What stands side by side: what went in, and what came back.

    Attributes:
        titles: of the panels.
        panels: three pictures.
    """

    titles: tuple[str, str, str]
    panels: Sequence[Image.Image]


def main(arguments: list[str]) -> int:
    """Run the demo; the exit status is 0 where every sample was worked on."""
    console = Console()
    output = Path(arguments[0]) if arguments else checkout.root() / "out" / "demo"
    started = time.perf_counter()
    try:
        output.mkdir(parents=True, exist_ok=True)
        rows, synthetic = _work(output, console)
    except (AtelierError, InvalidInput, LaunchError, OSError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    sheet = output / "demo.png"
    _contact_sheet(rows, synthetic).save(sheet)
    console.print(f"Done in {time.perf_counter() - started:.1f} s. Look at {sheet}", soft_wrap=True)
    if synthetic:
        console.print(
            "The bundled network has random weights: this shows that everything works, not what LaMa can do. "
            "With your own checkpoint: .venv/bin/python -m export lama --checkpoint PATH",
            soft_wrap=True,
        )
    return 0


def _work(output: Path, console: Console) -> tuple[list[Row], bool]:
    """Start a server on free ports, work on the pictures of ``samples/``, stop the server.

    Returns:
        The rows to be shown, and whether the inpainting network has random weights.
    """
    http, grpc, metrics = free_ports(3)  # the demo runs beside a server that is already there
    options = ServerOptions(
        repositories=checkout.default_repositories(),
        models=("inpaint", "composite"),
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
    )
    with console.status("Starting Triton …"), Server(options) as server:
        server.require_ready()
        console.print(f"Triton is ready: {server.http_url} (HTTP), {server.grpc_url} (gRPC)")
        with Client(server.grpc_url) as client:
            rows, synthetic = _inpaint_samples(client, output, console)
            rows.append(_compose(client, output, console))
    return rows, synthetic


def _inpaint_samples(client: Client, output: Path, console: Console) -> tuple[list[Row], bool]:
    rows, synthetic = [], False
    for mask in sorted((checkout.root() / "samples").glob("*.mask.png")):
        name = mask.name.removesuffix(".mask.png")
        picture = next(p for p in sorted(mask.parent.glob(f"{name}.*")) if p != mask)
        result = client.inpaint(picture, mask)
        result.save(output / f"{name}.png")
        _write(output / f"{name}.json", result.report)
        tiles, flat = len(result.report["tiles"]), result.report["flat_parts"]
        seconds = sum(result.report["seconds"].values())
        console.print(f"  {picture.name}: {tiles} tile(s), {flat} flat part(s), {seconds:.2f} s")
        rows.append(Row(INPAINTED, _panels(picture, mask, result)))
        synthetic |= bool(result.report["model"].get("synthetic"))
    return rows, synthetic


def _compose(client: Client, output: Path, console: Console) -> Row:
    """An object of one picture in another, without weights."""
    scene, thing = (checkout.root() / "samples" / name for name in (SCENE, OBJECT))
    result = client.composite(scene, thing, point=POINT, scale=SCALE)
    result.save(output / "composite.png")
    _write(output / "composite.json", result.report)
    seconds = sum(value for steps in result.report["seconds"].values() for value in steps.values())
    console.print(f"  {OBJECT} in {SCENE}: {result.analysis} {seconds:.2f} s")
    return Row(COMPOSED, [Image.open(scene).convert("RGB"), _on_white(thing), Image.fromarray(result.image)])


def _write(file: Path, report: dict[str, Any]) -> None:
    file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _on_white(thing: Path) -> Image.Image:
    picture = Image.open(thing)
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def _contact_sheet(rows: list[Row], synthetic: bool) -> Image.Image:
    """The rows below each other, with titles where they change."""
    fitted = [(row.titles, [_fit(panel) for panel in row.panels]) for row in rows]
    widths = [max(panels[column].width for _, panels in fitted) for column in range(3)]
    titled = [i for i, row in enumerate(rows) if i == 0 or row.titles != rows[i - 1].titles]
    height = MARGIN + sum(max(panel.height for panel in panels) + MARGIN for _, panels in fitted)
    height += CAPTION * (len(titled) + synthetic)
    sheet = Image.new("RGB", (sum(widths) + 4 * MARGIN, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    top, lefts = 0, [MARGIN * (i + 1) + sum(widths[:i]) for i in range(3)]
    for number, (titles, panels) in enumerate(fitted):
        if number in titled:
            for left, title in zip(lefts, titles, strict=True):
                draw.text((left, top + MARGIN - 2), title, fill="black", font=font)
            top += CAPTION
        for left, panel in zip(lefts, panels, strict=True):
            sheet.paste(panel, (left, top))
        top += max(panel.height for panel in panels) + MARGIN
    if synthetic:
        note = "SYNTHETIC CHECKPOINT: random weights, so the filled-in colours mean nothing"
        draw.text((MARGIN, top), note, fill=(190, 30, 30), font=font)
    return sheet


def _panels(picture: Path, mask: Path, result: InpaintResult) -> list[Image.Image]:
    """Input, mask over input, and result."""
    shown = Image.open(picture).convert("RGB")
    hole = np.asarray(Image.open(mask).convert("L")) > 0
    marked = np.asarray(shown).copy()
    marked[hole] = marked[hole] // 4 + np.array([190, 20, 60], np.uint8)
    return [shown, Image.fromarray(marked), Image.fromarray(result.image).convert("RGB")]


def _fit(panel: Image.Image) -> Image.Image:
    scale = min(1.0, PANEL_HEIGHT / panel.height)
    return panel.resize((round(panel.width * scale), round(panel.height * scale)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
