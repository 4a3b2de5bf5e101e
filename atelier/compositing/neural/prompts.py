"""Prompts to what the transformer reads of them, each computed once; and what a text encoder cannot read, told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from atelier.compositing.jobs import SynthesisJob

NEUTRAL = (
    "A photograph of the object standing naturally in the scene, in its light and perspective, with a soft contact "
    "shadow."
)
"""For a scene of which nothing is known: the whole picture is described, as FLUX wants it."""


def wanted(job: SynthesisJob) -> str:
    """The user's prompt, else the scene's, else a neutral one."""
    return job.prompt.strip() or (job.scene.prompt.strip() if job.scene else "") or NEUTRAL


def overlong(tokenizer: Any, text: str, limit: int, name: str) -> list[str]:
    """Warn of a prompt of which the end is not read.

    Args:
        tokenizer: of transformers.
        text: the prompt.
        limit: tokens that the text encoder reads.
        name: of the text encoder.

    Returns:
        One sentence, or none.
    """
    tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
    return [f"The prompt has {tokens} tokens; {name} reads the first {limit}."] if tokens > limit else []


def unknown(tokenizer: Any, text: str, name: str) -> list[str]:
    """Warn of a prompt with words that a text encoder has no tokens for, as T5 has none for Korean.

    Args:
        tokenizer: of transformers, with a token for what is unknown.
        text: the prompt.
        name: of the text encoder.

    Returns:
        One sentence, or none.
    """
    tokens = tokenizer(text, truncation=False, verbose=False).input_ids
    count = tokens.count(tokenizer.unk_token_id)
    return [f"{name} does not know {count} of the prompt's {len(tokens)} tokens: English works better."] * bool(count)


class PromptCache:
    """The last prompts' embeddings.

    Args:
        encode: from a prompt to its embeddings.
        kept: prompts at most.
    """

    def __init__(self, encode: Callable[[str], tuple[Tensor, ...]], kept: int = 8) -> None:
        self._encode, self._kept = encode, kept
        self._known: OrderedDict[str, tuple[Tensor, ...]] = OrderedDict()

    @torch.no_grad()
    def __call__(self, text: str) -> tuple[Tensor, ...]:
        """Embeddings of a prompt, on the host."""
        if text not in self._known:
            self._known[text] = tuple(tensor.cpu().clone() for tensor in self._encode(text))
            if len(self._known) > self._kept:
                self._known.popitem(last=False)
        self._known.move_to_end(text)
        return self._known[text]
