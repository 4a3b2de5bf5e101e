"""Where artefacts go: nothing is seen at its place before it is whole and verified."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError

CHECKOUT = Path(__file__).resolve().parent.parent
MODEL_REPOSITORY = CHECKOUT / "model_repository"
EXTERNAL = ".data"
"""Behind the name of an ONNX file: the weights of one that is too large for its format."""


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """A folder on the file system of ``home``, gone afterwards, whatever happens.

    Raises:
        ExportError: No folder can be made there.
    """
    parent = home.absolute()
    while not parent.is_dir():
        if parent.exists():
            raise ExportError(f"{parent} is a file; a folder for the model repository is expected.")
        parent = parent.parent
    try:
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
    except OSError as error:
        raise ExportError(f"Nothing can be written in {parent}: {error.strerror}.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(staged: Path, description: Mapping[str, object], repository: Path, model: str, version: int) -> Path:
    """Move a verified artefact to its place in a model repository, with its description beside it.

    An earlier artefact of the same name is replaced; one of another target stays. A repository without a configuration
    for the model gets this checkout's.

    Args:
        staged: The artefact, in a folder of `staging`; its name is kept.
        description: What is written to ``<name>.json``.
        repository: The model repository, which is made where it is missing.
        model: The model's name.
        version: The model's version.

    Returns:
        The artefact's place.
    """
    source, home = MODEL_REPOSITORY / model, repository / model
    folder = home / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    if not (home / "config.pbtxt").exists() and home.resolve() != source:
        shutil.copy2(source / "config.pbtxt", home)
        shutil.copytree(source / "configs", home / "configs", dirs_exist_ok=True)
    sidecar = staged.with_name(f"{staged.name}.json")
    sidecar.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    target = folder / staged.name
    data = staged.with_name(f"{staged.name}{EXTERNAL}")
    beside = data.is_file()
    if beside:
        data.replace(folder / data.name)
    staged.replace(target)
    if not beside:
        (folder / data.name).unlink(missing_ok=True)  # an earlier artefact's
    sidecar.replace(folder / sidecar.name)
    return target


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
