"""Session options and execution providers of ONNX Runtime, from a model configuration with the C++ backend's keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnxruntime

from atelier.serving.backends.bridge import Log
from atelier.serving.backends.config import Accelerator, LoadError, ModelConfig, parse_boolean

# Triton's numbers, not ONNX Runtime's: any other value means all optimizations.
GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
DEVICE_ALLOCATOR = "session.use_device_allocator_for_initializers"
ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
CUDA_PARAMETERS = frozenset(
    {"cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream"}
)
KNOWN_PARAMETERS = CUDA_PARAMETERS | {
    "execution_mode",
    "intra_op_thread_count",
    "inter_op_thread_count",
    "enable_mem_arena",
    "enable_mem_pattern",
    DEVICE_ALLOCATOR,
    ARENA_SHRINKAGE,
}

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
CPU = "CPUExecutionProvider"
PRECISIONS: dict[str, dict[str, str]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
# Triton's own names for options of the TensorRT provider; those that begin with trt_ keep their names.
TENSORRT_NAMES = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}

Provider = tuple[str, dict[str, str]]


def session_options(config: ModelConfig, log: Log) -> onnxruntime.SessionOptions:
    """Options as the C++ backend sets them.

    Raises:
        LoadError: a parameter does not parse.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = GRAPH_LEVELS.get(
        config.graph_level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    )
    mode = config.integer("execution_mode", 0)
    if mode not in (0, 1):
        raise LoadError(
            f"Invalid configuration value provided. Expected values for execution_mode are 0 or 1 but got {mode}."
        )
    parallel = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.execution_mode = parallel if mode == 1 else onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # 0 lets ONNX Runtime choose: a thread for each core. Negative values mean the same to the C++ backend.
    options.intra_op_num_threads = max(0, config.integer("intra_op_thread_count", 0))
    options.inter_op_num_threads = max(0, config.integer("inter_op_thread_count", 0))
    options.enable_cpu_mem_arena = config.boolean("enable_mem_arena", True)
    options.enable_mem_pattern = config.boolean("enable_mem_pattern", True)
    if DEVICE_ALLOCATOR in config.parameters:
        options.add_session_config_entry(DEVICE_ALLOCATOR, config.parameters[DEVICE_ALLOCATOR])
    for key in sorted(config.parameters.keys() - KNOWN_PARAMETERS):
        log.log_warn(f"model '{config.name}': parameter '{key}' is ignored: the backend has none of that name")
    return options


def run_options(config: ModelConfig) -> onnxruntime.RunOptions:
    """Options of each run."""
    options = onnxruntime.RunOptions()
    if ARENA_SHRINKAGE in config.parameters:
        options.add_run_config_entry(ARENA_SHRINKAGE, config.parameters[ARENA_SHRINKAGE])
    return options


def providers(config: ModelConfig, available: Sequence[str], log: Log) -> list[Provider]:
    """Execution providers, the preferred one first.

    A GPU instance without CUDA in ONNX Runtime runs on the CPU, with a warning: without a ``kind`` in the
    configuration Triton makes GPU instances wherever there is a GPU, and the plain ``onnxruntime`` package beside one
    should serve slowly rather than not at all.

    Args:
        config: the model configuration.
        available: the providers that the installed ONNX Runtime offers.
        log: where to say what is not used.

    Raises:
        LoadError: an accelerator or one of its parameters is unknown.
    """
    if config.cpu_accelerators:
        raise LoadError(f"unknown Execution Accelerator '{config.cpu_accelerators[0].name}' is requested")
    chosen: list[Provider] = []
    if config.kind == "GPU":
        chosen = [p for p in _gpu_providers(config) if _is_available(p[0], config, available, log)]
    else:
        for what in [a.name for a in config.gpu_accelerators] + sorted(config.parameters.keys() & CUDA_PARAMETERS):
            log.log_info(f"model '{config.name}': '{what}' is ignored on a CPU instance")
    return [*chosen, (CPU, {})]


def _is_available(name: str, config: ModelConfig, available: Sequence[str], log: Log) -> bool:
    if name in available:
        return True
    log.log_warn(
        f"model '{config.name}': this ONNX Runtime has no {name}, so the instance does without: install "
        "onnxruntime-gpu "
        "instead of onnxruntime to use the GPU"
    )
    return False


def _gpu_providers(config: ModelConfig) -> list[Provider]:
    chosen: list[Provider] = []
    cuda: dict[str, str] = _cuda_parameters(config)
    for accelerator in config.gpu_accelerators:
        if accelerator.name == "tensorrt":
            chosen.append((TENSORRT, {**_tensorrt_options(accelerator), "device_id": str(config.device)}))
        elif accelerator.name == "cuda":
            cuda |= {key: value for key, value in accelerator.parameters.items() if value}
        else:
            raise LoadError(f"unknown Execution Accelerator '{accelerator.name}' is requested")
    return [*chosen, (CUDA, {**cuda, "device_id": str(config.device)})]


def _cuda_parameters(config: ModelConfig) -> dict[str, str]:
    """The older spelling: numbers in the model's parameters."""
    options: dict[str, str] = {}
    choices: Mapping[str, tuple[str, ...]] = {
        "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
    }
    for key, names in choices.items():
        if key in config.parameters:
            value = config.integer(key, 0)
            if not 0 <= value < len(names):
                raise LoadError(f"unsupported {key} value '{value}' is requested")
            options[key] = names[value]
    for key in ("gpu_mem_limit", "do_copy_in_default_stream"):
        if key in config.parameters:
            options[key] = config.parameters[key]
    return options


def _tensorrt_options(accelerator: Accelerator) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in accelerator.parameters.items():
        if key == "precision_mode":
            if value not in PRECISIONS:
                raise LoadError(f"unsupported precision mode '{value}' is requested")
            options |= PRECISIONS[value]
        elif key in TENSORRT_NAMES or key.startswith("trt_"):
            if key.endswith("_enable") or key == "int8_use_native_calibration_table":
                parse_boolean(value)
            options[TENSORRT_NAMES.get(key, key)] = value
        else:
            raise LoadError(f"unknown parameter '{key}' is provided for TensorRT Execution Accelerator")
    return options
