"""The options of ``atelier serve``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from atelier import access


class OnDeadStub(StrEnum):
    """What is done where a Python model's process, or the server itself, has died."""

    restart = "restart"
    exit = "exit"


Profile = Annotated[
    str | None,
    typer.Option(
        help="Use configs/NAME.pbtxt of the models that have it, or, with the name default, config.pbtxt alone. "
        "Without it: openvino on the embedded server where there is no GPU.",
        metavar="NAME",
    ),
]
Models = Annotated[
    str | None,
    typer.Option(help="Models to load, separated by commas, with those that they call. Default: all that can load."),
]
Repository = Annotated[
    list[Path] | None,
    typer.Option(help="Model repository; may repeat. Default: model_repository and ensembles of the checkout."),
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
HttpPort = Annotated[int, typer.Option(help="Port of HTTP.", min=1, max=65535)]
GrpcPort = Annotated[int, typer.Option(help="Port of gRPC.", min=1, max=65535)]
MetricsPort = Annotated[int, typer.Option(help="Port of the metrics.", min=1, max=65535)]
HealthPort = Annotated[
    int,
    typer.Option(
        help="Port of /healthz and /readyz; 0: none.", envvar="ATELIER_HEALTH_PORT", min=0, max=65535, metavar="PORT"
    ),
]
ServerProgram = Annotated[
    Path | None,
    typer.Option(
        help="Another tritonserver program. Default: the embedded one.",
        envvar="ATELIER_TRITONSERVER",
        metavar="PATH",
    ),
]
ExitTimeout = Annotated[
    int,
    typer.Option(
        help="Seconds that running requests are given when the server is stopped; what takes longer is lost.",
        envvar="ATELIER_EXIT_TIMEOUT",
        metavar="SECONDS",
        min=1,
    ),
]
AdminKeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File of the key for shared memory, the list of models, statistics, logging and tracing. Default: "
        f"{access.VARIABLE}, or a new key for each start, which this user's programs on this machine find.",
        envvar=access.FILE_VARIABLE,
        metavar="PATH",
    ),
]
OnDead = Annotated[
    OnDeadStub,
    typer.Option(
        help="Where a Python model's process or the server has died: start the server anew, or exit with status 1 "
        "for an orchestrator that does.",
        envvar="ATELIER_ON_DEAD_STUB",
    ),
]
MaxRestarts = Annotated[
    int,
    typer.Option(
        help="New starts in a row, without 15 minutes in which all was well; what breaks after that ends the program "
        "with status 1.",
        envvar="ATELIER_MAX_RESTARTS",
        min=1,
        metavar="N",
    ),
]
StubTimeout = Annotated[
    int,
    typer.Option(
        help="Seconds that a Python model is given to load.",
        envvar="ATELIER_STUB_TIMEOUT",
        metavar="SECONDS",
        min=1,
    ),
]
SharedMemoryStep = Annotated[
    int | None,
    typer.Option(
        help="MiB by which a Python model's shared memory starts and grows. Default: 64, or a sixteenth of what is "
        "free in /dev/shm.",
        envvar="ATELIER_SHARED_MEMORY_STEP",
        metavar="MIB",
        min=1,
    ),
]
ClientSharedMemory = Annotated[
    bool | None,
    typer.Option(
        help="Let clients that have the key register shared memory, on servers that can refuse it (26.04 and newer). "
        "Default: where the server listens on loopback.",
        show_default=False,
    ),
]
OtelUrl = Annotated[
    str | None,
    typer.Option(
        help="Where an OpenTelemetry collector takes traces: http://HOST:4318/v1/traces. Default: no traces.",
        envvar="ATELIER_OTEL_URL",
        metavar="URL",
    ),
]
OtelRate = Annotated[
    int, typer.Option(help="One of so many requests is traced.", envvar="ATELIER_OTEL_RATE", metavar="N", min=1)
]
ServerFlag = Annotated[
    list[str] | None,
    typer.Option(
        help="A further flag of tritonserver; may repeat. Example: --server-flag=--rate-limit=execution_count",
        metavar="--NAME=VALUE",
    ),
]
Verbose = Annotated[bool, typer.Option(help="Show all of the server's log, not only warnings and errors.")]
