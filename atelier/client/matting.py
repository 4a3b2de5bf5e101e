"""`matte` for callers: a video in, files in a folder out."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atelier.client.errors import AtelierError, InvalidRequest, UnreadableAnswer, reading
from atelier.client.requests import check_text, flag, integer, is_whole, shown, strings
from atelier.client.transport import Transport

INTEGERS = (
    "num_frames_per_batch",
    "decode_chunk_size",
    "denoise_steps",
    "max_resolution",
    "size",
    "num_interp_frames",
    "num_overlap_frames",
    "max_frames",
    "ensemble_size",
    "first_frame",
)
TEXTS = ("mode", "noise_type", "windows", "codec")
LARGEST = 2**31 - 2**24
"""Bytes of a video: gRPC's own limit, with room for the background and the rest of the request."""
FLAGS = ("output_image_seq_only", "estimate_foreground")


@dataclass(frozen=True)
class MatteProgress:
    """How far the server is.

    Attributes:
        done: frames.
        of: frames of the whole clip, or as many as were asked for; where the file does not say, as it seems.
        rate: frames a second so far.
        left: seconds that are left at this rate.
    """

    done: int
    of: int
    rate: float
    left: float


@dataclass(frozen=True)
class MatteResult:
    """A matted clip.

    Attributes:
        files: what was written.
        report: what was done: sizes, windows, seconds per step, every setting with its source, warnings.
    """

    files: tuple[Path, ...]
    report: dict[str, Any]


def matte_inputs(
    video: Any, outputs: Sequence[str] | None, background: Any, settings: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """A request's tensors.

    Raises:
        InvalidRequest: a value is of a type that the server does not take, or a setting is not known.
    """
    content = _content("video", video)
    if len(content) > LARGEST:
        raise InvalidRequest(f"The video has {len(content)} bytes; {LARGEST} are the most that a request carries.")
    inputs: dict[str, NDArray[Any]] = {"VIDEO": strings(content)}
    if outputs is not None:
        if isinstance(outputs, str) or not outputs:
            raise InvalidRequest(f"outputs is {shown(outputs)}; accepted: a list of names.")
        names = [check_text("An output", name).encode("utf-8") for name in outputs]
        inputs["OUTPUTS"] = strings(*names).reshape(1, -1)
    if background is not None:
        is_colour = isinstance(background, str) and not Path(background).exists()
        content = background.encode("utf-8") if is_colour else _content("background", background)
        inputs["BACKGROUND"] = strings(content)
    for name, value in settings.items():
        if value is not None:
            inputs[name.upper()] = _setting(name, value)
    return inputs


def stem_of(video: str | Path) -> str:
    """What the names of its files begin with: a file's without its ending, a folder's whole."""
    path = Path(video)
    return path.resolve().name if path.is_dir() else path.stem


def _setting(name: str, value: Any) -> NDArray[Any]:
    if name in INTEGERS:
        return integer(name, value)
    if name in TEXTS:
        return strings(check_text(name, value, empty=True).encode("utf-8"))
    if name in FLAGS:
        return flag(name, value)
    if name == "seed":
        if not is_whole(value) or not 0 <= value < 2**63:
            raise InvalidRequest(f"seed is {shown(value)}; accepted: an integer from 0 to 2^63 - 1.")
        return np.array([[int(value)]], np.int64)
    if name == "image_rate":
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidRequest(f"image_rate is {shown(value)}; accepted: a number.")
        return np.array([[value]], np.float32)
    accepted = ", ".join((*INTEGERS, *TEXTS, *FLAGS, "seed", "image_rate"))
    raise InvalidRequest(f"There is no setting {name!r}; accepted: {accepted}.")


def _content(name: str, given: Any) -> bytes:
    """A file's bytes, or those of a folder's pictures as a zip."""
    if isinstance(given, bytes):
        return given
    try:
        path = Path(given)
        return _zipped(path) if path.is_dir() else path.read_bytes()
    except TypeError:
        raise InvalidRequest(f"{name} is a {type(given).__name__}; accepted: a path, or a file's bytes.") from None
    except OSError as error:
        raise InvalidRequest(f"{given} cannot be read ({error.strerror}).") from None
    except ValueError as error:  # a name with a zero byte
        raise InvalidRequest(f"{given!r} cannot be read ({error}).") from None


def _zipped(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                archive.write(file, file.name)
    return packed.getvalue()


class Folder:
    """Files that grow in a folder; each has its name when it is whole, and another before.

    Args:
        folder: made where it is missing.
        stem: what the names begin with.
        keep: whether pictures get their names at once, one after another, and stay where the rest fails.
    """

    def __init__(self, folder: Path, stem: str, *, keep: bool = False) -> None:
        self._folder, self._stem, self._keep = folder, stem, keep
        self._open: dict[str, Any] = {}
        self._whole: list[str] = []
        self._done: list[Path] = []

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Put bytes where they belong."""
        path = self._path(name)
        if name not in self._open:
            # A picture is whole when the next one of its folder begins; videos grow until the end.
            home = PurePosixPath(name).parent
            self._close([other for other in self._open if "/" in other and PurePosixPath(other).parent == home])
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[name] = path.with_name(f"{path.name}.partial").open("wb")
        file = self._open[name]
        file.seek(offset)
        file.write(data)

    def finish(self) -> tuple[Path, ...]:
        """Give every file its name."""
        self._close(list(self._open))
        self._settle()
        return tuple(self._done)

    def _close(self, names: Sequence[str]) -> None:
        for name in names:
            self._open.pop(name).close()
            self._whole.append(name)
        if self._keep:
            self._settle()

    def _settle(self) -> None:
        while self._whole:
            path = self._path(self._whole.pop(0))
            path.with_name(f"{path.name}.partial").replace(path)
            self._done.append(path)

    def discard(self) -> None:
        """Remove what has not got its name."""
        for file in self._open.values():
            file.close()
        for name in (*self._open, *self._whole):
            path = self._path(name)
            path.with_name(f"{path.name}.partial").unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        """``alpha.mp4`` is ``STEM_alpha.mp4``, ``images/00000.png`` is ``STEM/00000.png``."""
        first, *rest = PurePosixPath(name).parts
        if name.startswith("/") or ".." in (first, *rest) or len(rest) > 1:
            raise UnreadableAnswer(f"The server names a file {name!r}, which does not belong into a folder.")
        if not rest:
            return self._folder / f"{self._stem}_{first}"
        return self._folder / (self._stem if first == "images" else f"{self._stem}_{first}") / rest[0]


async def run_matte(
    transport: Transport,
    inputs: Mapping[str, NDArray[Any]],
    folder: Path,
    stem: str,
    *,
    timeout: float,
    request_id: str,
    on_progress: Callable[[MatteProgress], None],
    keep: bool = False,
) -> MatteResult:
    """Send a request, and write the files as their parts come.

    Raises:
        AtelierError: see ``atelier.client``; files that are not whole are removed.
    """
    files, report = Folder(folder, stem, keep=keep), None
    try:
        async for answer in transport.stream("matte", inputs, timeout=timeout, request_id=request_id):
            progress, part, report = _read(answer, transport.url)
            if progress is not None:
                on_progress(progress)
            if part is not None:
                files.write(*part)
        if report is None:
            raise UnreadableAnswer(f"The answer of {transport.url} ends without a report.")
        return MatteResult(files.finish(), report)
    except AtelierError:  # DeadlineExceeded is an OSError too
        files.discard()
        raise
    except OSError as error:
        files.discard()
        raise InvalidRequest(f"{error.filename or folder} cannot be written ({error.strerror}).") from None
    except BaseException:
        files.discard()
        raise


async def run_matte_sync(
    transport: Transport,
    inputs: Mapping[str, NDArray[Any]],
    folder: Path,
    stem: str,
    *,
    timeout: float,
    request_id: str,
) -> MatteResult:
    """The same over HTTP, which answers once.

    Raises:
        AtelierError: see ``atelier.client``.
    """
    answer = await transport.infer("matte_sync", dict(inputs), timeout=timeout, request_id=request_id)
    with reading(transport.url):
        report = json.loads(answer["REPORT"].item())
        archive = zipfile.ZipFile(io.BytesIO(answer["ARCHIVE"].item()))
    files = Folder(folder, stem)
    try:
        for name in archive.namelist():
            with reading(transport.url):
                data = archive.read(name)
            files.write(name, 0, data)
        return MatteResult(files.finish(), report)
    except AtelierError:  # DeadlineExceeded is an OSError too
        files.discard()
        raise
    except OSError as error:
        files.discard()
        raise InvalidRequest(f"{error.filename or folder} cannot be written ({error.strerror}).") from None
    except BaseException:
        files.discard()
        raise


def _read(
    answer: Mapping[str, NDArray[Any]], url: str
) -> tuple[MatteProgress | None, tuple[str, int, bytes] | None, dict[str, Any] | None]:
    """Progress, a file's name with an offset and bytes, and the report: what of them a response holds."""
    with reading(url):
        progress = MatteProgress(**json.loads(answer["PROGRESS"].item())) if "PROGRESS" in answer else None
        part = None
        if "CHUNK" in answer:
            header, data = answer["CHUNK"].reshape(-1)
            facts = json.loads(header)
            part = str(facts["name"]), int(facts["offset"]), bytes(data)
        report: dict[str, Any] | None = json.loads(answer["REPORT"].item()) if "REPORT" in answer else None
        return progress, part, report
