"""CLIP: how well frames and prompt agree, and how alike neighbouring frames are (Radford et al. 2021).

The score is the raw cosine times 100, without a shift or a floor (CLIPScore, Hessel et al. 2021, scales by 2.5 and cuts
below 0). English prompts and their videos lie at about 20 to 35; the scale depends on the tower, so that values of two
towers are never compared or averaged. Frames are cut to their central square, as the network was trained: what lies
beside it is not seen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, CLIPModel, CLIPTokenizer

from atelier.errors import InvalidInput
from atelier.evaluation.arrays import Frame
from atelier.evaluation.learned import layouts, loading
from atelier.evaluation.learned.embedding import Directions, embed, sampled, unit

FRAMES = 8
"""Of a video that the score is a mean over."""


@dataclass(frozen=True)
class ClipScore:
    """How well a video and its prompt agree.

    Attributes:
        value: cosine times 100, -100 to 100, mean over frames; None where the tower cannot judge.
        frames: that the mean is over.
        tokens: of the prompt, with both ends.
        truncated: whether the tower saw only the prompt's beginning.
        warning: what to know about this value; empty: nothing.
    """

    value: float | None
    frames: int
    tokens: int
    truncated: bool
    warning: str


class Clip:
    """CLIP's two towers, picture and English text.

    Attributes:
        digest: SHA-256 of the weights' file.
    """

    def __init__(self, network: Any, processor: Any, tokenizer: Any, digest: str, device: str) -> None:
        self._network, self._processor, self._tokenizer, self._device = network, processor, tokenizer, device
        self._longest = int(network.config.text_config.max_position_embeddings)
        self.digest = digest

    @classmethod
    def from_folder(cls, path: Path, device: str = "cpu") -> Clip:
        """Load from Hugging Face's layout.

        Args:
            path: see `layouts`.
            device: PyTorch's name.

        Raises:
            InvalidInput: something is missing, unreadable or does not fit.
        """
        files = layouts.clip_files(path)
        network = loading.pretrained(CLIPModel, path, device)
        try:
            tokenizer = CLIPTokenizer.from_pretrained(str(path), local_files_only=True)
        except Exception as error:
            raise loading.unreadable(path, error) from None
        return cls(network, loading.image_processor(path), tokenizer, layouts.digest(files), device)

    def embed(self, frames: Iterable[Frame]) -> Directions:
        """Directions of frames, for `score` and `embedding.consistency`.

        Args:
            frames: as `arrays.checked` takes them; read once, a batch at a time.

        Raises:
            InvalidInput: there is none, one is no frame, or sizes differ.
        """
        network = self._network
        return embed(
            frames,
            self._processor,
            lambda pixels: network.visual_projection(network.vision_model(pixel_values=pixels).pooler_output),
            self._device,
        )

    def score(self, directions: Directions, prompt: str, frames: int = FRAMES) -> ClipScore:
        """Compare with an English prompt.

        A prompt with letters other than Latin ones gets no value: the tower was trained on English, and its number for
        Korean says nothing. `MultilingualText` judges those; it is a metric of its own.

        Args:
            directions: from `embed`, of all the video's frames.
            prompt: what the video was made from.
            frames: how many to look at, evenly over the video.

        Returns:
            The score; longer prompts than the tower takes (77 tokens) are cut, and that is said.

        Raises:
            InvalidInput: the prompt is empty.
        """
        ids, tokens = _tokens(self._tokenizer, prompt, self._longest)
        looked, truncated = sampled(directions, frames), tokens > self._longest
        scripts = foreign_scripts(prompt)
        if scripts:
            warning = f"the English text tower cannot judge a prompt with {' and '.join(scripts)} letters"
            return ClipScore(None, len(looked), tokens, truncated, warning)
        with torch.inference_mode():
            pooled = self._network.text_model(input_ids=torch.tensor([ids], device=self._device)).pooler_output
            text = unit(self._network.text_projection(pooled))[0]
        return _scored(looked, text, tokens, self._longest)


class MultilingualText:
    """A text tower that was taught ViT-B/32's space in some 50 languages, Korean among them.

    By the way of Reimers and Gurevych 2020 (arXiv 2004.09813).

    DistilBERT, the mean over its tokens, a linear layer. Only beside CLIP ViT-B/32: see `layouts.find`.

    Attributes:
        digest: SHA-256 over both weights' files.
    """

    def __init__(self, network: Any, dense: torch.nn.Linear, tokenizer: Any, longest: int, digest: str) -> None:
        self._network, self._dense, self._tokenizer, self._longest = network, dense, tokenizer, longest
        self.digest = digest

    @classmethod
    def from_folder(cls, path: Path, device: str = "cpu") -> MultilingualText:
        """Load from sentence-transformers' layout.

        Args:
            path: see `layouts`.
            device: PyTorch's name.

        Raises:
            InvalidInput: something is missing, unreadable or does not fit.
        """
        files = layouts.multilingual_files(path)
        network = loading.pretrained(AutoModel, files.transformer, device)
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(files.transformer), local_files_only=True)
        except Exception as error:
            raise loading.unreadable(path, error) from None
        state = {name.removeprefix("linear."): value for name, value in loading.state_dict(files.weights[1]).items()}
        width = state["weight"].shape[0] if "weight" in state else 1
        dense = torch.nn.Linear(network.config.hidden_size, width, bias="bias" in state)
        loading.fill(dense, state, files.weights[1], device)
        longest = int(network.config.max_position_embeddings)
        if (files.transformer / "sentence_bert_config.json").is_file():
            told = layouts.read_json(files.transformer, "sentence_bert_config.json").get("max_seq_length")
            longest = min(longest, int(told or longest))
        return cls(network, dense, tokenizer, longest, layouts.digest(files.weights))

    def score(self, directions: Directions, prompt: str, frames: int = FRAMES) -> ClipScore:
        """Compare with a prompt in any of its languages; see `Clip.score`. Values lie lower and closer together.

        Raises:
            InvalidInput: the prompt is empty, or the directions are of a CLIP of another width.
        """
        ids, tokens = _tokens(self._tokenizer, prompt, self._longest)
        with torch.inference_mode():
            hidden = self._network(input_ids=torch.tensor([ids], device=self._dense.weight.device)).last_hidden_state
            text = unit(self._dense(hidden.mean(dim=1)))[0]  # one prompt at a time: there is no padding to leave out
        if text.shape != directions.shape[1:]:
            raise InvalidInput(
                f"the multilingual tower gives {len(text)} numbers, CLIP {directions.shape[1]}; ViT-B/32 is needed."
            )
        return _scored(sampled(directions, frames), text, tokens, self._longest)


def foreign_scripts(text: str) -> list[str]:
    """Scripts other than Latin that a text has letters of, as Unicode names them: Hangul, Cjk, Cyrillic."""
    letters = (letter for letter in unicodedata.normalize("NFKC", text) if letter.isalpha())
    names = (unicodedata.name(letter, "unknown").split()[0] for letter in letters)
    return sorted({name.capitalize() for name in names if name != "LATIN"})


def _tokens(tokenizer: Any, prompt: str, longest: int) -> tuple[list[int], int]:
    """Ids, cut to what the tower takes with both ends kept, and the number before."""
    if not prompt.strip():
        raise InvalidInput("the prompt is empty; a text is needed.")
    tokens = len(tokenizer(prompt, verbose=False)["input_ids"])
    return list(tokenizer(prompt, truncation=True, max_length=longest)["input_ids"]), tokens


def _scored(looked: Directions, text: Directions, tokens: int, longest: int) -> ClipScore:
    truncated = tokens > longest
    warning = f"the prompt has {tokens} tokens; only the first {longest} were judged" if truncated else ""
    value = float((looked.astype(np.float64) @ text.astype(np.float64)).mean()) * 100
    return ClipScore(value, len(looked), tokens, truncated, warning)
