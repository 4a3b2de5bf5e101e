"""The command line, ``atelier``."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point; the command line's own packages are an extra, so that a client stays small."""
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        sys.exit("The command line needs the extra 'cli' (or 'serve', for the server): pip install 'atelier[serve]'.")
    from atelier.cli.app import app

    app()
