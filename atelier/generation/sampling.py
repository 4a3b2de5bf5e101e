"""Wan's samplers on diffusers' solvers: the noise levels of the official code, or diffusers' own.

The official code (Wan2.2, ``fm_solvers_unipc.py``, ``fm_solvers.py``) and diffusers begin at slightly different levels;
their latents differ by about 0.05. With the official levels diffusers' UniPC gives the official latents.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

Solver = Literal["unipc", "dpm++"]
Grid = Literal["official", "diffusers"]
TRAIN_STEPS = 1000


class OfficialUniPC(UniPCMultistepScheduler):
    """UniPC on the official levels: from 1 - 1/1000 to 0, then shifted."""

    def set_timesteps(self: Any, num_inference_steps: int, device: Any = None, **_: Any) -> None:
        """Set the levels of one run."""
        levels = np.linspace(1 - 1 / self.config.num_train_timesteps, 0, num_inference_steps + 1)[:-1]
        solver: Any = super()
        solver.set_timesteps(sigmas=levels, device=device)


class OfficialDpm(DPMSolverMultistepScheduler):
    """DPM-Solver++ 2M on the official levels: from 1 to 0, then shifted."""

    def set_timesteps(self: Any, num_inference_steps: int, device: Any = None, **_: Any) -> None:
        """Set the levels of one run."""
        solver: Any = super()
        solver.set_timesteps(num_inference_steps, device=device)
        levels = shifted(np.linspace(1, 0, num_inference_steps + 1)[:-1], self.config.flow_shift)
        self.sigmas = torch.from_numpy(np.append(levels, 0.0).astype(np.float32))
        self.timesteps = torch.from_numpy(levels * self.config.num_train_timesteps).to(device, torch.int64)


def shifted(levels: np.ndarray[Any, np.dtype[np.float64]], shift: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Noise levels moved towards noise: s σ / (1 + (s - 1) σ) (Esser et al. 2024, arXiv 2403.03206, eq. 23)."""
    return shift * levels / (1 + (shift - 1) * levels)


def make_scheduler(solver: Solver, shift: float, grid: Grid) -> Any:
    """A solver for one run.

    Args:
        solver: ``unipc`` (Zhao et al. 2023, arXiv 2302.04867) or ``dpm++`` (Lu et al. 2022, arXiv 2211.01095).
        shift: of the noise levels; 5 is Wan's own.
        grid: whose levels.
    """
    common: dict[str, Any] = {
        "num_train_timesteps": TRAIN_STEPS,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": shift,
        "solver_order": 2,
        "final_sigmas_type": "zero",
    }
    kind: Any
    if solver == "unipc":
        kind = OfficialUniPC if grid == "official" else UniPCMultistepScheduler
        return kind(**common, solver_type="bh2", predict_x0=True, lower_order_final=True)
    kind = OfficialDpm if grid == "official" else DPMSolverMultistepScheduler
    return kind(**common, algorithm_type="dpmsolver++", solver_type="midpoint", lower_order_final=True)
