"""A study's videos, made by the served ``generate``; what is there already is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from atelier.client import Client, GenerateProgress, QueueFull
from atelier.errors import InvalidInput
from atelier.evaluation.pairs import file_digest
from atelier.evaluation.study import Item, Plan, Variant, read_json, write_json

VIDEOS = "videos"


def place_of(folder: Path, item: Item, variant: Variant) -> Path:
    """Where a video of a study lies; its answer's metadata beside it, as JSON."""
    return folder / VIDEOS / variant.id / f"{item.id}.mp4"


def make_videos(
    plan: Plan,
    folder: Path,
    client: Client,
    *,
    patience: float,
    on_video: Callable[[str], None],
    on_progress: Callable[[GenerateProgress], None],
) -> dict[tuple[str, str], dict[str, Any]]:
    """Make what is not there yet.

    Args:
        plan: what.
        folder: the study's.
        client: of the server.
        patience: seconds for which a full queue is asked again.
        on_video: called with a video's name for each that is there.
        on_progress: called as the server goes on.

    Returns:
        Each answer's metadata, by item and variant.

    Raises:
        AtelierError: the server refused or failed; what was made stays.
        InvalidInput: the server's weights or settings are not those of the videos that were made before.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    common: dict[str, Any] | None = None
    for item in plan.items():
        for variant in plan.variants:  # the variants of a pair one after the other
            place = place_of(folder, item, variant)
            metadata = _made_before(place)
            if metadata is None:
                metadata = _make(plan, item, variant, place, client, patience, on_progress)
            common = _agreed(common, metadata, f"{variant.id}/{place.name}")
            found[item.id, variant.id] = metadata
            on_video(f"{item.id} {variant.id}")
    return found


def _make(
    plan: Plan,
    item: Item,
    variant: Variant,
    place: Path,
    client: Client,
    patience: float,
    on_progress: Callable[[GenerateProgress], None],
) -> dict[str, Any]:
    again = Retrying(
        retry=retry_if_exception_type(QueueFull),
        wait=wait_exponential(max=30),
        stop=stop_after_delay(patience),
        reraise=True,
    )
    settings = {**plan.settings, "seed": item.seed, "format": "mp4"}
    result = again(
        lambda: client.generate(
            item.prompt.text, image=item.prompt.image, loras=variant.loras, on_progress=on_progress, **settings
        ).result()
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + ".part")
    part.write_bytes(result.video)
    write_json(place.with_suffix(".json"), {"sha256": file_digest(part), "metadata": result.metadata})
    part.replace(place)  # last: a video that is there has its metadata
    return result.metadata


def _made_before(place: Path) -> dict[str, Any] | None:
    beside = place.with_suffix(".json")
    if not place.exists() or not beside.exists():
        return None
    known = read_json(beside)
    if known.get("sha256") != file_digest(place):
        raise InvalidInput(f"{place} is not the video that was made (its hash is another); remove it to make it again.")
    metadata: dict[str, Any] = known["metadata"]
    return metadata


def _agreed(common: dict[str, Any] | None, metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    """See that a video differs from the others in prompt, seed and adapters alone."""
    settings = {key: entry["value"] for key, entry in metadata["settings"].items() if key != "seed"}
    own = {"weights": metadata["model"], **settings}
    if common is not None and own != common:
        differs = [key for key in own if own[key] != common.get(key)]
        raise InvalidInput(
            f"{name} was made with other {', '.join(differs)} than the videos before it: the server was changed. "
            "Serve as before, or begin another study."
        )
    return own


def shortened(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the report wants to know of an answer."""
    kept = ("seed", "model", "settings", "adapters", "warnings", "mode", "seconds")
    return json.loads(json.dumps({key: metadata[key] for key in kept if key in metadata}))  # type: ignore[no-any-return]
