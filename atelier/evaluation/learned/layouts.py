"""The folders that the weights lie in, as their publishers lay them out. Reads JSON and names only, no weights.

Below one root, by default ``weights/evaluation/``:

- ``clip/``: a Hugging Face CLIP folder (``openai/clip-vit-base-patch32`` or ``clip-vit-large-patch14``).
- ``clip-multilingual/``: ``sentence-transformers/clip-ViT-B-32-multilingual-v1``, a text tower beside ViT-B/32.
- ``dino/``: a Hugging Face DINO or DINOv2 folder (``facebook/dino-vitb16``, ``facebook/dinov2-base``).
- ``lpips/``: torchvision's backbone (``alexnet-owt-….pth`` or ``vgg16-….pth``) and LPIPS's own heads (``alex.pth`` or
  ``vgg.pth``, version 0.1).
- ``i3d/``: ``i3d_torchscript.pt``, the I3D network of StyleGAN-V's FVD.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from atelier.errors import InvalidInput

ROOT = Path("weights/evaluation")
"""Where they are looked for, unless told otherwise; from the working directory."""
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Found(NamedTuple):
    """What there is.

    Attributes:
        available: the folders that are complete, by their names in the module's list.
        missing: a line for each that is not, which says what is not computed and what is wanted.
    """

    available: dict[str, Path]
    missing: tuple[str, ...]


class LpipsFiles(NamedTuple):
    """Which network, and its two files."""

    network: str
    backbone: Path
    heads: Path


class MultilingualFiles(NamedTuple):
    """The two parts with weights. Pooling has none."""

    transformer: Path
    dense: Path
    weights: tuple[Path, Path]


def find(root: Path = ROOT) -> Found:
    """Look which weights are there and complete. Nothing is loaded.

    Args:
        root: the folder that holds the folders.

    Returns:
        The folders, and a line for each that is not there.
    """
    available: dict[str, Path] = {}
    missing = []
    for name, (metrics, wanted, check) in _KINDS.items():
        folder = root / name
        if not folder.is_dir():
            shown = root.name if root.is_absolute() else root.as_posix()  # no machine's paths in a report
            missing.append(f"{metrics}: not computed, there is no folder {shown}/{name} ({wanted}).")
            continue
        try:
            check(folder)
            if name == "clip-multilingual":
                _fits(available.get("clip"))
            available[name] = folder
        except InvalidInput as error:
            missing.append(f"{metrics}: not computed, {error}")
    return Found(available, tuple(missing))


def clip_files(folder: Path) -> tuple[Path]:
    """The weights of a CLIP folder.

    Raises:
        InvalidInput: it is none, or a file is missing.
    """
    kind = read_json(folder, "config.json").get("model_type")
    if kind != "clip":
        raise InvalidInput(f"{folder.name}/config.json describes {kind!r:.40}; a CLIP model is needed.")
    need(folder, "preprocessor_config.json")
    if not (folder / "tokenizer.json").is_file():
        need(folder, "vocab.json")
        need(folder, "merges.txt")
    return (need(folder, *_WEIGHTS),)


def multilingual_files(folder: Path) -> MultilingualFiles:
    """The parts of a sentence-transformers folder: a transformer, mean pooling, a linear layer.

    Raises:
        InvalidInput: it is none, has other parts, or a file is missing.
    """
    modules = read_json(folder, "modules.json")
    try:
        parts = {str(part["type"]).rsplit(".", 1)[-1]: folder / str(part["path"]) for part in modules}
        order = tuple(parts)
    except (KeyError, TypeError):
        order = ()
    if order != ("Transformer", "Pooling", "Dense"):
        raise InvalidInput(
            f"{folder.name}/modules.json lists {', '.join(order)}; Transformer, Pooling, Dense are needed."
        )
    pooling = read_json(parts["Pooling"], "config.json")
    modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value]
    if modes != ["pooling_mode_mean_tokens"]:
        raise InvalidInput(f"{folder.name} pools by {', '.join(modes) or 'nothing'}; the mean of all tokens is needed.")
    activation = str(read_json(parts["Dense"], "config.json").get("activation_function", "Identity"))
    if activation.rsplit(".", 1)[-1] != "Identity":
        raise InvalidInput(f"{folder.name}'s linear layer is followed by {activation:.60}; Identity is needed.")
    transformer = parts["Transformer"]
    read_json(transformer, "config.json")
    need(transformer, "tokenizer.json", "vocab.txt")
    weights = (need(transformer, *_WEIGHTS), need(parts["Dense"], *_WEIGHTS))
    return MultilingualFiles(transformer, parts["Dense"], weights)


def dino_files(folder: Path) -> tuple[Path]:
    """The weights of a DINO or DINOv2 folder.

    Raises:
        InvalidInput: it is none, or a file is missing.
    """
    kind = read_json(folder, "config.json").get("model_type")
    if kind not in ("vit", "dinov2"):
        raise InvalidInput(f"{folder.name}/config.json describes {kind!r:.40}; vit (DINO) or dinov2 is needed.")
    need(folder, "preprocessor_config.json")
    return (need(folder, *_WEIGHTS),)


def lpips_files(folder: Path) -> LpipsFiles:
    """Backbone and heads, of AlexNet if it is there, as LPIPS's authors advise for measuring, else of VGG16.

    Raises:
        InvalidInput: there is no pair of them.
    """
    for network, pattern, heads in (("alex", "alexnet*.pth", "alex.pth"), ("vgg", "vgg16*.pth", "vgg.pth")):
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise InvalidInput(f"{folder.name} has {len(found)} files {pattern}; one is needed.")
        if found and (folder / heads).is_file():
            return LpipsFiles(network, found[0], folder / heads)
    raise InvalidInput(f"{folder.name} has no pair of alexnet*.pth and alex.pth, nor of vgg16*.pth and vgg.pth.")


def i3d_files(folder: Path) -> tuple[Path]:
    """The TorchScript file.

    Raises:
        InvalidInput: it is not there.
    """
    return (need(folder, "i3d_torchscript.pt"),)


def need(folder: Path, *names: str) -> Path:
    """The first file of these names.

    Raises:
        InvalidInput: there is none.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InvalidInput(f"{folder.name} has no {' or '.join(names)}.")


def read_json(folder: Path, name: str) -> Any:
    """A JSON file.

    Raises:
        InvalidInput: it is not there, or is no JSON.
    """
    file = need(folder, name)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise InvalidInput(f"{folder.name}/{name} is no JSON.") from None


def digest(files: Sequence[Path]) -> str:
    """SHA-256 of a file's bytes; of several, that of the lines ``<sha256>  <name>``, as sha256sum prints them.

    Args:
        files: at least one.

    Returns:
        64 hexadecimal digits; of one file those that its publisher shows.
    """
    each = []
    for file in files:
        with file.open("rb") as opened:
            each.append(hashlib.file_digest(opened, "sha256").hexdigest())
    if len(each) == 1:
        return each[0]
    lines = "".join(f"{found}  {file.name}\n" for found, file in zip(each, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _fits(clip: Path | None) -> None:
    """Refuse other CLIPs beside the multilingual tower: with ViT-B/16, of equal width, it would give numbers too."""
    patch = read_json(clip, "config.json").get("vision_config", {}).get("patch_size", 32) if clip else None
    if patch != 32:
        there = "it is not there" if clip is None else f"its patches are of {patch} pixels"
        raise InvalidInput(f"the multilingual tower needs ViT-B/32 in clip, and {there}.")


_KINDS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "clip": ("CLIP score and CLIP consistency", "a Hugging Face CLIP folder, ViT-B/32 or ViT-L/14", clip_files),
    "clip-multilingual": (
        "CLIP score, multilingual",
        "sentence-transformers' clip-ViT-B-32-multilingual-v1, for prompts in Korean",
        multilingual_files,
    ),
    "dino": ("DINO consistency", "a Hugging Face DINO or DINOv2 folder", dino_files),
    "lpips": ("LPIPS", "alexnet-owt-….pth of torchvision and alex.pth of LPIPS", lpips_files),
    "i3d": ("FVD and KVD", "i3d_torchscript.pt of StyleGAN-V", i3d_files),
}
