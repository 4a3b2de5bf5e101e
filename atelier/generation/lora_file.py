"""LoRA files for Wan: every layout in use is read into one, by the names of diffusers' network.

============================== ==========================================================================
keys                            written by
============================== ==========================================================================
``X.lora_A.default.weight``     DiffSynth-Studio
``X.lora_A.weight``             the same without a name; with ``diffusion_model.`` musubi and others
``X.lora_down.weight``, alpha   ComfyUI's and LightX2V's, with ``diffusion_model.``
``lora_unet_X_Y.lora_down…``    kohya: dots are underscores
``transformer.X.lora_A.weight`` diffusers: its own names
``base_model.model.X…``         PEFT
``X.diff``, ``.diff_b``         whole changes of a weight and of a bias
============================== ==========================================================================
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from atelier.generation.errors import LoraError
from atelier.generation.names import diffusers_name, original_name

PREFIXES = (
    *("base_model.model.", "base_model.", "model.diffusion_model.", "diffusion_model.", "pipe.dit.", "transformer."),
    *("dit.", "model.", "module.", "_orig_mod."),
)
"""What may stand before a module's name."""
KOHYA = ("lora_unet__", "lora_unet_", "lora_transformer_")
UNSUPPORTED = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon with a middle matrix",
    "oft_": "OFT",  # and BOFT
}
LISTED, LONGEST = 3, 120
"""Names in an error, and characters of each."""
_HALF = re.compile(
    r"^(?P<module>.+?)[._]lora[._](?P<half>A|B|down|up)(?:\.(?!weight$|bias$)[^.]+)?\.(?P<kind>weight|bias)$"
)
_METADATA = "lora_adapter_metadata"


@dataclass
class Pair:
    """A layer's two matrices.

    Attributes:
        down: A, [rank, in …].
        up: B, [out, rank …].
        alpha: as the file has it; None where it has none, which means a factor of one.
        rooted: the factor is alpha / √rank (rsLoRA), not alpha / rank.
    """

    down: Tensor
    up: Tensor
    alpha: float | None = None
    rooted: bool = False

    @property
    def rank(self) -> int:
        """Rows of A."""
        return int(self.down.shape[0])

    @property
    def factor(self) -> float:
        """What B·A is multiplied with, the scale aside."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.rooted else self.rank)


@dataclass
class Adapter:
    """A LoRA file, by the names of diffusers' network.

    Attributes:
        file: its name.
        sha256: of its bytes.
        pairs: module to matrices.
        changes: parameter to what is added to it.
        bytes: of all tensors, as they are stored.
    """

    file: str
    sha256: str
    pairs: dict[str, Pair] = field(default_factory=dict)
    changes: dict[str, Tensor] = field(default_factory=dict)
    bytes: int = 0

    @property
    def modules(self) -> set[str]:
        """All layers that it is for."""
        return {*self.pairs, *(name.rpartition(".")[0] for name in self.changes)}


def read_adapter(path: str | Path, layers: Iterable[str], parameters: Iterable[str]) -> Adapter:
    """Read a file; every tensor of it must find its place.

    Args:
        path: a ``.safetensors`` file.
        layers: names of the network's modules.
        parameters: names of its parameters.

    Raises:
        LoraError: it is not there, cannot be read, is of another network or of a kind that is not supported, lacks
            half of a layer, or holds values that are not finite.
    """
    file = Path(path)
    state, metadata, digest = _read(file)
    adapter = Adapter(file.name, digest, bytes=sum(tensor.nbytes for tensor in state.values()))
    reading = _Reading(file.name, set(layers), set(parameters))
    for key, tensor in state.items():
        reading.take(key, tensor)
    reading.finish(adapter, _Settings.of(metadata, file))
    return adapter


class _Reading:
    """Sorts a file's tensors by the modules that they are for."""

    def __init__(self, file: str, layers: set[str], parameters: set[str]) -> None:
        self._file, self._layers, self._parameters = file, layers, parameters
        self._kohya = {other.replace(".", "_"): name for name in layers for other in (name, original_name(name))}
        self._halves: dict[str, dict[str, Tensor]] = {}
        self._changes: dict[str, Tensor] = {}
        self._strangers: list[str] = []

    def take(self, key: str, tensor: Tensor) -> None:
        """Put one tensor where it belongs.

        Raises:
            LoraError: it is of a kind that is not supported, has a second one beside it, or is not finite.
        """
        for part, kind in UNSUPPORTED.items():
            if part in key:
                raise LoraError(f"{self._file} is a {kind} adapter ({shown(key)}), which is not supported.")
        if not tensor.is_floating_point() and not key.endswith(".alpha"):
            raise LoraError(f"{self._file}: {shown(key)} holds {tensor.dtype}, which is no floating-point type.")
        if not bool(torch.isfinite(tensor.float()).all()):
            raise LoraError(f"{self._file}: {shown(key)} holds values that are not finite.")
        if match := _HALF.match(key):
            half = {"down": "A", "up": "B"}.get(match["half"], match["half"])
            self._put(key, match["module"], half if match["kind"] == "weight" else f"{half}.bias", tensor)
        elif key.endswith(".alpha"):
            self._put(key, key.removesuffix(".alpha"), "alpha", tensor)
        elif key.endswith((".diff", ".diff_b", ".diff_m")):
            self._put_change(key, tensor)
        else:
            self._strangers.append(key)

    def finish(self, adapter: Adapter, settings: _Settings) -> None:
        """Fill the adapter.

        Raises:
            LoraError: something has no place, or lacks its other half.
        """
        if self._strangers:
            raise LoraError(f"{self._file} does not fit this network: it has no place for {listed(self._strangers)}.")
        if not self._halves and not self._changes:
            raise LoraError(f"{self._file} holds no tensors.")
        for name, halves in self._halves.items():
            if missing := [f"lora_{half}" for half in ("A", "B") if half not in halves]:
                raise LoraError(f"{self._file} lacks {missing[0]} for {name}.")
            if min(halves["A"].ndim, halves["B"].ndim) < 2 or not halves["A"].shape[0]:
                shapes = f"{list(halves['B'].shape)} and {list(halves['A'].shape)}"
                raise LoraError(f"{self._file}: the matrices of {name} have shapes that are none: {shapes}.")
            alpha = settings.alpha(name)
            if "alpha" in halves:
                if halves["alpha"].numel() != 1:
                    raise LoraError(f"{self._file}: the alpha of {name} is no single number.")
                alpha = float(halves["alpha"].item())
            pair = Pair(halves["A"], halves["B"], alpha, settings.rooted and "alpha" not in halves)
            if "B.bias" in halves:
                self._change_bias(f"{name}.bias", halves["B.bias"].float() * pair.factor)
            adapter.pairs[name] = pair
        settings.check(self._file, adapter.pairs)
        adapter.changes |= self._changes

    def _change_bias(self, name: str, change: Tensor) -> None:
        """The bias of a second matrix is added to the layer's own."""
        if name not in self._parameters:
            raise LoraError(f"{self._file} does not fit this network: there is no {name} for the bias of its lora_B.")
        if name in self._changes:
            raise LoraError(f"{self._file} holds a change of {name} twice.")
        self._changes[name] = change

    def _put(self, key: str, raw: str, half: str, tensor: Tensor) -> None:
        name = self._module(raw)
        if name is None or half == "A.bias":
            self._strangers.append(key)
            return
        halves = self._halves.setdefault(name, {})
        if half in halves:
            raise LoraError(f"{self._file} holds lora_{half} for {name} twice.")
        halves[half] = tensor

    def _put_change(self, key: str, tensor: Tensor) -> None:
        raw, _, kind = key.rpartition(".")
        candidates = {"diff": [f"{raw}.weight", raw], "diff_b": [f"{raw}.bias"], "diff_m": [f"{raw}.modulation"]}[kind]
        for candidate in candidates:
            name = self._parameter(candidate)
            if name is None:
                continue
            if name in self._changes:
                raise LoraError(f"{self._file} holds a change of {name} twice.")
            self._changes[name] = tensor
            return
        self._strangers.append(key)

    def _module(self, raw: str) -> str | None:
        for prefix in KOHYA:
            if raw.startswith(prefix):
                return self._kohya.get(raw.removeprefix(prefix))
        return _find(raw, self._layers)

    def _parameter(self, raw: str) -> str | None:
        for prefix in KOHYA:
            if raw.startswith(prefix):
                module, _, last = raw.removeprefix(prefix).rpartition(".")
                found = self._kohya.get(module)
                return _find(f"{found}.{last}", self._parameters) if found else None
        return _find(raw, self._parameters)


@dataclass(frozen=True)
class _Settings:
    """What PEFT's settings say of alpha, where a file's header or a neighbour has them."""

    default: float | None = None
    patterns: Mapping[str, float] = field(default_factory=dict)
    rooted: bool = False

    @classmethod
    def of(cls, metadata: Mapping[str, str], file: Path) -> _Settings:
        """From the header that diffusers writes, or from ``adapter_config.json`` beside PEFT's own file."""
        text = metadata.get(_METADATA)
        beside = file.with_name("adapter_config.json")
        try:
            if text is None and file.name == "adapter_model.safetensors" and beside.is_file():
                text = beside.read_text(encoding="utf-8")
            if text is None:
                return cls()
            found = {key.removeprefix("transformer."): value for key, value in json.loads(text).items()}
            default = found.get("lora_alpha")
            patterns = {str(key): float(value) for key, value in (found.get("alpha_pattern") or {}).items()}
            settings = cls(None if default is None else float(default), patterns, bool(found.get("use_rslora")))
            for pattern in patterns:
                re.compile(pattern)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError, re.error):
            raise LoraError(f"{file.name}: its settings (alpha) cannot be read.") from None
        if found.get("use_dora"):
            raise LoraError(f"{file.name} is a DoRA adapter, which is not supported.")
        if not all(map(math.isfinite, (*patterns.values(), settings.default or 0.0))):
            raise LoraError(f"{file.name}: an alpha among its settings is not finite.")
        return settings

    def alpha(self, module: str) -> float | None:
        """Of one module, by diffusers' name; patterns may mean that or the original one."""
        for pattern, value in self.patterns.items():
            if _matches(pattern, module):
                return value
        return self.default

    def check(self, file: str, modules: Iterable[str]) -> None:
        """See that every pattern is of some module.

        Raises:
            LoraError: one is of none: its alpha would be lost.
        """
        names = list(modules)
        if lost := [pattern for pattern in self.patterns if not any(_matches(pattern, name) for name in names)]:
            raise LoraError(f"{file}: its settings have an alpha for {listed(lost)}, which it has no matrices for.")


def _matches(pattern: str, module: str) -> bool:
    """Whether a module is meant, by PEFT's own rule: a regular expression for the end of its name."""
    return any(re.match(rf"(.*\.)?({pattern})$", name) for name in (module, original_name(module)))


def listed(names: list[str]) -> str:
    """The first few of many names, and how many more."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(shown(name) for name in sorted(names)[:LISTED]) + more


def shown(name: str) -> str:
    """A name as one line of an error: a file's own may be of any length, and hold breaks."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}…"


def _find(raw: str, known: set[str]) -> str | None:
    """The name in diffusers' network that a name means, whatever prefix stands before it."""
    while True:
        for name in (raw, diffusers_name(raw)):
            if name in known:
                return name
        prefix = next((prefix for prefix in PREFIXES if raw.startswith(prefix)), None)
        if prefix is None:
            return None
        raw = raw.removeprefix(prefix)


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """Tensors, header and digest."""
    if file.suffix != ".safetensors":
        raise LoraError(f"{file.name} is no .safetensors file, which adapters are read from.")
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        with safe_open(file, framework="pt") as tensors:
            return {key: tensors.get_tensor(key) for key in tensors.keys()}, tensors.metadata() or {}, digest  # noqa: SIM118
    except FileNotFoundError:
        raise LoraError(f"There is no adapter {file.name}.") from None
    except IsADirectoryError:
        raise LoraError(f"{file.name} is a folder, not a file.") from None
    except PermissionError:
        raise LoraError(f"{file.name} may not be read.") from None
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise LoraError(f"{file.name} cannot be read: {str(error).splitlines()[0][:200]}.") from None
