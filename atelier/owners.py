"""Whose something in ``/dev/shm`` or ``/tmp`` is, written into its name, so that what nobody owns any more is removed.

Containers may share those folders: a process number means something in its own PID namespace alone.
"""

from __future__ import annotations

import os
from pathlib import Path


def owner() -> str:
    """This process, for a name: its PID namespace and its number."""
    return f"{_namespace()}_{os.getpid()}"


def is_gone(words: str) -> bool:
    """Whether the owner of something has ended for certain.

    Args:
        words: what follows the fixed beginning of its name: an `owner`, an underscore, and whatever else.
    """
    namespace, _, rest = words.partition("_")
    process = rest.partition("_")[0]
    return namespace == _namespace() and process.isdecimal() and not Path(f"/proc/{process}").exists()


def _namespace() -> str:
    """The number of this process's PID namespace; 0 on systems that have none."""
    try:
        return "".join(filter(str.isdigit, str(Path("/proc/self/ns/pid").readlink())))
    except OSError:
        return "0"
