"""TensorRT for RTX from PyPI: TensorRT's ONNX parser and builder on a machine without a GPU.

It shows that a network is one TensorRT accepts. What it builds is for TensorRT for RTX alone; Triton does not load it.
"""

import ctypes
import subprocess
import sys
from importlib import import_module
from types import ModuleType

from atelier.serving import checkout
from export.artefact import CHECKOUT, sha256
from export.errors import ExportError

REQUIREMENTS = CHECKOUT / "export" / "tensorrt-rtx.txt"
HOME = checkout.tools() / "tensorrt-rtx"
SETUP = "python -m export setup-tensorrt-rtx"

_BINDINGS = "tensorrt_rtx_bindings"
# Each needs the one before it; the bindings need all three, and look for them among what the process has loaded.
_LIBRARIES = ("libcudart.so.*", "libtensorrt_rtx.so.*", "libtensorrt_onnxparser_rtx.so.*")


def set_up() -> bool:
    """Install the wheels into a folder of their own, never beside the project's libraries.

    Returns:
        Whether there was anything to do.

    Raises:
        ExportError: pip failed.
    """
    stamp, wanted = HOME / "installed", f"{sha256(REQUIREMENTS)} {sys.implementation.cache_tag}\n"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return False
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    command += ["--no-deps", "--no-compile", "--require-hashes", "--target", str(HOME), "-r", str(REQUIREMENTS)]
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        reason = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "no reason given")
        raise ExportError(f"pip could not install TensorRT for RTX: {reason.strip()}")
    stamp.write_text(wanted, encoding="utf-8")
    return True


def load() -> ModuleType:
    """Import the bindings.

    Raises:
        ExportError: They are not installed.
    """
    if _BINDINGS in sys.modules:
        return sys.modules[_BINDINGS]
    if not (HOME / "installed").is_file():
        raise ExportError(f"TensorRT for RTX is not set up here; {SETUP} does that.")
    for pattern in _LIBRARIES:
        library = next((HOME / "onnxruntime_ep_nv_tensorrt_rtx").glob(pattern))
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.append(str(HOME))  # last: nothing in there may stand before the project's libraries
    try:
        return import_module(_BINDINGS)
    finally:
        sys.path.remove(str(HOME))
