"""The moving average of the weights, which is what a run is for: it is steadier than the weights of any one step."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """A copy of a network, in eval mode, whose weights and running statistics follow it slowly.

    Args:
        network: What is followed.
        decay: Share of the average that a step leaves. The first steps leave less, (1 + n) / (10 + n) after n of
            them, or the average would hold on to random weights.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._source, self._source_counts = _tensors(network)
        self._target, self._target_counts = _tensors(self.network)

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the network's present weights.

        Args:
            steps: How often that was done before.
        """
        decay = min(self.decay, (1 + steps) / (10 + steps))
        follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        follow(self._target, self._source, steps)
        for target, source in zip(self._target_counts, self._source_counts, strict=True):
            target.copy_(source)


def _tensors(network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters and buffers: those that can be averaged, and those that count."""
    # Detached, and the parameters' own memory all the same: an average is no part of any gradient.
    every = [tensor.detach() for tensor in (*network.parameters(), *network.buffers())]
    return [t for t in every if t.is_floating_point()], [t for t in every if not t.is_floating_point()]
