"""What Qwen2-VL is asked about a scene, and how pictures and words become its tokens.

Written without transformers' `AutoProcessor`: that one needs torchvision, which breaks PyTorch's CPU build.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from atelier.compositing.jobs import AnalysisJob, Pixels
from atelier.compositing.neural.loading import CheckpointError, foreign, read_json
from atelier.errors import InvalidInput

LONGEST_RATIO = 200
"""From which ratio of its sides on the network takes no picture."""

_LANGUAGES = {
    "en": "English", "ko": "Korean", "ja": "Japanese", "zh": "Chinese", "de": "German", "fr": "French",
    "es": "Spanish", "it": "Italian", "pt": "Portuguese", "ru": "Russian", "ar": "Arabic", "vi": "Vietnamese",
}  # fmt: skip
_PICTURE = "<|image_pad|>"
_SYSTEM = (
    "You look at pictures as a photographer and compositor does, and answer with one JSON object and nothing else."
)
_FIELDS = """Answer with one JSON object with these keys:
"light": {{"from": "upper left" or left, right, above, below, upper right, lower left, lower right, front, around;
"softness": 0 (hard) to 1 (diffuse); "colour": "#rrggbb"; "description": a few English words}};
"palette": up to five main colours as "#rrggbb", the largest share first;
"mood", "camera" (height, angle, lens) and "surfaces" (what an object would stand on): a few English words each;
"text": two to four sentences in {language} that tell a user about light, colours, mood and surfaces;
"prompt": one English sentence that describes the whole scene with the object in it, its light and its shadow"""
_BOX = """;
"box": [left, top, right, bottom] of where the object might stand, in thousandths of the scene's width and height"""


def language_name(code: str) -> str:
    """A language's English name; of one that is not listed, its code."""
    return _LANGUAGES.get(code.partition("-")[0].lower(), f"the language with the code {code}")


def messages(job: AnalysisJob) -> list[dict[str, Any]]:
    """The conversation that a job becomes, its pictures in the job's order: background, reference."""
    words = "This is a scene into which an object will be set."
    content: list[dict[str, str]] = [{"type": "image"}]
    if job.reference is not None:
        content.append({"type": "text", "text": "The first picture is the scene, the second one the object."})
        content.append({"type": "image"})
    if job.prompt.strip():
        words += f' The user wishes, in any language: "{_plain(job.prompt.strip())}"'
    fields = _FIELDS.format(language=language_name(job.language)) + (_BOX if job.wants_box else "")
    content.append({"type": "text", "text": f"{words}\n{fields}."})
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]


def _plain(words: str) -> str:
    """A user's words without what the tokenizer would take for its special tokens: pictures that are not there."""
    return re.sub(r"<\|", "< |", words)


@dataclass(frozen=True)
class Asked:
    """A question as the network takes it.

    Attributes:
        inputs: of `generate`.
        length: tokens.
        grids: of each picture: patches down and across.
    """

    inputs: dict[str, Tensor]
    length: int
    grids: tuple[tuple[int, int], ...]


class Reader:
    """Makes tokens of pictures and words, and words of tokens.

    Args:
        folder: of the checkpoint; its files are there.
        picture_token: number of the token that a picture's places have.
        image_tokens: that a picture becomes at most, but for a strip that is one token wide.

    Raises:
        CheckpointError: tokenizer, template or the picture's settings cannot be used.
    """

    def __init__(self, folder: Path, picture_token: int, image_tokens: int) -> None:
        with foreign(folder, "The tokenizer"):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        template = read_json(folder, "chat_template.json").get("chat_template")
        if not isinstance(template, str) or not template:
            raise CheckpointError(f"{folder.name}/chat_template.json has no chat_template.")
        self._template, self._folder = template, folder
        if self.tokenizer.convert_tokens_to_ids(_PICTURE) != picture_token:
            raise CheckpointError(f"The tokenizer in {folder.name} has another {_PICTURE} than config.json.")
        settings = read_json(folder, "preprocessor_config.json")
        known = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
        with foreign(folder, "preprocessor_config.json"):
            made = {name: settings[name] for name in known if name in settings}
            self._pictures: Any = Qwen2VLImageProcessorPil(**made)
            self._merge = int(self._pictures.merge_size)
            side = int(self._pictures.patch_size) * self._merge  # pixels of a token, each way
            self._size = {"shortest_edge": 4 * side * side, "longest_edge": image_tokens * side * side}
        self._picture_token = picture_token

    def __call__(self, conversation: Sequence[dict[str, Any]], pictures: Sequence[Pixels]) -> Asked:
        """Make tokens.

        Args:
            conversation: as `messages` makes it.
            pictures: RGB, in its order.

        Raises:
            InvalidInput: a picture is too long for its width.
        """
        for picture in pictures:
            height, width = picture.shape[:2]
            if max(height, width) >= LONGEST_RATIO * min(height, width):
                raise InvalidInput(
                    f"A picture of {width}x{height} pixels is too narrow for the analyst; its longer side must be less "
                    f"than {LONGEST_RATIO} times the shorter one."
                )
        seen = self._pictures(
            images=[Image.fromarray(picture) for picture in pictures], size=self._size, return_tensors="pt"
        )
        with foreign(self._folder, "chat_template.json"):
            text = self.tokenizer.apply_chat_template(
                list(conversation), chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        parts = text.split(_PICTURE)
        if len(parts) != len(pictures) + 1:
            raise CheckpointError(f"{self._folder.name}/chat_template.json does not place the pictures.")
        grids = [tuple(int(value) for value in grid) for grid in seen["image_grid_thw"]]
        for number, grid in enumerate(grids):
            parts[number] += _PICTURE * (grid[0] * grid[1] * grid[2] // self._merge**2)
        tokens = self.tokenizer("".join(parts), return_tensors="pt", add_special_tokens=False)
        ids = tokens["input_ids"]
        inputs = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == self._picture_token).long(),  # 1: a picture, whose places are in two axes
            "pixel_values": seen["pixel_values"],
            "image_grid_thw": seen["image_grid_thw"],
        }
        return Asked(inputs, int(ids.shape[1]), tuple((grid[1], grid[2]) for grid in grids))

    def decode(self, tokens: Tensor) -> str:
        """Words of tokens, without special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))
