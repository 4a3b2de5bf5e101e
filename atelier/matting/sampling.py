"""Times and steps of the denoising: one fixed time for noise of zeros, flow matching for Gaussian noise.

Source: Euler steps of flow matching as diffusers' FlowMatchEulerDiscreteScheduler takes them, which shifts its times
twice: once over its whole training grid, and once more over the steps that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from atelier.matting.errors import CheckpointError

_NEUTRAL: dict[str, Any] = {
    "use_dynamic_shifting": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "invert_sigmas": False,
    "stochastic_sampling": False,
    "shift_terminal": None,
}
"""Settings of the scheduler that change its times, at the values that do not."""


@dataclass(frozen=True)
class Step:
    """One call of the network.

    Attributes:
        timestep: what it is told, 0 to 1000.
        size: what its output is multiplied by before it is added; None: the output takes the sample's place.
    """

    timestep: float
    size: float | None


@dataclass(frozen=True)
class Sampler:
    """The scheduler's two numbers.

    Attributes:
        num_train_timesteps: of training.
        shift: of the times towards the noise.
    """

    num_train_timesteps: int = 1000
    shift: float = 3.0

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Sampler:
        """From ``scheduler/scheduler_config.json``.

        Raises:
            CheckpointError: the scheduler is another one, or is set up in a way that is not supported.
        """
        name = config.get("_class_name", "FlowMatchEulerDiscreteScheduler")
        if name != "FlowMatchEulerDiscreteScheduler":
            raise CheckpointError(f"The scheduler is {name}; GVM's is FlowMatchEulerDiscreteScheduler.")
        if changed := [key for key, value in _NEUTRAL.items() if config.get(key, value) != value]:
            raise CheckpointError(f"The scheduler's {changed[0]} is {config[changed[0]]}, which is not supported.")
        return cls(int(config.get("num_train_timesteps", 1000)), float(config.get("shift", 1.0)))

    def steps(self, count: int, noise_type: str) -> list[Step]:
        """What to call the network with, in order."""
        if noise_type == "zeros":
            return [Step(float(self.num_train_timesteps - 1), None)] * count
        total = self.num_train_timesteps
        lowest, highest = (float(self._shifted(np.float64(end / total))) for end in (1, total))
        times = np.linspace(highest * total, lowest * total, count) / total
        sigmas = [*self._shifted(times), 0.0]
        return [Step(float(now * total), float(then - now)) for now, then in pairwise(sigmas)]

    def _shifted(self, sigma: Any) -> Any:
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)
