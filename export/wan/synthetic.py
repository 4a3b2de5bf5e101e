"""A random Wan2.2 TI2V-5B, on disk as the public ones lie there: diffusers' folders, or the files of Wan's own code.

Its videos are noise; its files go through every step that published ones do. Each tensor is drawn from its own
generator, seeded by its name, and written at once: both layouts hold the same weights, and the full size (24 GB)
takes the memory of one shard.
"""

import hashlib
import json
import mmap
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from torch.serialization import set_default_mmap_options, skip_data
from transformers import UMT5Config, UMT5EncoderModel

from atelier.generation import original
from export.errors import ExportError
from export.synthetic import Layout, Size

_TRANSFORMER: dict[Size, dict[str, Any]] = {
    "tiny": {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 40, "freq_dim": 64, "num_layers": 3},
    "full": {"num_attention_heads": 24, "attention_head_dim": 128, "ffn_dim": 14336, "freq_dim": 256, "num_layers": 30},
}
_TEXT_ENCODER: dict[Size, dict[str, int]] = {
    # Two tokens more than the tokenizer has: the public model has unused ones too.
    "tiny": {"vocab_size": 261, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4},
    "full": {"vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64},
}
_VAE: dict[Size, dict[str, Any]] = {
    "tiny": {"base_dim": 4, "decoder_base_dim": 4, "num_res_blocks": 1, "dim_mult": [1, 2, 2, 2]},
    "full": {"base_dim": 160, "decoder_base_dim": 256, "num_res_blocks": 2, "dim_mult": [1, 2, 4, 4]},
}
_TEXT_ENCODER_COMMON: dict[str, Any] = {"feed_forward_proj": "gated-gelu"}
_TRANSFORMER_COMMON: dict[str, Any] = {"in_channels": 48, "out_channels": 48, "patch_size": (1, 2, 2)}
_VAE_COMMON: dict[str, Any] = {
    "z_dim": 48,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
    "latents_mean": list(original.LATENTS_MEAN),
    "latents_std": list(original.LATENTS_STD),
}
_DTYPES: dict[Size, dict[str, torch.dtype]] = {
    "tiny": {"text_encoder": torch.float32, "transformer": torch.float32, "vae": torch.float32},
    "full": {"text_encoder": torch.bfloat16, "transformer": torch.bfloat16, "vae": torch.float32},
}
_SHARD: dict[Size, int] = {"tiny": 64_000, "full": 2_000_000_000}  # bytes
_SECOND_NAME = "encoder.embed_tokens.weight"  # of the embedding, which files hold once
_NORM = re.compile(r"(^|\.)(norm\w*|\w*layer_norm)\.(weight|gamma)$")
_SPECIAL = ("<pad>", "</s>", "<unk>")


def networks(size: Size) -> dict[str, Any]:
    """Text encoder, transformer and VAE of a size, on the meta device.

    Args:
        size: ``tiny``, or ``full``: the settings of ``Wan2.2-TI2V-5B-Diffusers``.
    """
    text, transformer, vae = _TEXT_ENCODER[size], _TRANSFORMER[size], _VAE[size]
    classes: dict[str, Any] = {"transformer": WanTransformer3DModel, "vae": AutoencoderKLWan}
    # Some layers draw random numbers even so.
    with torch.random.fork_rng(devices=[]), init_empty_weights(include_buffers=False):
        return {
            "text_encoder": UMT5EncoderModel(UMT5Config.from_dict(_TEXT_ENCODER_COMMON | text)),
            "transformer": classes["transformer"](**_TRANSFORMER_COMMON, **transformer, text_dim=text["d_model"]),
            "vae": classes["vae"](**_VAE_COMMON, **vae),
        }


def write(size: Size, output: Path, seed: int, layout: Layout = "diffusers") -> None:
    """Write a checkpoint.

    Args:
        size: ``tiny`` (1 MB, float32), or ``full``: the public model's settings, bfloat16 with a float32 VAE.
        output: the folder; it is made, or must be empty.
        seed: of the weights; equal seeds give equal weights, in either layout.
        layout: ``diffusers`` or ``original``.

    Raises:
        ExportError: the folder is not empty, cannot be written, or its disk has not enough room.
    """
    modules = networks(size)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise ExportError(f"{output} is not empty; a checkpoint is written to a new folder.")
        _require_space(size, modules, output)
        (_write_diffusers if layout == "diffusers" else _write_original)(size, output, seed, modules)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror}.") from error


class RandomWeights:
    """The tensors of a network, each made when it is asked for.

    Attributes:
        names: from the names in the file to the network's parameters.
        sizes: bytes of each tensor, by its name in the file.
    """

    def __init__(
        self, component: str, module: nn.Module, dtype: torch.dtype, seed: int, name: Callable[[str], str] = str
    ) -> None:
        self._component, self._dtype, self._seed = component, dtype, seed
        self._shapes = {key: tuple(value.shape) for key, value in module.state_dict().items() if key != _SECOND_NAME}
        self.names = {name(parameter): parameter for parameter in self._shapes}
        self.sizes = {name: torch.Size(self._shapes[key]).numel() * dtype.itemsize for name, key in self.names.items()}

    def empty(self, name: str) -> Tensor:
        """A tensor's memory, not yet touched."""
        return torch.empty(self._shapes[self.names[name]], dtype=self._dtype)

    def draw(self, name: str, tensor: Tensor) -> Tensor:
        """Fill a tensor: about as wide as usual initialisation leaves it, with norms and biases that do something."""
        parameter = self.names[name]
        digest = hashlib.sha256(f"{self._seed}/{self._component}/{parameter}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        if _NORM.search(parameter):
            return tensor.normal_(1, 0.1, generator=generator)
        return tensor.normal_(0, self._spread(parameter), generator=generator)

    def _spread(self, parameter: str) -> float:
        shape = self._shapes[parameter]
        if parameter.endswith(".bias"):
            return 0.02
        if parameter == "shared.weight":
            return 1.0
        if parameter.endswith(("scale_shift_table", "relative_attention_bias.weight")):
            return float(shape[-1] ** -0.5)
        inputs = torch.Size(shape).numel() // shape[0]
        gain = 0.125 if parameter.endswith("SelfAttention.q.weight") else 1.0  # T5 does not scale its scores
        return float(gain * inputs**-0.5)


def _write_diffusers(size: Size, output: Path, seed: int, modules: dict[str, Any]) -> None:
    for component, module in modules.items():
        folder = output / component
        folder.mkdir()
        weights = RandomWeights(component, module, _DTYPES[size][component], seed)
        if component == "text_encoder":
            module.config.architectures = ["UMT5EncoderModel"]
            module.config.save_pretrained(folder)
            write_shards(folder, "model", weights, _SHARD[size])
        else:
            module.save_config(folder)
            limit = sys.maxsize if component == "vae" else _SHARD[size]  # the public one is whole
            write_shards(folder, "diffusion_pytorch_model", weights, limit)
    _write_json(output / "scheduler" / "scheduler_config.json", original.SCHEDULER)
    _write_tokenizer(output / "tokenizer")
    index = {
        "_class_name": "WanPipeline",
        "_diffusers_version": diffusers.__version__,
        "boundary_ratio": None,
        "expand_timesteps": True,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    _write_json(output / "model_index.json", index)


def _write_original(size: Size, output: Path, seed: int, modules: dict[str, Any]) -> None:
    def weights(component: str, name: Callable[[str], str]) -> RandomWeights:
        return RandomWeights(component, modules[component], _DTYPES[size][component], seed, name)

    blocks = _VAE[size]["num_res_blocks"]
    write_pth(output / original.TEXT_ENCODER_FILE, weights("text_encoder", original.text_encoder_name))
    write_pth(output / original.VAE_FILE, weights("vae", lambda name: original.vae_name(name, blocks)))
    transformer = weights("transformer", original.transformer_name)
    write_shards(output, original.TRANSFORMER_STEM, transformer, _SHARD[size])
    settings = modules["transformer"].config
    config = {  # as short as the public one: text_dim and patch_size are not in it
        "_class_name": "WanModel",
        "_diffusers_version": "0.33.0",
        "dim": settings.num_attention_heads * settings.attention_head_dim,
        "eps": settings.eps,
        "ffn_dim": settings.ffn_dim,
        "freq_dim": settings.freq_dim,
        "in_dim": settings.in_channels,
        "model_type": "ti2v",
        "num_heads": settings.num_attention_heads,
        "num_layers": settings.num_layers,
        "out_dim": settings.out_channels,
        "text_len": 512,
    }
    _write_json(output / "config.json", config)
    _write_tokenizer(output / original.TOKENIZER_FOLDER)


def write_shards(folder: Path, stem: str, weights: RandomWeights, limit: int) -> None:
    """Write safetensors files and, where there is more than one, their index.

    Args:
        folder: must exist.
        stem: what the files' names begin with.
        weights: the tensors.
        limit: bytes that a file holds at most, unless one tensor is larger.
    """
    shards = _shards(weights.sizes, limit)
    files = [f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = [f"{stem}.safetensors"]
    for file, names in zip(files, shards, strict=True):
        tensors = {name: weights.draw(name, weights.empty(name)) for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)  # safetensors lets the owner alone read it, and servers run as somebody else
    if len(shards) > 1:
        owners = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": sum(weights.sizes.values())}, "weight_map": dict(sorted(owners.items()))}
        _write_json(folder / f"{stem}.safetensors.index.json", index)


def _shards(sizes: dict[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    room = limit
    for name, size in sizes.items():
        if size > room and shards[-1]:
            shards.append([])
            room = limit
        shards[-1].append(name)
        room -= size
    return shards


def write_pth(file: Path, weights: RandomWeights) -> None:
    """Write a dictionary of tensors as ``torch.save`` does, without holding them: room for all, then one by one."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    with skip_data():
        torch.save({name: weights.empty(name) for name in weights.names}, unfinished)
    with set_default_mmap_options(mmap.MAP_SHARED):
        places = torch.load(unfinished, weights_only=True, mmap=True)
    for name in list(places):
        weights.draw(name, places.pop(name))
    unfinished.replace(file)


def _write_tokenizer(folder: Path) -> None:
    """A tokenizer of bytes: every text of every language has tokens, without a vocabulary to be downloaded."""
    symbols = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    _write_json(folder / "special_tokens_map.json", special)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **special}
    _write_json(folder / "tokenizer_config.json", config)


def _require_space(size: Size, modules: dict[str, Any], output: Path) -> None:
    needed = sum(sum(RandomWeights(name, modules[name], _DTYPES[size][name], 0).sizes.values()) for name in modules)
    free = shutil.disk_usage(output).free
    if needed > free:
        raise ExportError(f"{output} has room for {free / 1e9:.1f} GB; the checkpoint needs {needed / 1e9:.1f} GB.")


def _write_json(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
