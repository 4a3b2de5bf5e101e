"""The exporter's command line.

Exit status: 0, 1 (the work failed; one line on stderr says why), 2 (usage).
"""

import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from atelier.errors import InvalidInput
from export.artefact import MODEL_REPOSITORY
from export.errors import ExportError
from export.synthetic import MAKERS, wan

app = typer.Typer(
    name="python -m export",
    help="Checkpoints in, artefacts out.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class TargetName(StrEnum):
    """What Triton serves the network with."""

    onnx = "onnx"
    torchscript = "torchscript"
    tensorrt = "tensorrt"


class PrecisionName(StrEnum):
    """Type of the convolutions."""

    fp32 = "fp32"
    fp16 = "fp16"


class SizeName(StrEnum):
    """Size of a random network."""

    tiny = "tiny"
    full = "full"


class LayoutName(StrEnum):
    """How a checkpoint of Wan lies on disk."""

    diffusers = "diffusers"
    original = "original"


@app.command()
def lama(
    checkpoint: Annotated[
        Path,
        typer.Option(
            help="LaMa's folder (config.yaml, models/best.ckpt), a .ckpt beside its config.yaml, or big-lama.pt."
        ),
    ],
    target: Annotated[TargetName, typer.Option(help="What to write.")] = TargetName.onnx,
    precision: Annotated[
        PrecisionName, typer.Option(help="Type of the convolutions; the Fourier units are fp32 in both.")
    ] = PrecisionName.fp32,
    repository: Annotated[Path, typer.Option(help="The model repository to write to.")] = MODEL_REPOSITORY,
    version: Annotated[int, typer.Option(min=1, help="The model's version.")] = 1,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare the artefact with the checkpoint.")
    ] = True,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="With --target tensorrt: show, without a GPU, that TensorRT builds it; write nothing."
        ),
    ] = False,
) -> None:
    """Export LaMa to DIR/lama/VERSION/model.{onnx,pt,plan}, compared with its checkpoint."""
    if check and target is not TargetName.tensorrt:
        raise typer.BadParameter("--check goes with --target tensorrt.")
    from export.lama import export as lama_export  # PyTorch, which --help need not wait for
    from export.lama.verify import TOLERANCE, table

    console = Console()
    with Console(stderr=True).status("") as status:
        if check:
            size = lama_export.check_tensorrt(checkpoint, precision.value, status.update)
            console.print(
                f"TensorRT for RTX parses and builds the network ({size / 1e6:.1f} MB). Nothing was written: "
                "Triton loads engines of TensorRT proper, built on the machine with the GPU.",
                soft_wrap=True,
            )
            return
        exported = lama_export.export(
            checkpoint,
            target.value,
            precision.value,
            repository,
            version,
            verified=verify,
            progress=status.update,
            report=lambda differences: console.print(table(differences, TOLERANCE[precision.value])),
        )
    verdict = "verified" if verify else "not verified"
    console.print(f"{exported.path} ({exported.path.stat().st_size / 1e6:.1f} MB, {verdict})", soft_wrap=True)


class GvmTargetName(StrEnum):
    """What Triton serves GVM's networks with."""

    onnx = "onnx"
    tensorrt = "tensorrt"


class KindName(StrEnum):
    """How GVM's network knows a frame's position."""

    svd = "svd"
    dav = "dav"


@app.command()
def gvm(
    checkpoint: Annotated[Path, typer.Option(help="The folder with vae, scheduler and, without --unet-base, unet.")],
    unet_base: Annotated[Path | None, typer.Option(help="A folder with unet in it, or that folder itself.")] = None,
    lora_base: Annotated[Path | None, typer.Option(help="A folder with a LoRA, or its file; merged.")] = None,
    pretrain_type: Annotated[
        KindName | None, typer.Option(help="What the weights must be.", show_default="what they are")
    ] = None,
    target: Annotated[GvmTargetName, typer.Option(help="What to write.")] = GvmTargetName.onnx,
    precision: Annotated[PrecisionName, typer.Option(help="Type of weights and computing.")] = PrecisionName.fp32,
    repository: Annotated[Path, typer.Option(help="The model repository to write to.")] = MODEL_REPOSITORY,
    version: Annotated[int, typer.Option(min=1, help="The models' version.")] = 1,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare the artefacts with the checkpoint.")
    ] = True,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="With --target tensorrt: show, without a GPU, that TensorRT builds them; write nothing."
        ),
    ] = False,
) -> None:
    """Export GVM to DIR/gvm_{unet,vae_encoder,vae_decoder}/VERSION/model.{onnx,plan}, compared with the checkpoint."""
    if check and target is not GvmTargetName.tensorrt:
        raise typer.BadParameter("--check goes with --target tensorrt.")
    from export.gvm import export as gvm_export  # PyTorch and diffusers, which --help need not wait for
    from export.gvm.verify import TOLERANCE, table

    source = gvm_export.Source(checkpoint, unet_base, lora_base, pretrain_type.value if pretrain_type else None)
    console = Console()
    with Console(stderr=True).status("") as status:
        if check:
            for model, size in gvm_export.check_tensorrt(source, precision.value, status.update).items():
                console.print(f"TensorRT for RTX parses and builds {model} ({size / 1e6:.1f} MB).", soft_wrap=True)
            console.print("Nothing was written: engines that Triton loads are built on the machine with the GPU.")
            return
        exported = gvm_export.export(
            source,
            target.value,
            precision.value,
            repository,
            version,
            verified=verify,
            progress=status.update,
            report=lambda differences: console.print(table(differences, TOLERANCE[precision.value])),
        )
    for warning in exported.warnings:
        console.print(f"Warning: {warning}", soft_wrap=True)
    for path in exported.paths:
        verdict = "verified" if verify else "not verified"
        console.print(f"{path} ({path.stat().st_size / 1e6:.1f} MB, {verdict})", soft_wrap=True)


@app.command()
def synthetic(
    name: Annotated[str, typer.Argument(help=f"Which model: {', '.join(MAKERS)}.")],
    output: Annotated[Path, typer.Option(help="The folder to write to.")],
    size: Annotated[SizeName, typer.Option(help="tiny, or full: the published model's settings.")] = SizeName.tiny,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights.")] = 0,
    layout: Annotated[
        LayoutName | None,
        typer.Option(help="Of wan: diffusers' folders, or Wan's own files.", show_default="diffusers"),
    ] = None,
) -> None:
    """Write a random checkpoint in the true on-disk layout."""
    if name not in MAKERS:
        raise typer.BadParameter(f"there is no synthetic {name!r}; there is {', '.join(MAKERS)}.")
    if layout is not None and name != "wan":
        raise typer.BadParameter("--layout goes with wan.")
    make = MAKERS[name] if layout is None else partial(wan, layout=layout.value)
    with Console(stderr=True).status(f"making a {size.value} {name}"):
        make(size.value, output, seed)
    Console().print(f"{output}: a random {name}, {size.value}, seed {seed}", soft_wrap=True)


@app.command("setup-tensorrt-rtx")
def setup_tensorrt_rtx() -> None:
    """Fetch TensorRT for RTX (150 MB) into .tools/, to check networks against TensorRT without a GPU."""
    from export import rtx

    with Console(stderr=True).status("installing TensorRT for RTX"):
        changed = rtx.set_up()
    Console().print("TensorRT for RTX is set up." if changed else "TensorRT for RTX was set up already.")


def main() -> None:
    """Run the command line; every failure that was foreseen is one line on stderr."""
    try:
        app()
    except (ExportError, InvalidInput) as error:
        sentence = str(error)
    except ModuleNotFoundError as error:
        sentence = f"{error.name} is not installed; the exporter needs the packages of atelier[export]."
    except OSError as error:
        sentence = f"{error.filename or 'A file'}: {error.strerror}."
    else:
        return
    print(f"export: {sentence}", file=sys.stderr)
    raise SystemExit(1)
