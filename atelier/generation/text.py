"""Prompts to what the network reads of them, each computed once."""

from __future__ import annotations

import html
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import ftfy
import torch
from torch import Tensor

from atelier.errors import InvalidInput


@dataclass(frozen=True)
class Encoded:
    """A prompt as the network reads it.

    Attributes:
        embeddings: [1, length, C]; zeros behind the prompt's end. On the host.
        tokens: of the prompt, the end's included.
        used: tokens of them that fitted.
    """

    embeddings: Tensor
    tokens: int
    used: int


def clean(text: str) -> str:
    """A prompt as Wan cleans it: broken encodings and HTML entities mended, white space single."""
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended).strip()


class TextEncoder:
    """UMT5 with its tokenizer, and the last prompts' results: the fixed negative prompt is computed once.

    Args:
        tokenizer: of transformers.
        network: `UMT5EncoderModel`.
        length: tokens that the network gets; what is shorter is filled up, what is longer is cut.
        kept: results that are kept.
        device: where it computes.
        parked: where it stays between prompts; None: at ``device``.
    """

    def __init__(
        self, tokenizer: Any, network: Any, *, length: int, kept: int, device: str = "cpu", parked: str | None = None
    ) -> None:
        self._tokenizer, self._network, self._length, self._kept = tokenizer, network, length, kept
        self._device, self._parked = device, parked
        self._results: OrderedDict[str, Encoded] = OrderedDict()
        self._network.to(parked or device)

    @torch.no_grad()
    def __call__(self, text: str, name: str = "PROMPT") -> Encoded:
        """Encode one prompt.

        Args:
            text: as it was given.
            name: what errors call it.

        Raises:
            InvalidInput: it holds a token that the network has no embedding for.
        """
        text = clean(text)
        if text in self._results:
            self._results.move_to_end(text)
            return self._results[text]
        tokens = len(self._tokenizer(text, add_special_tokens=True).input_ids)
        given = self._tokenizer(
            text, padding="max_length", max_length=self._length, truncation=True, return_tensors="pt"
        )
        if int(given.input_ids.max()) >= self._network.config.vocab_size:  # T5's own <extra_id_0> and so on
            raise InvalidInput(f"{name} holds a special token of the tokenizer's that the text encoder does not know.")
        used = int(given.attention_mask.sum())
        self._network.to(self._device)
        try:
            found = self._network(given.input_ids.to(self._device), given.attention_mask.to(self._device))
        finally:
            if self._parked is not None:
                self._network.to(self._parked)
        embeddings = found.last_hidden_state.cpu().clone()
        embeddings[:, used:] = 0
        encoded = Encoded(embeddings, tokens, used)
        if self._kept:
            self._results[text] = encoded
            while len(self._results) > self._kept:
                self._results.popitem(last=False)
        return encoded
