"""``atelier inpaint``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from atelier.cli.places import require_writable, write_facts
from atelier.client import Client
from atelier.client.pipelines import DEFAULT_TIMEOUT, format_of


def command(
    image: Annotated[Path, typer.Argument(help="Picture: PNG, JPEG or WebP.", show_default=False)],
    mask: Annotated[Path, typer.Argument(help="Mask of the same size; not black = remove.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write the result; its ending chooses the format.")
    ],
    url: Annotated[
        str, typer.Option(help="Server: host:port speaks gRPC, http://host:port speaks HTTP.", envvar="ATELIER_URL")
    ] = "localhost:8001",
    strategy: Annotated[
        str | None, typer.Option(help="regions or page. Default here and below: the server's setting.")
    ] = None,
    margin: Annotated[int | None, typer.Option(help="Pixels of context around a part, 0 to 1024.")] = None,
    feather: Annotated[
        int | None, typer.Option(help="Pixels over which the paste fades in inside the hole, 0 to 64.")
    ] = None,
    fill_flat: Annotated[
        bool | None,
        typer.Option("--fill-flat/--no-fill-flat", help="Fill parts on flat ground without the network."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write the server's report (JSON) to this file.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until the call is given up.")] = DEFAULT_TIMEOUT,
) -> None:
    """Remove what MASK covers from IMAGE."""
    kind = format_of(output)
    require_writable(output, report)
    options = {"strategy": strategy, "margin": margin, "feather": feather, "fill_flat": fill_flat, "format": kind}
    with Client(url, timeout=timeout) as client, Console(stderr=True).status(f"Inpainting {image.name} …"):
        result = client.inpaint(image, mask, **options)
    result.save(output)
    write_facts(report, result.report)
    for warning in result.report["warnings"]:
        sys.stderr.write(f"{warning}\n")
    seconds = sum(result.report["seconds"].values())
    tiles, flat = len(result.report["tiles"]), result.report["flat_parts"]
    typer.echo(f"{output}: {tiles} tile(s), {flat} flat part(s), {seconds:.2f} s on the server")
