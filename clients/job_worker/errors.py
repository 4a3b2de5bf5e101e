"""What can go wrong, by what is to be done about it. Every message is one sentence, without a presigned URL."""

from __future__ import annotations

import asyncio

import aiohttp

NOT_NOW = {408, 425, 429, *range(500, 600)}
"""Statuses of HTTP that another try may do away with."""

LONGEST = 500
"""Characters of a message that is reported or logged."""


class Passing(Exception):
    """May pass by itself: it is tried again."""


class Refused(Exception):
    """Will be refused again as it stands.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TaskError(Exception):
    """A task that cannot be done; the sentence is reported."""


class Dropped(Exception):
    """Ends the work on a task without a report: its lease runs out, or is another worker's already."""


class LeaseLost(Dropped):
    """The task is not this worker's any more."""


class Interrupted(Dropped):
    """The task waited for too long for a Triton that is full or away, or the worker is to stop while it waits."""


class Unauthorized(Dropped):
    """The control plane does not know the token: nothing more can be done, or said."""


def one_line(text: object) -> str:
    """A text as one line of at most `LONGEST` characters, which every encoding of a log takes."""
    line = " ".join(str(text).split()).encode("utf-8", "replace").decode("utf-8")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def reason(error: BaseException) -> str:
    """Why a call did not reach its server. aiohttp's own texts may hold whole URLs, and those hold signatures."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"no TLS with {error.host}:{error.port}, whose certificate may be wrong"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientPayloadError):
        return "the connection broke"
    return type(error).__name__
