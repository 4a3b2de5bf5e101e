"""The processes of the Python models: children of the server, one for each instance of a model.

Triton 2.51 neither restarts one that died nor says that it did: the server and the model stay ready, and every request
fails. The system's list of processes tells it without a request: a child that was killed stays a zombie until the
server looks at it, and then is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "triton_python_backend_stub"
_ROLE = 8  # of a stub's arguments: the name of its instance; argument 1 is the path of the model's file


@dataclass(frozen=True)
class Stub:
    """One process of a Python model.

    Attributes:
        pid: its number.
        model: the model's name.
        instance: Triton's name for the instance, for instance ``inpaint_0_1``.
    """

    pid: int
    model: str
    instance: str


def running(server: int) -> list[Stub]:
    """The living stubs of a server.

    Args:
        server: its process number.
    """
    stubs = []
    for child in _children(server):
        with contextlib.suppress(OSError, IndexError):
            # A zombie has no arguments left.
            words = Path(f"/proc/{child}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if Path(words[0]).name == PROGRAM:
                stubs.append(Stub(child, Path(words[1]).parts[-3], words[_ROLE]))
    return sorted(stubs, key=lambda stub: stub.instance)


class Roll:
    """Who was there: calls the roll of a server's stubs.

    Args:
        server: its process number.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._known: dict[str, Stub] = {}
        self._missed: set[str] = set()

    def models(self) -> set[str]:
        """The models that a process was seen of."""
        return {stub.model for stub in self._known.values()}

    def dead(self, ready: Collection[str]) -> list[Stub]:
        """The stubs that have died.

        One that was killed is a zombie: it is reported at once. One that is gone may belong to a model that is being
        loaded anew, or that has fewer instances now: it is reported where it is missed twice in a row.

        Args:
            ready: the models that the server calls ready; the stubs of others may end as they like.
        """
        living = {stub.instance: stub for stub in running(self._server)}
        lost = [stub for name, stub in self._known.items() if name not in living and stub.model in ready]
        dead = [stub for stub in lost if stub.instance in self._missed or _state(stub.pid) == "Z"]
        self._missed = {stub.instance for stub in lost}
        self._known = {**{stub.instance: stub for stub in lost}, **living}
        return dead


def _children(process: int) -> list[int]:
    """The children of all threads of a process."""
    children: list[int] = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += map(int, thread.read_text(encoding="ascii").split())
    return children


def _state(process: int) -> str:
    """The system's letter for a process's state; empty where there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
