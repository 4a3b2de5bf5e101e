"""Bring a family's files to its volume, and hold them to their SHA-256. Run by the pods' init container.

usage: bring.py CHECKOUT VOLUME LIST

CHECKOUT's configurations are copied to VOLUME. LIST has lines as ``sha256sum`` writes them, the paths relative to
VOLUME. What is there already and is right stays; the rest comes from the address in ``STORE`` (https), in part where a
part of this host's is there. Anything that is not what the list says ends it with status 1. Several may fill one volume
at once: each has its own parts, and a file has its name only when it is whole.
"""

import filecmp
import hashlib
import os
import re
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

FOLDERS = ("model_repository", "ensembles", "backends")
TRIES = 5
PIECE = 2**20


def main(checkout, volume, listed, store):
    """Bring all that the list names.

    Returns:
        The process's status: 0, or 1 with the reason on stderr.
    """
    for folder in FOLDERS:
        shutil.copytree(checkout / folder, volume / folder, dirs_exist_ok=True, copy_function=copy)
    try:
        for digest, path in read_list(listed):
            bring(volume / path, digest, f"{store.rstrip('/')}/{path}" if store else "")
            sys.stderr.write(f"{path}: as listed\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"bring: {error}\n")
        return 1
    return 0


def copy(source, target):
    """Copy a file in one step, where it is not there already: another pod's server may just read it."""
    if not Path(target).is_file() or not filecmp.cmp(source, target, shallow=False):
        part = part_of(Path(target))
        shutil.copyfile(source, part)
        part.replace(target)


def part_of(file):
    """Where this host has what is not whole yet; a pod keeps its host's name when its containers start anew."""
    return file.with_name(f"{file.name}.{socket.gethostname()}.part")


def read_list(file):
    """The digests and paths of a list.

    Raises:
        ValueError: a line is none of sha256sum's, or leads out of the volume.
    """
    wanted = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](\S.*)", line)
        path = PurePosixPath(found[2]) if found else PurePosixPath("..")
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"line {number} of the list is not 'SHA256  relative/path'")
        wanted.append((found[1], str(path)))
    return wanted


def bring(file, digest, address):
    """See that a file is there and is what it should be.

    Raises:
        ValueError: it is not, and cannot be brought.
    """
    if file.is_file() and sha256(file) == digest:
        return
    if not address:
        raise ValueError(f"{file} is missing or is not what the list says, and there is no store to bring it from")
    part = part_of(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    for tried in range(1, TRIES + 1):
        try:
            fetch(address, part)
            break
        except OSError as error:
            if tried == TRIES:
                raise ValueError(f"{address} could not be brought: {error}") from None
            time.sleep(2**tried if not isinstance(error, urllib.error.HTTPError) or error.code >= 500 else 0)
    if (got := sha256(part)) != digest:
        part.unlink()
        raise ValueError(f"{address} has the SHA-256 {got}; the list says {digest}")
    part.rename(file)  # only whole files have their name


def fetch(address, part):
    """Download the rest of a file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing is left to bring
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as out:
        shutil.copyfileobj(answer, out, PIECE)


def sha256(file):
    """Of a file, in hexadecimal digits."""
    with file.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4]), os.environ.get("STORE", "")))
