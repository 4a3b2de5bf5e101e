"""Tokenizers of FLUX's text encoders, of bytes and single characters: no vocabulary is downloaded."""

import json
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import Qwen2Tokenizer, T5Tokenizer

_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
_QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write_clip(folder: Path, vocabulary: int) -> None:
    """CLIP's files: bytes, alone and at the end of a word, and no merges.

    Args:
        folder: to be made.
        vocabulary: tokens that the text encoder knows; the last two are start and end, as in the published one.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: number for number, symbol in enumerate([*alphabet, *(f"{byte}</w>" for byte in alphabet)])}
    start, end = "<|startoftext|>", "<|endoftext|>"
    _write(folder / "vocab.json", vocab | {start: vocabulary - 2, end: vocabulary - 1})
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    _write(folder / "special_tokens_map.json", special)
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special})


def write_t5(folder: Path) -> None:
    """T5's files: a vocabulary of single ASCII characters; like the published one it knows no Korean."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(code), -3.0) for code in range(33, 127)]
    tokenizer = T5Tokenizer(vocab=pieces, model_max_length=512)
    tokenizer.save_pretrained(str(folder))
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    _write(folder / "tokenizer_config.json", config | {"tokenizer_class": "T5TokenizerFast"})  # as the published one


def write_qwen(folder: Path) -> None:
    """Qwen's files: bytes, no merges, and the published form of a chat."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: number for number, symbol in enumerate([*alphabet, *_QWEN_SPECIAL])}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=[], eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    tokenizer.chat_template = _CHAT
    tokenizer.save_pretrained(str(folder))


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
