"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) on Wan's network: applied and shown to be applied, or refused.

The network computes ``W x + scale · s · B A x``, with ``s`` = alpha / rank where the file has alpha, else 1. Weights
stay as they are, so that switching off gives the base back bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from atelier.generation.errors import LoraError
from atelier.generation.lora_checks import check_shapes, norm_of
from atelier.generation.lora_file import Adapter, listed, read_adapter
from atelier.generation.probe import probe

__all__ = ["LoraError", "LoraReport", "attach", "attached", "detach", "examine", "set_scales"]

_STATE = "_atelier_adapters"
_PEFT_MARKS = ("_hf_peft_config_loaded", "peft_config")
"""Attributes that diffusers leaves on a network which had adapters."""


@dataclass(frozen=True)
class LoraReport:
    """That an adapter is applied, and how much it changes.

    Attributes:
        name: by which it is attached.
        file: the file's name.
        sha256: of the file.
        modules_applied: layers that it changes.
        modules_expected: layers that the file is for; the same number, or it would have been refused.
        rank: of its matrices, the largest; 0 where it has none.
        alpha: as the file has it; None where it has none, or not the same one for all layers.
        scale: what the change is multiplied with.
        delta_norm: Frobenius norm of all that is added to weights, at this scale.
        effect: largest difference of the network's answer to one small input with and without it, at scale 1.
        unmatched: tensors of the file without a place; none, or it would have been refused.
        warning: that it has no effect, for instance since it was never trained; else empty.
    """

    name: str
    file: str
    sha256: str
    modules_applied: int
    modules_expected: int
    rank: int
    alpha: float | None
    scale: float
    delta_norm: float
    effect: float
    unmatched: list[str] = field(default_factory=list)
    warning: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class _Attached:
    """What the network remembers of one adapter."""

    key: str
    report: LoraReport
    norm: float  # at scale 1
    changes: dict[str, Tensor]
    layers: list[str]
    bytes: int
    scale: float


class _Adapters:
    """All adapters of one network, and the parameters as they were before any was changed."""

    def __init__(self) -> None:
        self.held: dict[str, _Attached] = {}
        self.base: dict[str, Tensor] = {}
        self._trained: list[str] = []
        self._peft_marks: set[str] = set()

    def remember(self, transformer: nn.Module) -> None:
        """What PEFT changes of the network beside its layers, before the first adapter."""
        if not self.held:
            self._trained = [name for name, value in transformer.named_parameters() if value.requires_grad]
            self._peft_marks = set(vars(transformer)) & set(_PEFT_MARKS)

    def restore(self, transformer: nn.Module) -> None:
        """As it was, after the last one."""
        if self.held:
            return
        parameters = dict(transformer.named_parameters())
        for name in self._trained:
            parameters[name].requires_grad_(True)
        for mark in set(vars(transformer)) & set(_PEFT_MARKS) - self._peft_marks:
            delattr(transformer, mark)


def attach(transformer: Any, path: str | Path, scale: float = 1.0, name: str | None = None) -> LoraReport:
    """Attach an adapter beside those that are there, and switch it on.

    Args:
        transformer: a diffusers `WanTransformer3DModel`.
        path: the ``.safetensors`` file; the layouts are in `atelier.generation.lora_file`.
        scale: what the change is multiplied with; any finite number.
        name: to speak of it; the file's stem if None.

    Raises:
        LoraError: the adapter cannot be applied as a whole, or the name is taken. The network is as it was.
    """
    file = Path(path)
    name = file.stem if name is None else name
    state = _state(transformer)
    _check_scale(name, scale)
    if name in state.held:
        raise LoraError(f"An adapter called {name} is attached already.")
    if getattr(transformer, "is_cache_enabled", False):
        raise LoraError("An adapter cannot be attached while a cache of the network's blocks is on.")
    _refuse_strangers(transformer, state)
    layers, parameters = _layers(transformer), dict(transformer.named_parameters())
    adapter = read_adapter(file, layers, (_plain(parameter) for parameter in parameters))
    check_shapes(adapter, layers, {_plain(key): value for key, value in parameters.items()})
    held = _Attached(
        key=f"atelier-{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        report=_describe(adapter, name, scale),
        norm=norm_of(adapter),
        changes=adapter.changes,
        layers=sorted(adapter.pairs),
        bytes=adapter.bytes,
        scale=1.0,
    )
    if max(1.0, abs(scale)) * held.norm > torch.finfo(torch.float32).max / len(adapter.modules):
        raise LoraError(f"{adapter.file} at {scale:g} changes more than a network's numbers can hold.")
    before = {other: entry.scale for other, entry in state.held.items()}
    state.remember(transformer)
    try:
        set_scales(transformer, {})
        without = _probe(transformer, adapter.file)
        if adapter.pairs:
            _inject(transformer, adapter, held.key)
        state.held[name] = held
        set_scales(transformer, {name: 1.0})
        effect = _effect(_probe(transformer, adapter.file), without, held.norm, adapter.file)
        set_scales(transformer, {**before, name: scale})
        if scale not in (0.0, 1.0) and not bool(torch.isfinite(_probe(transformer, adapter.file)).all()):
            raise LoraError(f"With {adapter.file} at {scale:g} the network answers values that are not finite.")
    except BaseException:
        _remove(transformer, name, held)
        set_scales(transformer, before)
        raise
    warning = "" if held.norm else f"{adapter.file} changes nothing: all that it would add is zero."
    held.report = _replaced(held.report, effect=effect, warning=warning, delta_norm=abs(scale) * held.norm)
    return held.report


def examine(transformer: Any, path: str | Path) -> LoraReport:
    """What `attach` would apply, without applying it: everything but the pass through the network.

    Args:
        transformer: the network; without weights (on the meta device) too.
        path: the file.

    Raises:
        LoraError: the adapter could not be applied as a whole.
    """
    file = Path(path)
    layers, parameters = _layers(transformer), dict(transformer.named_parameters())
    adapter = read_adapter(file, layers, (_plain(parameter) for parameter in parameters))
    check_shapes(adapter, layers, {_plain(key): value for key, value in parameters.items()})
    return _replaced(_describe(adapter, file.stem, 1.0), delta_norm=norm_of(adapter))


def detach(transformer: Any, name: str) -> None:
    """Take an adapter away; the others stay as they are.

    Args:
        transformer: the network.
        name: as it was attached.

    Raises:
        LoraError: there is none of this name, or it was fused into the weights.
    """
    state = _state(transformer)
    if name not in state.held:
        raise LoraError(f"No adapter called {name} is attached.")
    _refuse_strangers(transformer, state)
    _remove(transformer, name, state.held[name])
    set_scales(transformer, {other: entry.scale for other, entry in state.held.items()})


def set_scales(transformer: Any, scales: Mapping[str, float]) -> None:
    """Switch on the adapters that are named, each at its scale, and all others off.

    Args:
        transformer: the network.
        scales: name to scale; empty: the base network, bit for bit.

    Raises:
        LoraError: one is not attached, or a scale is not finite.
    """
    state = _state(transformer)
    if strangers := sorted(scales.keys() - state.held.keys()):
        raise LoraError(f"No adapter called {strangers[0]} is attached.")
    for name, scale in scales.items():
        _check_scale(name, scale)
    _refuse_strangers(transformer, state)
    for name, held in state.held.items():
        held.scale = scales.get(name, 0.0)
    active = {held.key: held.scale for name, held in state.held.items() if name in scales and held.scale}
    for layer in _tuners(transformer).values():
        present = [key for key in active if key in layer.scaling]
        if present:
            layer.set_adapter(present)
            for key in present:
                layer.set_scale(key, active[key])
        layer.enable_adapters(bool(present))
        layer.requires_grad_(False)
    _change_parameters(transformer, state)


def attached(transformer: Any) -> dict[str, LoraReport]:
    """The adapters that are attached, by name, each at the scale that applies now (0: switched off)."""
    held = _state(transformer).held
    return {
        name: _replaced(entry.report, scale=entry.scale, delta_norm=abs(entry.scale) * entry.norm)
        for name, entry in held.items()
    }


def _check_scale(name: str, scale: Any) -> None:
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise LoraError(f"The scale of {name} is {scale!r:.40}; a finite number is accepted.")


def _refuse_strangers(transformer: Any, state: _Adapters) -> None:
    """What somebody else attached or merged would be switched off, or stay behind, without a word."""
    known = {held.key for held in state.held.values()}
    for layer in _tuners(transformer).values():
        if strangers := sorted(set(layer.scaling) - known):
            raise LoraError(f"The network carries the adapter {strangers[0]}, which was not attached here: unload it.")
        if layer.merged:
            raise LoraError("An adapter was fused into the network's weights: unfuse it.")


def _state(transformer: Any) -> _Adapters:
    if not hasattr(transformer, _STATE):
        object.__setattr__(transformer, _STATE, _Adapters())
    state: _Adapters = getattr(transformer, _STATE)
    return state


def _replaced(report: LoraReport, **changes: Any) -> LoraReport:
    return LoraReport(**{**asdict(report), **changes})


def _plain(name: str) -> str:
    """A name as the network has it without PEFT's layers around its own."""
    return name.replace(".base_layer.", ".")


def _layers(transformer: nn.Module) -> dict[str, nn.Module]:
    """The network's own layers with a weight, by name; those that PEFT put around them aside."""
    found: dict[str, nn.Module] = {}
    for name, module in transformer.named_modules():
        if ".lora_" in name or name.endswith(".base_layer"):
            continue
        module = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        if isinstance(getattr(module, "weight", None), Tensor):
            found[name] = module
    return found


def _tuners(transformer: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in transformer.named_modules() if isinstance(module, BaseTunerLayer)}


def _describe(adapter: Adapter, name: str, scale: float) -> LoraReport:
    alphas = {pair.alpha for pair in adapter.pairs.values()}
    return LoraReport(
        name=name,
        file=adapter.file,
        sha256=adapter.sha256,
        modules_applied=len(adapter.modules),
        modules_expected=len(adapter.modules),
        rank=max((pair.rank for pair in adapter.pairs.values()), default=0),
        alpha=alphas.pop() if len(alphas) == 1 else None,
        scale=scale,
        delta_norm=0.0,
        effect=0.0,
    )


def _inject(transformer: Any, adapter: Adapter, key: str) -> None:
    """Give PEFT the matrices, and see that each has arrived where it belongs."""
    layers = _layers(transformer)
    state: dict[str, Tensor] = {}
    for name, pair in adapter.pairs.items():
        weight: Any = layers[name].weight
        dtype = weight.dtype if weight.is_floating_point() and weight.element_size() > 1 else torch.bfloat16
        down, up = (pair.down, pair.up) if weight.ndim > 2 else (pair.down.flatten(1), pair.up.flatten(1))
        up = up.reshape(*up.shape[:2], *[1] * (weight.ndim - 2)) if weight.ndim > 2 else up
        # Without Tensor.contiguous safetensors' own memory, mapped from the file, would stay in use.
        state[f"{name}.lora_A.weight"] = down.to(dtype).contiguous()
        state[f"{name}.lora_B.weight"] = up.to(dtype).contiguous()
    ranks = {name: pair.rank for name, pair in adapter.pairs.items()}
    settings = {
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "rank_pattern": {f"^{name}": rank for name, rank in ranks.items()},
        "alpha_pattern": {f"^{name}": pair.factor * pair.rank for name, pair in adapter.pairs.items()},
        "target_modules": sorted(ranks),
    }
    try:
        with warnings.catch_warnings():  # PEFT is surprised by a second adapter
            warnings.filterwarnings("ignore", message="Already found a `peft_config`")
            transformer.load_lora_adapter(dict(state), prefix=None, adapter_name=key, metadata=settings)
    except (ValueError, RuntimeError, TypeError, KeyError) as error:
        raise LoraError(f"{adapter.file} cannot be applied: {_first_line(error)}.") from error
    _check_injected(transformer, adapter, key, state)


def _check_injected(transformer: Any, adapter: Adapter, key: str, state: Mapping[str, Tensor]) -> None:
    tuners = {name: layer for name, layer in _tuners(transformer).items() if key in layer.scaling}
    if tuners.keys() != adapter.pairs.keys():
        strangers = sorted(tuners.keys() ^ adapter.pairs.keys())
        raise LoraError(f"{adapter.file} was not applied to the layers it is for: {listed(strangers)}.")
    for name, layer in tuners.items():
        pair = adapter.pairs[name]
        arrived = all(
            torch.equal(half[key].weight.detach().cpu(), state[f"{name}.{letter}.weight"].cpu())
            for letter, half in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B))
        )
        if not arrived or not math.isclose(layer.scaling[key], pair.factor, rel_tol=1e-6, abs_tol=1e-12):
            raise LoraError(f"{adapter.file} was not applied as it is to {name}.")


def _probe(transformer: Any, file: str) -> Tensor:
    try:
        return probe(transformer)
    except (RuntimeError, TypeError, ValueError) as error:
        raise LoraError(f"{file}: the network cannot be run to see its effect: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _effect(found: Tensor, without: Tensor, norm: float, file: str) -> float:
    if not bool(torch.isfinite(found).all()):
        raise LoraError(f"With {file} the network answers values that are not finite.")
    effect = float((found - without).abs().max())
    if norm and not effect:
        raise LoraError(f"{file} was applied, and the network answers the same without it.")
    return effect


def _remove(transformer: Any, name: str, held: _Attached) -> None:
    """Take away whatever of an adapter is there."""
    state = _state(transformer)
    state.held.pop(name, None)
    if held.key in getattr(transformer, "peft_config", {}):
        transformer.delete_adapters(held.key)
    tuners = _tuners(transformer)
    if tuners and not any(layer.scaling for layer in tuners.values()):
        transformer.unload_lora()  # the network's own layers again
    _change_parameters(transformer, state)
    state.restore(transformer)


def _change_parameters(transformer: nn.Module, state: _Adapters) -> None:
    """Parameters that adapters change as a whole: what they were before, and what is added now."""
    wanted: dict[str, list[tuple[float, Tensor]]] = {}
    for held in state.held.values():
        for name, change in held.changes.items():
            if held.scale:
                wanted.setdefault(name, []).append((held.scale, change))
    parameters = {_plain(name): value for name, value in transformer.named_parameters()}
    with torch.no_grad():
        for name in wanted.keys() | state.base.keys():
            parameter = parameters[name]
            base = state.base.setdefault(name, parameter.detach().clone())
            if name in wanted:
                value = base.float()
                for scale, change in wanted[name]:
                    value = value + scale * change.to(base.device, torch.float32).reshape(base.shape)
                parameter.copy_(value.to(base.dtype))
            else:
                parameter.copy_(base)
                del state.base[name]
