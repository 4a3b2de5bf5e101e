"""Random FLUX.1-Fill, FLUX.1-Redux and FLUX.2 klein, on disk as the published ones lie there.

Their pictures are noise; their files go through every step that published ones do. Each tensor is drawn from its own
generator, seeded by its name, and written at once: the full size takes the memory of one shard.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from export.errors import ExportError
from export.flux import networks, tokenizers
from export.flux.networks import Component
from export.synthetic import Size
from export.wan.synthetic import RandomWeights, write_shards

_SHARD: dict[Size, int] = {"tiny": 300_000, "full": 5_000_000_000}  # bytes
_SCHEDULER: dict[str, Any] = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.32.0.dev0",
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
_FEATURES: dict[str, Any] = {
    "image_processor_type": "SiglipImageProcessor",
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 3,
    "rescale_factor": 1 / 255,
}
_FILL: dict[str, Any] = {
    "_class_name": "FluxFillPipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
_REDUX: dict[str, Any] = {
    "_class_name": "FluxPriorReduxPipeline",
    "feature_extractor": ["transformers", "SiglipImageProcessor"],
    "image_embedder": ["flux", "ReduxImageEncoder"],
    "image_encoder": ["transformers", "SiglipVisionModel"],
    **{name: [None, None] for name in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")},
}
_KLEIN: dict[str, Any] = {
    "_class_name": "Flux2KleinPipeline",
    "is_distilled": True,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3ForCausalLM"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "transformer": ["diffusers", "Flux2Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLFlux2"],
}


def write_fill(size: Size, output: Path, seed: int) -> None:
    """Write FLUX.1-Fill: transformer, CLIP, T5, VAE, both tokenizers and the scheduler.

    Args:
        size: ``tiny`` (1 MB, float32), or ``full``: the published settings, bfloat16.
        output: the folder; it is made, or must be empty.
        seed: of the weights; equal seeds give equal weights.

    Raises:
        ExportError: the folder is not empty, cannot be written, or its disk has not enough room.
    """

    def rest(components: dict[str, Component]) -> None:
        tokenizers.write_clip(output / "tokenizer", components["text_encoder"].module.config.vocab_size)
        tokenizers.write_t5(output / "tokenizer_2")
        _write_json(output / "scheduler" / "scheduler_config.json", _SCHEDULER)

    _write(size, output, seed, networks.fill, _FILL, rest)


def write_redux(size: Size, output: Path, seed: int) -> None:
    """Write FLUX.1-Redux, likewise: SigLIP, its image processor's settings, and the embedder."""

    def rest(components: dict[str, Component]) -> None:
        side = components["image_encoder"].module.config.image_size
        features = {**_FEATURES, "size": {"height": side, "width": side}}
        _write_json(output / "feature_extractor" / "preprocessor_config.json", features)

    _write(size, output, seed, networks.redux, _REDUX, rest)


def write_klein(size: Size, output: Path, seed: int) -> None:
    """Write FLUX.2 klein (4B), likewise: transformer, Qwen3, VAE, tokenizer and scheduler."""

    def rest(_: dict[str, Component]) -> None:
        tokenizers.write_qwen(output / "tokenizer")
        _write_json(output / "scheduler" / "scheduler_config.json", _SCHEDULER)

    _write(size, output, seed, networks.klein, _KLEIN, rest)


class Weights(RandomWeights):
    """The tensors of a network, each made when it is asked for: about as wide as usual initialisation leaves them."""

    def __init__(self, folder: str, component: Component, dtype: torch.dtype, seed: int) -> None:
        super().__init__(folder, component.module, dtype, seed, component.name)
        for tied in component.tied:
            del self.names[tied], self.sizes[tied]
        modules = dict(component.module.named_modules())
        self._owners = {name: modules[self.names[name].rpartition(".")[0]] for name in self.names}

    def empty(self, name: str) -> Tensor:
        """A tensor's memory, not yet touched."""
        made = super().empty(name)
        return made.long() if name.endswith("num_batches_tracked") else made

    def draw(self, name: str, tensor: Tensor) -> Tensor:
        """Fill a tensor; norms, biases and running statistics do something."""
        parameter = self.names[name]
        digest = hashlib.sha256(f"{self._seed}/{self._component}/{parameter}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        if parameter.endswith("num_batches_tracked"):
            return tensor.fill_(1000)
        if parameter.endswith("running_var"):
            return tensor.uniform_(0.5, 1.5, generator=generator)
        if parameter.endswith((".bias", "_bias", "running_mean")):
            return tensor.normal_(0, 0.02, generator=generator)
        if tensor.dim() == 1:  # of a norm
            return tensor.normal_(1, 0.1, generator=generator)
        return tensor.normal_(0, self._width(name, tensor), generator=generator)

    def _width(self, name: str, tensor: Tensor) -> float:
        """Standard deviation of a matrix or a convolution's weights."""
        if isinstance(self._owners[name], nn.Embedding):
            return float(tensor.shape[-1] ** -0.5) if "relative" in name else 1.0
        gain = 0.125 if name.endswith("SelfAttention.q.weight") else 1.0  # T5 does not scale its scores
        return float(gain * (tensor.numel() // tensor.shape[0]) ** -0.5)


def _write(
    size: Size,
    output: Path,
    seed: int,
    make: Callable[[Size], dict[str, Component]],
    index: dict[str, Any],
    rest: Callable[[dict[str, Component]], None],
) -> None:
    components = make(size)
    dtype = torch.float32 if size == "tiny" else torch.bfloat16
    weights = {name: Weights(name, component, dtype, seed) for name, component in components.items()}
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise ExportError(f"{output} is not empty; a checkpoint is written to a new folder.")
        _require_space(sum(sum(entry.sizes.values()) for entry in weights.values()), output)
        for name, component in components.items():
            folder = output / name
            folder.mkdir()
            _write_config(component.module, folder)
            write_shards(folder, component.stem, weights[name], _SHARD[size])
        rest(components)
        _write_json(output / "model_index.json", {**index, "_diffusers_version": diffusers.__version__})
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror}.") from error


def _write_config(module: Any, folder: Path) -> None:
    if isinstance(module, diffusers.ModelMixin):
        module.save_config(folder)
        return
    module.config.architectures = [type(module).__name__]
    module.config.save_pretrained(folder)


def _require_space(needed: int, output: Path) -> None:
    free = shutil.disk_usage(output).free
    if needed > free:
        raise ExportError(f"{output} has room for {free / 1e9:.1f} GB; the checkpoint needs {needed / 1e9:.1f} GB.")


def _write_json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
