"""The commands, and what they share: one line on stderr for everything that fails.

Exit status: 0, 1 where the work failed, 2 for wrong usage.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import typer

from atelier import __version__
from atelier.cli import composite, generate, inpaint, lint, matte, pull, serve, status, weights
from atelier.cli.evaluate import commands
from atelier.client.errors import AtelierError
from atelier.errors import InvalidInput

# Plain help: it stays readable in logs and in narrow terminals.
app = typer.Typer(
    name="atelier",
    help="Picture and video models on Triton Inference Server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atelier {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_say_version, is_eager=True, help="Print the version."),
) -> None:
    """Picture and video models on Triton Inference Server."""


def one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Every error that has a sentence becomes one line on stderr and exit status 1."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except typer.Exit:  # which is a RuntimeError: what there is to say is said
            raise
        except (AtelierError, InvalidInput, RuntimeError, OSError) as error:
            sys.stderr.write(f"atelier: {' '.join(str(error).split())}\n")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return run


for module in (serve, status, lint, inpaint, matte, generate, composite):
    app.command(module.__name__.rpartition(".")[2])(one_line(module.command))

stored = typer.Typer(
    help="Weights and adapters: what is there, whether it is whole, and downloads.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
stored.command("list")(one_line(weights.list_command))
stored.command("check")(one_line(weights.check_command))
stored.command("pull")(one_line(pull.pull_command))
app.add_typer(stored, name="weights")

evaluate = typer.Typer(
    help="Did the LoRA help? Videos or pictures in pairs: measured, compared, shown on a page.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for name in ("run", "videos", "images", "report"):
    evaluate.command(name)(one_line(getattr(commands, name)))
app.add_typer(evaluate, name="evaluate")
