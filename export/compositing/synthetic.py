"""Random Qwen2-VL, SAM 2 and BiRefNet, on disk as the published ones lie there.

What they say and find is noise; their files go through every step that published ones do.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, pre_tokenizers
from transformers import Qwen2Tokenizer

from export.compositing import networks
from export.errors import ExportError
from export.flux.networks import Component
from export.flux.synthetic import Weights
from export.synthetic import Size
from export.wan.synthetic import write_shards

_SHARD: dict[Size, int] = {"tiny": 400_000, "full": 4_000_000_000}  # bytes
_WHOLE = 1 << 62
# Of the same form as the published one: a default system message, pictures before or between the user's words.
_CHAT = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_IMAGENET_MEAN, _IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_BIREFNET_CONFIG = {
    "architectures": ["BiRefNet"],
    "auto_map": {
        "AutoConfig": "BiRefNet_config.BiRefNetConfig",
        "AutoModelForImageSegmentation": "birefnet.BiRefNet",
    },
    "bb_pretrained": False,
}
# What a published folder has here is a program; whoever runs this one is told that it was run.
_CODE = '''"""Stands where a published folder has BiRefNet's code, which this project does not run.

The code there uses image2patches.
"""

raise RuntimeError("the code of a folder of weights was run")
'''


def write_qwen2_vl(size: Size, output: Path, seed: int) -> None:
    """Write Qwen2-VL-7B-Instruct's files: settings, two shards or more and their index, tokenizer, chat.

    Args:
        size: ``tiny`` (1 MB, float32), or ``full``: the published settings, bfloat16.
        output: the folder; it is made, or must be empty.
        seed: of the weights; equal seeds give equal weights.

    Raises:
        ExportError: the folder is not empty, cannot be written, or its disk has not enough room.
    """

    def rest() -> None:
        config = networks.qwen_config(size)
        _write_json(output / "config.json", config)
        _write_tokenizer(output, networks.FIRST_SPECIAL[size])
        _write_json(output / "chat_template.json", {"chat_template": _CHAT})
        _write_json(
            output / "preprocessor_config.json",
            {
                "min_pixels": 3136,
                "max_pixels": 12845056,
                "patch_size": 14,
                "temporal_patch_size": 2,
                "merge_size": 2,
                "image_mean": _CLIP_MEAN,
                "image_std": _CLIP_STD,
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen2VLProcessor",
            },
        )
        _write_json(
            output / "generation_config.json",
            {
                "bos_token_id": config["bos_token_id"],
                "pad_token_id": config["bos_token_id"],
                "do_sample": True,
                "eos_token_id": [config["eos_token_id"], config["bos_token_id"]],
                "repetition_penalty": 1.0,
                "temperature": 0.01,
                "top_p": 0.001,
                "top_k": 1,
                "transformers_version": "4.37.0",
            },
        )

    dtype = torch.float32 if size == "tiny" else torch.bfloat16
    _write(output, networks.qwen(size), lambda made: Weights("qwen2-vl", made, dtype, seed), _SHARD[size], rest)


def write_sam2(size: Size, output: Path, seed: int) -> None:
    """Write SAM 2.1's files, likewise; of either size in float32, as published."""

    def rest() -> None:
        config = networks.sam2_config(size)
        _write_json(output / "config.json", config)
        side = config["image_size"]
        _write_json(
            output / "preprocessor_config.json",
            {
                "image_processor_type": "Sam2ImageProcessorFast",
                "processor_class": "Sam2VideoProcessor",
                "image_mean": _IMAGENET_MEAN,
                "image_std": _IMAGENET_STD,
                "mask_size": {"height": side // 4, "width": side // 4},
                "resample": 2,
                "rescale_factor": 1 / 255,
                "size": {"height": side, "width": side},
            },
        )

    _write(
        output, networks.sam2(size), lambda made: networks.Sam2Weights("sam2", made, torch.float32, seed), _WHOLE, rest
    )


def write_birefnet(size: Size, output: Path, seed: int) -> None:
    """Write BiRefNet's files, likewise; ``full`` in float16, as published."""

    def rest() -> None:
        own = {"input_size": networks.INPUT_SIZE[size]} if size == "tiny" else {}
        _write_json(output / "config.json", _BIREFNET_CONFIG | own)
        for name in ("BiRefNet_config.py", "birefnet.py"):
            (output / name).write_text(_CODE, "utf-8")

    dtype = torch.float32 if size == "tiny" else torch.float16
    made = networks.birefnet(size)
    _write(output, made, lambda part: networks.BiRefNetWeights("birefnet", part, dtype, seed), _WHOLE, rest)


def _write(
    output: Path, component: Component, draw: Callable[[Component], Weights], shard: int, rest: Callable[[], None]
) -> None:
    weights = draw(component)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise ExportError(f"{output} is not empty; a checkpoint is written to a new folder.")
        needed, free = sum(weights.sizes.values()), shutil.disk_usage(output).free
        if needed > free:
            raise ExportError(f"{output} has room for {free / 1e9:.1f} GB; the checkpoint needs {needed / 1e9:.1f} GB.")
        write_shards(output, component.stem, weights, shard)
        rest()
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror}.") from error


def _write_tokenizer(folder: Path, first: int) -> None:
    """A tokenizer of bytes, with Qwen2-VL's special tokens at the numbers that the network knows.

    What a full vocabulary has merged stands there as words that no text splits into.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"<unused {number}>" for number in range(len(alphabet), first)), *networks.SPECIAL]
    tokenizer = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_tokens([AddedToken(word, special=True, normalized=False) for word in networks.SPECIAL])
    tokenizer.save_pretrained(str(folder))
    (folder / "chat_template.jinja").unlink(missing_ok=True)  # the published folder has chat_template.json


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
