"""``python -m training``: train a small LaMa, and publish it.

Exit status: 0 (finished, or stopped by a signal with everything saved), 1 (the work failed), 2 (usage or settings);
one line on stderr says why.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from atelier.errors import InvalidInput

_FOLDER = Path(__file__).resolve().parent
_RUN = Path("out/training/lama-mini")

app = typer.Typer(
    name="python -m training",
    help="Train a small LaMa on pages that are drawn by code.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def train(
    context: typer.Context,
    settings: Annotated[
        Path, typer.Option(help="The settings, as YAML.", show_default="training/settings.yaml")
    ] = _FOLDER / "settings.yaml",
    output: Annotated[Path, typer.Option(help="The run's folder.")] = _RUN,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on with the run that stands there, or delete it.")
    ] = True,
) -> None:
    """Train: OUTPUT/{state.pt,log.jsonl,curve.png,samples,weights}. Ctrl-C saves and stops; once more, it goes on."""
    if context.invoked_subcommand is not None:
        return
    from training import loop  # PyTorch, which --help need not wait for
    from training.display import Display
    from training.settings import read

    wanted = read(settings)
    console = Console()
    with Display(console).shown() as display:
        outcome = loop.train(wanted, output, display, fresh=not resume)
    if outcome.finished:
        sentence = f"All {outcome.step} steps are done; the weights are in {outcome.weights}."
    else:
        sentence = f"Stopped and saved after step {outcome.step} of {wanted.total_steps}; the same command goes on."
    console.print(sentence, highlight=False, soft_wrap=True)


@app.command()
def publish(
    run: Annotated[Path, typer.Option(help="The run's folder.")] = _RUN,
    output: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("weights/lama-mini"),
) -> None:
    """Write a run's weights in upstream's layout: config.yaml, models/best.ckpt; and training.json."""
    from training import publish as publishing

    Console().print(f"{publishing.publish(run, output)} is written.", highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; every failure that was foreseen is one line on stderr."""
    status = 1
    try:
        app()
    except InvalidInput as error:
        # Imported late for the sake of --help; by now it is there.
        from training.settings import SettingsError

        status, sentence = 2 if isinstance(error, SettingsError) else 1, str(error)
    except ModuleNotFoundError as error:
        sentence = f"{error.name} is not installed; training needs the packages of atelier[dev]."
    except OSError as error:
        sentence = f"{error.filename or 'A file'}: {error.strerror}."
    except Exception as error:
        if not type(error).__module__.startswith("training."):
            raise
        sentence = str(error)
    else:
        return
    print(f"training: {sentence}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
