"""Models finish what they run, in an order in which none lacks another that it calls."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from atelier.serving.repository import Model

if TYPE_CHECKING:
    from atelier.serving.launcher import Server

GRACE = 5.0
"""Seconds that requests of a dead model, and of its callers, are given."""


def unload(server: Server, names: Collection[str], deadline: float, hopeless: Collection[str] = ()) -> None:
    """Unload models, and wait for their running requests; what comes is refused.

    Args:
        server: has them.
        names: those that are to go.
        deadline: when waiting ends, of `time.monotonic`.
        hopeless: those among them that get no more than `GRACE`.
    """
    left = {model.name: model.requires for model in server.models if model.name in names}
    grace = time.monotonic() + GRACE
    while left:
        # Those first that no other one needs; a cycle, which the lint cannot see, ends in one go.
        now = [name for name in left if not any(name in needs for needs in left.values())] or list(left)
        for name in now:
            server.administration.unload(name)  # answers at once
            del left[name]
        while time.monotonic() < deadline and server.is_alive():
            index = server.administration.index()
            if index is None:  # too busy to answer, which is not to say that nothing runs
                time.sleep(0.05)
                continue
            states = {entry["name"]: entry.get("state") for entry in index}
            busy = [name for name in now if states.get(name) in ("READY", "LOADING", "UNLOADING")]
            if not busy or (time.monotonic() > grace and all(name in hopeless for name in busy)):
                break
            time.sleep(0.05)


def with_callers(models: Sequence[Model], names: Collection[str]) -> list[str]:
    """Models, and those that call them, directly or through others."""
    found = list(names)
    for name in found:  # which grows
        found += [model.name for model in models if name in model.requires and model.name not in found]
    return found
