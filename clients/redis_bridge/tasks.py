"""What producers write: payloads of the lists, entries of the stream."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError, model_validator

from clients.redis_bridge.sources import Item

MAX_SIDE = 32768  # pixels
MODULUS = 8
"""The network halves height and width three times. Both lists' pages have such sides; others are padded."""

RESULT = "inpainting_result:{}"
"""The hash of an answer, by the request's id."""

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]+")
Side = Annotated[StrictInt, Field(ge=1, le=MAX_SIDE)]
Margin = Annotated[StrictInt, Field(ge=0, le=MAX_SIDE)]


class TaskError(Exception):
    """A task that cannot be done as it stands, now or later; the sentence is for its producer."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # producers may send more, as they could before


class SegmentInfo(_Block):
    """An array in POSIX shared memory: uint8, C-contiguous, from the segment's first byte on."""

    shm_name: Annotated[StrictStr, Field(min_length=1, max_length=250)]
    shape: tuple[Side, ...]
    dtype: Literal["uint8"]
    size: Annotated[StrictInt, Field(ge=1)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        # Python's own names may begin with a slash; anything else that is no plain name is no segment.
        if not _SEGMENT.fullmatch(self.name) or set(self.name) == {"."}:
            raise ValueError(f"shm_name {self.shm_name!r} is no segment's name")
        if prod(self.shape) != self.size:
            raise ValueError(f"size {self.size} is not that of shape {list(self.shape)}, {prod(self.shape)} bytes")
        return self

    @property
    def name(self) -> str:
        """The name in ``/dev/shm``."""
        return self.shm_name.removeprefix("/")


class Task(_Block):
    """One page.

    Attributes:
        request_id: names the answer's hash.
        image_id: comes back with the answer.
        original_size: height and width of the answer.
        padding_info: pixels to cut off the padded page: top, right, bottom, left.
        picture: the padded page, H x W x 3, RGB.
        mask: H x W, not 0 = hole.
        is_long: comes back with the answer.
    """

    request_id: Annotated[StrictStr, Field(min_length=1, max_length=512)]
    image_id: Annotated[StrictStr, Field(max_length=4096)]
    original_size: tuple[Side, Side]
    padding_info: tuple[Margin, Margin, Margin, Margin]
    picture: SegmentInfo = Field(alias="preprocessed_img_shm_info")
    mask: SegmentInfo = Field(alias="preprocessed_mask_shm_info")
    is_long: StrictBool = False

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        shape = self.picture.shape
        if len(shape) != 3 or shape[2] != 3:
            raise ValueError(f"the picture has shape {list(shape)}; accepted: [H, W, 3]")
        if self.mask.shape != shape[:2]:
            raise ValueError(
                f"the mask has shape {list(self.mask.shape)}; for this picture it must be {list(shape[:2])}"
            )
        if min(shape[:2]) <= MODULUS:
            raise ValueError(f"the picture is {shape[0]} x {shape[1]}; accepted: {MODULUS + 1} or more")
        top, right, bottom, left = self.padding_info
        if top + bottom >= shape[0] or left + right >= shape[1]:
            raise ValueError(f"padding_info {list(self.padding_info)} leaves nothing of {shape[0]} x {shape[1]}")
        return self


class EncodedTask(BaseModel):
    """One picture, as a stream's entry has it: texts and numbers in UTF-8, pictures as files.

    Attributes:
        request_id: names the answer's hash.
        image_id: comes back with the answer.
        image: bytes of a PNG, JPEG or WebP.
        mask: likewise, of the same size; not 0 = hole.
        strategy, margin, feather, fill_flat, format: of the pipeline `inpaint`; the server's own where they are absent.
    """

    # Unlike in payloads nothing unknown passes: a misspelt field would be a default that nobody asked for.
    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: Annotated[str, Field(min_length=1, max_length=512)]
    image_id: Annotated[str, Field(max_length=4096)] = ""
    image: Annotated[bytes, Field(min_length=1)]
    mask: Annotated[bytes, Field(min_length=1)]
    strategy: str | None = None
    margin: int | None = None
    feather: int | None = None
    fill_flat: bool | None = None
    format: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the client's `inpaint` is told beside the pictures."""
        return self.model_dump(include={"strategy", "margin", "feather", "fill_flat", "format"}, exclude_none=True)


@dataclass(frozen=True)
class Envelope:
    """What can be said of an item even where it is no task.

    Attributes:
        request_id: empty where it has none.
        image_id: likewise.
        is_long: ``"true"`` or ``"false"``; empty for a stream's entries.
        segments: names of the segments that it mentions, so that they are freed.
        digest: tells items apart.
    """

    request_id: str
    image_id: str
    is_long: str
    segments: tuple[str, ...]
    digest: str


def parse(item: Item) -> Task | EncodedTask:
    """Read what was taken.

    Raises:
        TaskError: it is no task.
    """
    try:
        if isinstance(item.body, bytes):
            return Task.model_validate(_read(item.body))
        return EncodedTask.model_validate({name.decode("utf-8", "replace"): value for name, value in item.body.items()})
    except ValidationError as error:
        raise TaskError("; ".join(_sentence(part) for part in error.errors(include_url=False))) from None


def envelope(item: Item) -> Envelope:
    """What an item says of itself, as far as it can be read."""
    digest = hashlib.sha256(item.key).hexdigest()
    if not isinstance(item.body, bytes):
        request_id, image_id = (
            item.body.get(name, b"").decode("utf-8", "replace") for name in (b"request_id", b"image_id")
        )
        return Envelope(request_id, image_id, "", (), digest)
    try:
        fields = _read(item.body)
    except TaskError:
        return Envelope("", "", "false", (), digest)

    def text(name: str) -> str:
        value = fields.get(name)
        return value if isinstance(value, str) else ""

    return Envelope(
        text("request_id"),
        text("image_id"),
        "true" if fields.get("is_long") is True else "false",
        tuple(_named(fields.get(name)) for name in ("preprocessed_img_shm_info", "preprocessed_mask_shm_info")),
        digest,
    )


def _read(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(payload.decode("utf-8"))
    except UnicodeDecodeError:
        raise TaskError("the payload is no UTF-8 text") from None
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        raise TaskError(f"the payload is no JSON ({error})") from None
    if not isinstance(fields, dict):
        raise TaskError(f"the payload is a JSON {type(fields).__name__}; accepted: an object")
    return fields


def _named(info: Any) -> str:
    """The segment that a block names, or nothing."""
    name = info.get("shm_name") if isinstance(info, dict) else None
    name = name.removeprefix("/") if isinstance(name, str) else ""
    return name if _SEGMENT.fullmatch(name) and set(name) != {"."} else ""


def _sentence(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
