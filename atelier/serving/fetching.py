"""Published weights, brought from the Hugging Face hub: whole and checked, or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO

from atelier.errors import InvalidInput
from atelier.serving.catalogue import Weights
from atelier.serving.stored import RECORD

TOKEN = "HF_TOKEN"
"""Environment variable with the hub's token; one that lies in a file of the hub's own library is not read."""
_PIECE = 1 << 24  # bytes that are hashed at a time
_LOOK_UP_S = 30.0


class FetchError(RuntimeError):
    """The weights cannot be brought; one sentence."""


class Interrupted(FetchError):
    """The connection was lost; what came whole, or began, is kept for the next try."""


@dataclass(frozen=True)
class File:
    """A file of a repository.

    Attributes:
        name: its path there.
        size: bytes.
        digest: ``sha256`` in hex of a large file, else git's own ``sha1`` of a blob.
    """

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Offer:
    """What the hub has of some weights.

    Attributes:
        weights: which.
        commit: that the revision is.
        files: that will be fetched.
    """

    weights: Weights
    commit: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def page_of(weights: Weights) -> str:
    """The address of a repository's page, with its licence."""
    return f"{_hub().constants.ENDPOINT}/{weights.repository}"


def look_up(weights: Weights, revision: str | None = None) -> Offer:
    """Ask the hub for the files of some weights; nothing is written.

    Args:
        weights: which.
        revision: a branch, tag or commit; None: the newest.

    Raises:
        FetchError: they cannot be had.
        InvalidInput: the revision is none.
    """
    hub = _hub()
    with _explained(weights, revision):
        found = hub.HfApi(token=_token()).model_info(
            weights.repository, revision=revision, files_metadata=True, timeout=_LOOK_UP_S
        )
    files = []
    for entry in found.siblings or []:
        name, large = entry.rfilename, entry.lfs
        if any(_matches(name, pattern) for pattern in weights.files):
            _check_name(name, weights)
            digest = large.sha256 if large else entry.blob_id
            files.append(File(name, (large.size if large else entry.size) or 0, digest or ""))
    wanted = weights.layouts[0] if not weights.archive else (weights.archive,)
    absent = [pattern for pattern in wanted if not any(_matches(file.name, pattern) for file in files)]
    if absent or not found.sha:
        raise FetchError(f"{weights.repository} has no {', '.join(absent) or 'commit'} at {revision or 'its newest'}.")
    return Offer(weights, found.sha, tuple(files))


def fetch(offer: Offer, target: Path, on_bytes: Callable[[File, int], None]) -> None:
    """Bring weights into a folder that is not there yet.

    They grow in a folder beside it, which gets its name when every file was checked. That folder stays where the
    connection is lost or the program stopped, and the next call goes on with it; else it is removed.

    Args:
        offer: what to bring.
        target: the folder.
        on_bytes: told how many more bytes of a file are there.

    Raises:
        FetchError: it could not be done.
    """
    growing = target.with_name(f".{target.name}.{offer.commit[:12]}.part")
    _check_room(offer, growing)
    try:
        growing.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"{growing.parent} cannot be written to ({error.strerror}).") from None
    with _alone(growing, target):
        try:
            for file in offer.files:
                _fetch_file(offer, file, growing, on_bytes)
            if offer.weights.archive:
                _unpack(offer, growing)
            record = {"repository": offer.weights.repository, "commit": offer.commit, "files": _sizes(growing)}
            (growing / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            growing.replace(target)
        except (Interrupted, KeyboardInterrupt):
            raise
        except OSError as error:
            shutil.rmtree(growing, ignore_errors=True)
            if error.errno == errno.ENOSPC:
                raise FetchError(f"The disk of {target} is full: {_gb(offer.size)} are needed.") from None
            raise FetchError(f"{error.filename or target} cannot be written ({error.strerror}).") from None
        except BaseException:
            shutil.rmtree(growing, ignore_errors=True)
            raise
    for other in target.parent.glob(f".{glob.escape(target.name)}.*.part"):  # of commits that are no longer the newest
        shutil.rmtree(other, ignore_errors=True)


@contextmanager
def _alone(folder: Path, target: Path) -> Iterator[None]:
    """Hold a folder against other processes.

    Raises:
        FetchError: one of them has it.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise FetchError(f"Another process is bringing {target}.") from None
    try:
        yield
    finally:
        os.close(opened)


def _fetch_file(offer: Offer, file: File, folder: Path, on_bytes: Callable[[File, int], None]) -> None:
    whole = folder / file.name
    if whole.is_file():  # of an earlier call, which checked it
        on_bytes(file, file.size)
        return
    hub, weights = _hub(), offer.weights
    begun = whole.with_name(f"{whole.name}.begun")
    whole.parent.mkdir(parents=True, exist_ok=True)
    url = hub.hf_hub_url(weights.repository, file.name, revision=offer.commit)
    with begun.open("ab") as opened:
        if opened.tell() > file.size:
            opened.truncate(0)
        done = opened.seek(0, os.SEEK_END)
        on_bytes(file, done)
        with _explained(weights, offer.commit):
            hub.file_download.http_get(
                url,
                _Counted(opened, lambda count: on_bytes(file, count)),
                resume_size=done,
                headers=hub.utils.build_hf_headers(token=_token()),
                expected_size=file.size,
            )
    if begun.stat().st_size != file.size or not _has_digest(begun, file):
        raise FetchError(f"{file.name} of {weights.repository} did not come as the hub describes it; try again.")
    begun.replace(whole)


class _Counted:
    """A file that tells how many bytes are written to it."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._file, self._on_bytes = file, on_bytes

    def write(self, data: bytes) -> int:
        self._on_bytes(len(data))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _has_digest(path: Path, file: File) -> bool:
    large = len(file.digest) == 64
    digest = hashlib.sha256() if large else hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest() == file.digest


def _unpack(offer: Offer, folder: Path) -> None:
    """Take a zip's content out, without the one folder that all of it may lie in, and the zip away."""
    path = folder / offer.weights.archive
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            tops = {PurePosixPath(name).parts[0] for name in names}
            inner = len(tops) == 1 and all(len(PurePosixPath(name).parts) > 1 for name in names)
            for name in names:
                _check_name(name, offer.weights)
                place = folder.joinpath(*PurePosixPath(name).parts[1 if inner else 0 :])
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, place.open("wb") as sink:
                    shutil.copyfileobj(source, sink, _PIECE)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise FetchError(f"{path.name} of {offer.weights.repository} is no zip that can be read ({error}).") from None
    path.unlink()
    absent = [name for name in offer.weights.layouts[0] if not (folder / name).is_file()]
    if absent:
        raise FetchError(f"{path.name} of {offer.weights.repository} holds no {', '.join(absent)}.")


def _check_name(name: str, weights: Weights) -> None:
    """Refuse a name that leads out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise FetchError(f"{weights.repository} names a file {name!r}, which does not belong into a folder.")


def _check_room(offer: Offer, folder: Path) -> None:
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    have = sum(_sizes(folder).values()) if folder.is_dir() else 0
    free, need = shutil.disk_usage(there).free, offer.size - have
    if need > free:
        raise FetchError(f"{offer.weights.name} needs {_gb(need)}, and {_gb(free)} are free in {there}.")


def _matches(name: str, pattern: str) -> bool:
    """As in a shell: ``*`` does not reach into folders."""
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != RECORD)
    return {str(file.relative_to(folder)): file.stat().st_size for file in files}


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _token() -> str | bool:
    return os.environ.get(TOKEN) or False


def _hub() -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.file_download
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ModuleNotFoundError as error:
        raise FetchError(f"This needs the package {error.name}: pip install 'atelier[weights]'.") from None
    disable_progress_bars()  # ours are shown
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # what goes wrong is told in a sentence
    return huggingface_hub


@contextmanager
def _explained(weights: Weights, revision: str | None) -> Iterator[None]:
    """Whatever the hub or the way there answers becomes one sentence."""
    import httpx2
    from huggingface_hub import errors
    from huggingface_hub.constants import ENDPOINT

    repository, known = weights.repository, bool(os.environ.get(TOKEN))
    try:
        yield
    except errors.HFValidationError:
        raise InvalidInput(f"{revision!r} is no revision; accepted: a branch, a tag or a commit.") from None
    except errors.OfflineModeIsEnabled:
        raise FetchError("HF_HUB_OFFLINE is set: nothing is fetched.") from None
    except errors.RevisionNotFoundError:
        raise InvalidInput(f"{repository} has no revision {revision!r}.") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if isinstance(error, errors.GatedRepoError) or (weights.gated and status in (401, 403)):
            ask = f"the account of {TOKEN} may not read it" if known else f"{TOKEN} is not set"
            raise FetchError(
                f"{repository} is gated, and {ask}: accept its licence at {ENDPOINT}/{repository} and set {TOKEN}."
            ) from None
        if status in (401, 403):
            raise FetchError(f"{ENDPOINT} does not let {repository} be read ({status}); see {TOKEN}.") from None
        if status == 404:
            raise FetchError(f"{ENDPOINT} has no {repository}, or not what was asked for of it.") from None
        raise Interrupted(f"{ENDPOINT} answered {status} for {repository}; try again later.") from None
    except httpx2.HTTPError as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise Interrupted(
            f"{ENDPOINT} cannot be reached, or was lost ({words}); a next try goes on from here."
        ) from None
    except OSError as error:
        if error.errno is None:  # the hub's library: more or fewer bytes than were announced
            raise FetchError(f"A file of {repository} did not come as the hub describes it; try again.") from None
        raise
