"""What the control plane hands out, checked before any work."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError, field_validator

from atelier.generation.sizes import STRIDE, nearest_frame_nums
from clients.job_worker.errors import TaskError

ItemId = Annotated[StrictStr, Field(min_length=1, max_length=200)]


class Offer(BaseModel):
    """A task as it came: its name can be read, the rest has not been looked at.

    Attributes:
        item_id: names the task in every call.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    item_id: ItemId


class Task(BaseModel):
    """One video to be made.

    Attributes:
        item_id: names the task in every call.
        prompt: what the video shows; not empty.
        photo_storage_path: of the picture that it starts with; none: text to video.
        frame_num: frames, 4n + 1; none: the worker's setting, or the server's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")  # group_id, photo_id, leased_until, and what may come

    item_id: ItemId
    prompt: StrictStr
    photo_storage_path: Annotated[StrictStr, Field(min_length=1, max_length=4096)] | None = None
    frame_num: StrictInt | None = None

    @field_validator("prompt")
    @classmethod
    def _something(cls, value: str) -> str:
        if not value.strip():  # upstream's script would make its example, boxing cats, of it
            raise ValueError("it is empty")
        return value

    @field_validator("frame_num")
    @classmethod
    def _frames(cls, value: int | None) -> int | None:
        return checked_frame_num(value)


def checked_frame_num(value: int | None) -> int | None:
    """A number of frames as it is: the VAE makes the first frame by itself, and the others by fours.

    Raises:
        ValueError: it is not 4n + 1; the sentence names the two nearest that are.
    """
    if value is not None and (value < 1 or value % STRIDE != 1):
        lower, upper = nearest_frame_nums(value)
        raise ValueError(f"{value} is not 4n + 1 with n >= 0; the nearest are {lower} and {upper}")
    return value


def parse(offer: Offer) -> Task:
    """Check an offered task.

    Raises:
        TaskError: it cannot be done as it stands.
    """
    try:
        return Task.model_validate(offer.model_dump())
    except ValidationError as error:
        raise TaskError(f"The task is refused: {sentence(error)}.") from None


def sentence(error: ValidationError) -> str:
    """What is wrong, field by field."""
    return "; ".join(_part(part) for part in error.errors(include_url=False))


def _part(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
