"""A study: which prompts, seeds and variants are compared, and the folder that holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atelier.errors import InvalidInput
from atelier.evaluation.pairs import file_digest

PLAN = "study.json"
"""In a study's folder: what it compares."""
MOST_SEED = 2**63 - 1
_ADAPTER = "lora:"


@dataclass(frozen=True)
class Variant:
    """One way of making a video.

    Attributes:
        id: its name in files and results.
        label: its name for people.
        loras: scales by adapters' names.
        base: whether it is what the others are compared with.
    """

    id: str
    label: str
    loras: Mapping[str, float]
    base: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"id": self.id, "label": self.label, "loras": dict(self.loras), "base": self.base}


@dataclass(frozen=True)
class Prompt:
    """What is to be seen.

    Attributes:
        id: its name in files and results.
        text: in any language.
        image: a picture that the video begins with, or None.
    """

    id: str
    text: str
    image: Path | None = None


@dataclass(frozen=True)
class Item:
    """What is made once in every variant: a prompt with a seed."""

    id: str
    prompt: Prompt
    seed: int


@dataclass(frozen=True)
class Plan:
    """What a study compares.

    Attributes:
        prompts: at least one.
        seeds: likewise.
        variants: the base first.
        settings: of every video, as they are asked of the server; what is not there is the server's.
    """

    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    settings: Mapping[str, Any]

    def items(self) -> Iterator[Item]:
        """Every prompt with every seed."""
        for prompt in self.prompts:
            for seed in self.seeds:
                yield Item(f"{prompt.id}-{seed}", prompt, seed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; also what tells whether two plans are the same."""
        return {
            "prompts": [
                {
                    "id": prompt.id,
                    "text": prompt.text,
                    "image": prompt.image and prompt.image.name,
                    "image_sha256": prompt.image and file_digest(prompt.image),
                }
                for prompt in self.prompts
            ],
            "seeds": list(self.seeds),
            "variants": [variant.as_dict() for variant in self.variants],
            "settings": dict(self.settings),
        }

    def begin(self, folder: Path) -> None:
        """Write the plan into a folder, or see that it is the one that is there: then the study goes on.

        Raises:
            InvalidInput: the folder holds another study, or something else.
        """
        file = folder / PLAN
        if file.exists():
            if (old := read_json(file)) != self.as_dict():
                differs = [name for name, value in self.as_dict().items() if old.get(name) != value]
                raise InvalidInput(
                    f"{folder} holds another study: its {' and '.join(differs) or 'plan'} are not these. "
                    "Ask for the same again to go on, or name another folder."
                )
            return
        if folder.is_dir() and any(folder.iterdir()):
            raise InvalidInput(f"{folder} is not empty, and holds no study; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, self.as_dict())


def read_prompts(file: Path) -> tuple[Prompt, ...]:
    """Prompts from a file.

    Args:
        file: text with one a line, or JSON: a list of texts, or of ``{"text": …, "image": …}``, whose pictures lie
            relative to the file.

    Raises:
        InvalidInput: it is missing, holds none, or one that is not understood.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not UTF-8 text.") from None
    if file.suffix.lower() == ".json":
        entries = _parsed(text, file)
        if not isinstance(entries, list):
            raise InvalidInput(f"{file} holds no list; accepted: a list of texts, or of objects with text and image.")
    else:
        entries = [line.strip() for line in text.splitlines() if line.strip()]
    found = [_prompt(entry, number, len(entries), file) for number, entry in enumerate(entries, 1)]
    if not found:
        raise InvalidInput(f"{file} holds no prompt.")
    seen: dict[tuple[str, Path | None], str] = {}
    for prompt in found:
        if (same := seen.setdefault((prompt.text, prompt.image), prompt.id)) != prompt.id:
            raise InvalidInput(f"{file}: {same} and {prompt.id} are the same prompt; each may be there once.")
    return tuple(found)


def _prompt(entry: Any, number: int, of: int, file: Path) -> Prompt:
    name = f"p{number:0{max(2, len(str(of)))}d}"
    fields = {"text": entry} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or not set(fields) <= {"text", "image"}:
        raise InvalidInput(f"{file}: entry {number} is neither a text nor an object with text and image alone.")
    text, image = fields.get("text"), fields.get("image")
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"{file}: the text of entry {number} is empty, or none.")
    if image is None:
        return Prompt(name, text.strip())
    if not isinstance(image, str) or not (place := file.parent / image).is_file():
        raise InvalidInput(f"{file}: the picture of entry {number}, {image!r:.100}, is not there.")
    return Prompt(name, text.strip(), place)


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds from ``1,2,3``.

    Raises:
        InvalidInput: one is no whole number from 0, or is there twice.
    """
    seeds: list[int] = []
    for word in text.split(","):
        if not re.fullmatch(r"[0-9]{1,19}", word.strip()) or int(word) > MOST_SEED:
            raise InvalidInput(f"{word.strip()!r:.40} is no seed; accepted: 0 to {MOST_SEED}, with commas between.")
        if int(word) in seeds:
            raise InvalidInput(f"the seed {int(word)} is there twice.")
        seeds.append(int(word))
    return tuple(seeds)


def read_variants(text: str) -> tuple[Variant, ...]:
    """Variants from ``base,lora:NAME@SCALE``; several adapters at once are joined by ``+lora:``.

    Returns:
        The base first, whatever its place.

    Raises:
        InvalidInput: one is not understood or there twice, or there is no base, or nothing else.
    """
    found = [_variant(word.strip()) for word in text.split(",")]
    ids = [variant.id for variant in found]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise InvalidInput(f"the variant {twice[0]} is there twice.")
    if "base" not in ids or len(found) < 2:
        raise InvalidInput(f"{text!r:.80} has no base, or nothing to compare it with; example: base,lora:NAME@1.0.")
    return tuple(sorted(found, key=lambda variant: not variant.base))


def _variant(word: str) -> Variant:
    if word == "base":
        return Variant("base", "Without LoRA", {}, True)
    if not word.startswith(_ADAPTER):
        raise InvalidInput(f"{word!r:.80} is no variant; accepted: base, lora:NAME@SCALE.")
    loras: dict[str, float] = {}
    for part in word.removeprefix(_ADAPTER).split(f"+{_ADAPTER}"):
        name, sign, number = part.rpartition("@")
        name, number = (name, number) if sign else (part, "1")
        # An adapter's name is a file's; a variant's is a folder's.
        if not name or name in loras or re.search(r"[/\\\x00-\x1f]", name):
            raise InvalidInput(f"{word!r:.80} is no variant: an adapter has no name, or is named twice.")
        if not re.fullmatch(r"-?\d+(\.\d*)?|-?\.\d+", number):
            raise InvalidInput(f"{word!r:.80} is no variant: {number!r:.40} is no scale.")
        loras[name] = float(number)
    shown = [f"{name} at {scale:g}" for name, scale in loras.items()]
    identity = "+".join(f"{name}@{scale:g}" for name, scale in loras.items())
    return Variant(identity, f"With LoRA {' and '.join(shown)}", loras, False)


def read_json(file: Path) -> Any:
    """What a file of a study holds.

    Raises:
        InvalidInput: it is missing, or no JSON.
    """
    try:
        return _parsed(file.read_text(encoding="utf-8"), file)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not UTF-8 text.") from None


def _parsed(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{file} is no JSON ({error}).") from None


def write_json(file: Path, value: Any) -> None:
    """Write a file of a study; it is there as a whole, or as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(file)


def names_of(files: Sequence[Path]) -> dict[str, Path]:
    """Files by the names that pair them: without their endings.

    Raises:
        InvalidInput: two have the same.
    """
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise InvalidInput(
                f"{found[file.stem].name} and {file.name} in {file.parent} have one name to be paired by."
            )
        found[file.stem] = file
    return found
