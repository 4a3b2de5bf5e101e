"""What an adapter's matrices have to be for a network, and how much they change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from atelier.generation.errors import LoraError
from atelier.generation.lora_file import Adapter, Pair, listed


def check_shapes(adapter: Adapter, layers: Mapping[str, nn.Module], parameters: Mapping[str, Tensor]) -> None:
    """See that what an adapter holds has the shapes of what it is for.

    Args:
        adapter: the file.
        layers: the network's, by name.
        parameters: likewise.

    Raises:
        LoraError: something has not; the sentence names it.
    """
    wrong = []
    for name, pair in adapter.pairs.items():
        module = layers[name]
        # Quantised weights are stored in other shapes than they stand for.
        expected = (
            (module.out_features, module.in_features) if isinstance(module, nn.Linear) else tuple(module.weight.shape)  # type: ignore[arg-type]
        )
        if not isinstance(module, nn.Linear | nn.Conv3d) or not _fits(pair, expected):
            down, up = list(pair.down.shape), list(pair.up.shape)
            wrong.append(f"{name}: {up} and {down} for a layer of {list(expected)}")
    for name, change in adapter.changes.items():
        parameter = parameters[name]
        if not parameter.is_floating_point() or parameter.element_size() < 2:
            raise LoraError(f"{adapter.file} changes {name}, which is quantised here: it cannot be added to.")
        if _without_ones(change.shape) != _without_ones(parameter.shape):
            wrong.append(f"{name}: {list(change.shape)} for {list(parameter.shape)}")
    if wrong:
        raise LoraError(f"{adapter.file} is of another network, its shapes do not fit: {listed(wrong)}.")


def _fits(pair: Pair, shape: tuple[int, ...]) -> bool:
    """Whether the matrices give a change of this shape; trailing ones are passed over for linear layers."""
    down, up = tuple(pair.down.shape), tuple(pair.up.shape)
    if min(len(down), len(up)) < 2 or up[1] != down[0] or not pair.rank:
        return False
    if len(shape) == 2:
        return (up[0], down[1]) == shape and {*down[2:], *up[2:]} <= {1}
    return up[0] == shape[0] and down[1:] == shape[1:] and {*up[2:]} <= {1}


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [side for side in shape if side != 1]


def norm_of(adapter: Adapter) -> float:
    """Frobenius norm of all changes at scale 1, without making them: ‖BA‖² = tr(BᵀB · AAᵀ).

    Where a weight has both, the product of B A and its whole change D is tr(Bᵀ D Aᵀ).
    """
    total = sum(float(change.double().square().sum()) for change in adapter.changes.values())
    for name, pair in adapter.pairs.items():
        down, up = pair.down.double().flatten(1), pair.up.double().flatten(1)
        total += pair.factor**2 * float(((up.T @ up) * (down @ down.T)).sum())
        if (change := adapter.changes.get(f"{name}.weight")) is not None:
            total += 2 * pair.factor * float((up.T @ change.double().reshape(len(up), -1) * down).sum())
    return math.sqrt(max(0.0, total))
