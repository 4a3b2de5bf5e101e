"""The file that a run goes on from, and whether its settings let it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from training.batches import stage_at
from training.settings import Settings, SettingsError

NAME = "state.pt"
_FORMAT = 1
# What may be changed in the middle of a run: it decides where and how often, not what is learnt.
_FREE = {"device", "threads", "workers", "log_every", "checkpoint_every", "sample_every", "fonts.held_out"}
_LISTED = 5


class StateError(Exception):
    """A state that cannot be read. The sentence is for the user."""


def save(folder: Path, content: Mapping[str, object]) -> None:
    """Write a state; the one before stays until this one is whole."""
    unfinished = folder / f"{NAME}.unfinished"
    torch.save({"format": _FORMAT, **content}, unfinished)
    unfinished.replace(folder / NAME)


def load(folder: Path) -> dict[str, object] | None:
    """Read the state of a run, None where there is none.

    Raises:
        StateError: There is a file, but not one of these.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StateError(f"{file} is damaged; --fresh starts anew.") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise StateError(f"{file} is not a state of this version's training; --fresh starts anew.")
    return content


def check(before: Mapping[str, object], settings: Settings, step: int) -> None:
    """Refuse to go on with other settings than a run was begun with.

    The present stage and those to come may get another length; those to come may be others altogether. So the curve
    of the learning rate changes from here on.

    Args:
        before: The dump of the run's settings.
        settings: The present ones.
        step: Steps that are done.

    Raises:
        SettingsError: They differ; the sentence names the settings.
    """
    if step > settings.total_steps:
        raise SettingsError(f"stages: {settings.total_steps} steps are less than the {step} that the run has done.")
    now = settings.model_dump(mode="json")
    old, new = dict(before), dict(now)
    stages_before, stages_now = list(old.pop("stages")), list(new.pop("stages"))  # type: ignore[call-overload]
    present = stage_at(settings, step - 1)[0] if step else 0
    for stages in (stages_before, stages_now):
        if len(stages) > present:
            stages[present] = {**stages[present], "steps": None}
    old["stages"], new["stages"] = stages_before[: present + 1], stages_now[: present + 1]
    flat_old, flat_new = _flat(old), _flat(new)
    names = sorted(
        name
        for name in flat_old.keys() | flat_new.keys()
        if name not in _FREE and flat_old.get(name) != flat_new.get(name)
    )
    if names:
        listed = ", ".join(f"{name} ({flat_old.get(name)} before)" for name in names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise SettingsError(
            f"The run that stands there, at step {step}, has other settings: {listed}{more}. Restore them, choose "
            "another --output, or begin anew with --fresh."
        )


def _flat(block: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted names of all values; lists are values, but for the stages."""
    flat: dict[str, object] = {}
    for name, value in block.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif name == "stages" and isinstance(value, list):
            flat |= _flat({f"stages[{number}]": stage for number, stage in enumerate(value)})
        else:
            flat[f"{prefix}{name}"] = value
    return flat
