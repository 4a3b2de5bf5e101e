"""Parameters of the PyTorch backend. What PyTorch keeps for the whole process is set when they are parsed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import ModelConfig

# Weights are shared between the instances of one process; here each instance is a process.
IGNORED = ("ENABLE_WEIGHT_SHARING",)
KNOWN = frozenset(
    {
        *IGNORED,
        "DISABLE_CUDNN",
        "DISABLE_OPTIMIZED_EXECUTION",
        "ENABLE_CACHE_CLEANING",
        "ENABLE_JIT_EXECUTOR",
        "ENABLE_JIT_PROFILING",
        "ENABLE_TENSOR_FUSER",
        "INFERENCE_MODE",
        "INTER_OP_THREAD_COUNT",
        "INTRA_OP_THREAD_COUNT",
    }
)


@dataclass(frozen=True)
class TorchOptions:
    """What holds for each run.

    Attributes:
        optimized_execution: let the graph executor optimize.
        inference_mode: run under ``torch.inference_mode``.
        cache_cleaning: give cached GPU memory back after each run.
    """

    optimized_execution: bool
    inference_mode: bool
    cache_cleaning: bool


def parse(config: ModelConfig, log: Log) -> TorchOptions:
    """Read the parameters and set what is the process's.

    Raises:
        LoadError: a known parameter does not parse.
    """
    for key in sorted(config.parameters.keys() - KNOWN):
        log.log_warn(f"model '{config.name}': parameter '{key}' is ignored: the backend has none of that name")
    for key in IGNORED:
        if config.boolean(key, False):
            log.log_warn(f"model '{config.name}': parameter '{key}' is ignored: each instance is a process of its own")
    for accelerator in (*config.gpu_accelerators, *config.cpu_accelerators):
        log.log_warn(f"model '{config.name}': accelerator '{accelerator.name}' is ignored")
    _set_threads(config, log)
    _set_jit(config)
    torch.backends.cudnn.enabled = not config.boolean("DISABLE_CUDNN", False)
    return TorchOptions(
        optimized_execution=not config.boolean("DISABLE_OPTIMIZED_EXECUTION", False),
        inference_mode=config.boolean("INFERENCE_MODE", True),
        cache_cleaning=config.boolean("ENABLE_CACHE_CLEANING", False),
    )


def empty_cache() -> None:
    """Give cached GPU memory back."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _set_threads(config: ModelConfig, log: Log) -> None:
    """Set the thread counts; without them PyTorch takes a thread for each core."""
    if (intra := config.integer("INTRA_OP_THREAD_COUNT", 0)) > 0:
        torch.set_num_threads(intra)
    # PyTorch takes a second setting badly. This is a fresh process; the C++ backend's is the whole server.
    if (inter := config.integer("INTER_OP_THREAD_COUNT", 0)) > 0 and torch.get_num_interop_threads() != inter:
        torch.set_num_interop_threads(inter)
        log.log_warn(
            f"model '{config.name}': INTER_OP_THREAD_COUNT is for the whole server in the C++ backend, which up "
            "to release "
            "24.10 dies when a second model, or a reload, sets it"
        )


def _set_jit(config: ModelConfig) -> None:
    """Switches of the TorchScript executor, which keep PyTorch's own default where they are not configured."""
    switches = {
        "ENABLE_JIT_EXECUTOR": torch._C._jit_set_profiling_executor,
        "ENABLE_JIT_PROFILING": torch._C._jit_set_profiling_mode,
        "ENABLE_TENSOR_FUSER": torch._C._jit_set_texpr_fuser_enabled,
    }
    for key, switch in switches.items():
        if key in config.parameters:
            switch(config.boolean(key, True))
