"""What a server is started with, and the command line that comes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from atelier import access
from atelier.errors import InvalidInput

LOOPBACK = ("127.0.0.1", "localhost", "::1")

MAX_HTTP_BYTES = 512 * 2**20
"""Body limit of HTTP requests on servers that have one (25.06 and newer; their own default is 64 MiB)."""

SHARED_MEMORY_STEP = 64 * 2**20
"""Bytes by which a Python model's shared memory starts and grows where there is room. Triton's own step of 1 MB made
the first 64 MB request three times slower."""

ENOUGH_SHARED_MEMORY = 2**30
"""Bytes of ``/dev/shm`` that pictures of tens of megapixels need; containers have 64 MiB unless told otherwise."""

RESTRICTED = "shared-memory,model-repository,logging,trace,statistics"
"""Protocols that need the key, on loopback too: other users' programs and pages in a browser reach that as well."""

SERVICE = "atelier"
"""Name under which traces are reported."""

_RESOURCE = "opentelemetry,resource=service.name="

DEFAULT_PROFILE = "default"
"""Asks for every model's ``config.pbtxt``."""
CONTAINER_PROFILE = "ngc"
"""Configurations for NVIDIA's container, 26.02 or newer: what the embedded server does not know, or not safely."""
CPU_PROFILE = "openvino"
"""As fast as any that is exact on a CPU (``perf/results/runtimes-full.md``); its package has the same name."""


@dataclass(frozen=True)
class ServerOptions:
    """How to start a ``tritonserver``.

    Attributes:
        repositories: model repositories, in order.
        models: the models to load; ``None`` for all that lack nothing.
        profile: name of the configurations to use (``configs/<profile>.pbtxt``); ``default`` for ``config.pbtxt``;
            ``None`` for what suits the machine, see `with_profile`.
        host: address that HTTP, gRPC and metrics listen on.
        http_port: port of HTTP.
        grpc_port: port of gRPC.
        metrics_port: port of the metrics.
        binary: another ``tritonserver``; ``None`` for the embedded one.
        exit_timeout: seconds that running requests are given at the end.
        health_port: port of ``/healthz`` and ``/readyz``, see `atelier.serving.health`; 0 for none.
        admin_key: value of the header ``x-admin-key`` that calls of the `RESTRICTED` protocols must carry.
        client_shared_memory: whether clients may register shared memory, on servers that can refuse it (26.04 and
            newer); ``None``: where only programs of this machine reach the server.
        shared_memory_step: bytes by which a Python model's shared memory starts and grows; ``None`` for what suits the
            machine, see `shared_memory_step`.
        stub_timeout: seconds that a Python model is given to load.
        max_http_bytes: body limit of HTTP requests on servers that have one.
        otel_url: where an OpenTelemetry collector takes traces, for instance ``http://localhost:4318/v1/traces``;
            ``None``: nothing is traced.
        otel_rate: one of so many requests is traced.
        extra_flags: further flags of the server, each ``--name=value``, for instance of its rate limiter.
        environment: variables added to the server's environment.
    """

    repositories: tuple[Path, ...]
    models: tuple[str, ...] | None = None
    profile: str | None = None
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    binary: Path | None = None
    exit_timeout: int = 60
    health_port: int = 0
    admin_key: str = field(default_factory=access.make, repr=False)
    client_shared_memory: bool | None = None
    shared_memory_step: int | None = None
    stub_timeout: int = 300
    max_http_bytes: int = MAX_HTTP_BYTES
    otel_url: str | None = None
    otel_rate: int = 100
    extra_flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ports(self) -> dict[str, int]:
        """The server's own ports by the option that sets them."""
        return {"--http-port": self.http_port, "--grpc-port": self.grpc_port, "--metrics-port": self.metrics_port}

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach the server."""
        return self.host in LOOPBACK


def with_profile(options: ServerOptions, have: Collection[str]) -> ServerOptions:
    """The options with the profile that they come to.

    The embedded server takes `CPU_PROFILE` where there is no GPU and nobody asked for another; ``default`` asks for
    ``config.pbtxt``.

    Args:
        options: what the caller asked for.
        have: the profiles that the repositories have.

    Raises:
        InvalidInput: the embedded server was asked to take the container's profile.
    """
    if options.profile == CONTAINER_PROFILE and options.binary is None:
        raise InvalidInput(
            f"The profile {CONTAINER_PROFILE} is for NVIDIA's container, 26.02 or newer (--server): on the embedded "
            "server an ensemble with steps side by side can hang."
        )
    if options.profile == DEFAULT_PROFILE:
        return replace(options, profile=None)
    embedded = options.binary is None
    if options.profile is None and embedded and CPU_PROFILE in have and not has_gpu() and find_spec(CPU_PROFILE):
        return replace(options, profile=CPU_PROFILE)
    return options


def known_flags(binary: Path, environment: dict[str, str]) -> frozenset[str]:
    """The flags that this ``tritonserver`` has, from its own help: an unknown flag makes a server exit."""
    try:
        run = subprocess.run(
            [str(binary), "--help"], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return frozenset()
    return frozenset(re.findall(r"--[a-z][a-z0-9-]+", run.stdout + run.stderr))


def command(
    options: ServerOptions,
    *,
    binary: Path,
    flags: frozenset[str],
    load: Sequence[str],
    prefix: str,
    embedded_folders: Iterable[str] = (),
) -> list[str]:
    """The command line of the server.

    Args:
        options: what the caller asked for.
        binary: the program.
        flags: flags that the program has; newer ones are given only to a server that knows them.
        load: models to load.
        prefix: begin of the names that the Python backend gives its shared memory.
        embedded_folders: the flags of backend and cache folders, for a server that does not have its own.
    """
    step = options.shared_memory_step or shared_memory_step()
    arguments = [str(binary), *(f"--model-repository={folder}" for folder in options.repositories)]
    arguments += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in load)]
    if options.profile:
        arguments.append(f"--model-config-name={options.profile}")
    for protocol in ("http", "grpc", "metrics"):
        arguments.append(f"--{protocol}-address={options.host}")
    arguments += [f"{flag}={port}" for flag, port in options.ports.items()]
    arguments += [
        # One broken model does not take the others down: the server starts and is ready, the launcher reports it.
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={options.exit_timeout}",
        "--log-format=ISO8601",
        "--metrics-config=summary_latencies=true",
        f"--backend-config=python,shm-default-byte-size={step}",
        f"--backend-config=python,shm-growth-byte-size={step}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--backend-config=python,stub-timeout-seconds={options.stub_timeout}",
        *embedded_folders,
    ]
    if not has_gpu():
        arguments += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
    for flag in ("--http-restricted-api", "--grpc-restricted-protocol"):
        arguments.append(f"{flag}={RESTRICTED}:{access.HTTP_HEADER}={options.admin_key}")
    arguments += [f"{flag}={value}" for flag, value in _newer(options).items() if flag in flags]
    return [*arguments, *_tracing(options), *_checked(options.extra_flags, flags)]


def _newer(options: ServerOptions) -> dict[str, str]:
    """Flags that servers have from some version on."""
    shared_memory = options.is_loopback if options.client_shared_memory is None else options.client_shared_memory
    return {
        "--http-max-input-size": str(options.max_http_bytes),  # 25.06
        "--grpc-infer-thread-count": "4",  # 25.04: two threads hold up many short calls
        "--grpc-max-response-pool-size": "64",  # 25.03: of streams; without an end otherwise
        "--allow-client-shm": str(shared_memory).lower(),  # 26.04, off without it
    }


def _tracing(options: ServerOptions) -> list[str]:
    if options.otel_url is None:
        return []
    words = ("mode=opentelemetry", f"opentelemetry,url={options.otel_url}", f"rate={options.otel_rate}")
    return [f"--trace-config={word}" for word in (*words, f"{_RESOURCE}{SERVICE}", "level=TIMESTAMPS")]


def _checked(extra: Iterable[str], flags: Collection[str]) -> list[str]:
    """The caller's own flags.

    Raises:
        InvalidInput: the program does not have one of them; it would end with its whole help.
    """
    for word in extra:
        if (name := word.partition("=")[0]) not in flags:
            raise InvalidInput(f"This tritonserver has no flag '{name}'; flags are given as --name=value.")
    return list(extra)


def free_shared_memory() -> int:
    """Bytes that are free in ``/dev/shm``."""
    return shutil.disk_usage("/dev/shm").free


def shared_memory_step() -> int:
    """Bytes for ``shm-default-byte-size`` and ``shm-growth-byte-size``: a sixteenth of what is free, within bounds."""
    return max(2**20, min(SHARED_MEMORY_STEP, free_shared_memory() // 16 // 2**20 * 2**20))


def has_gpu() -> bool:
    """Whether an NVIDIA driver is loaded; GPU metrics without one fill the log with errors."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
