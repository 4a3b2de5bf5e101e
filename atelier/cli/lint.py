"""``atelier lint``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atelier.serving import checkout
from atelier.serving.lint import lint


def command(
    repository: Annotated[
        list[Path] | None,
        typer.Option(help="Model repository; may repeat. Default: model_repository and ensembles of the checkout."),
    ] = None,
) -> None:
    """Check the model repositories: configurations that run on both servers, adapters that stay thin."""
    repositories = tuple(repository) if repository else checkout.default_repositories()
    findings = lint(repositories)
    for finding in findings:
        typer.echo(str(finding))
    if findings:
        raise typer.Exit(1)
    typer.echo(f"No findings in {', '.join(folder.name for folder in repositories)}.")
