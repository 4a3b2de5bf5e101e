"""What a call can fail with, and how Triton's answers are told apart."""

from __future__ import annotations

from tritonclient.utils import InferenceServerException


class AtelierError(Exception):
    """Any failed call; the message is one sentence."""


class InvalidRequest(AtelierError):
    """The request cannot be answered as it stands: the caller must change it."""


class QueueFull(AtelierError):
    """The model's queue has no room now: try again later, or send to another replica."""


class QueueTimeout(AtelierError):
    """The request waited in the model's queue for longer than was allowed."""


class DeadlineExceeded(AtelierError, TimeoutError):
    """No answer within the call's own deadline; over gRPC the server is told to give the request up."""


class ServerUnavailable(AtelierError):
    """No server answers at this address, or it is starting or stopping."""


class ServerError(AtelierError):
    """The server failed; its log has the cause."""


INVALID = ("StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED", "StatusCode.OUT_OF_RANGE", "400", "501")
UNAVAILABLE = ("StatusCode.UNAVAILABLE", "503")


def translate(error: InferenceServerException, url: str) -> AtelierError:
    """The exception for an answer of the server.

    Triton answers a full queue, an expired request and a lost connection with one status; only the text tells them
    apart.
    """
    message = (error.message() or "no reason given").strip()
    status = error.status() or ""
    if "maximum queue size" in message:
        return QueueFull(message)
    if "timeout expired" in message.lower():
        return QueueTimeout(message)
    if " is restricted" in message:  # the server keeps this from clients without its key
        return InvalidRequest(message)
    if "has no available versions" in message:  # it is being loaded, or the server is stopping
        return ServerUnavailable(message)
    if "unknown model" in message:
        return ServerError(f"{message} (at {url}): the server was started without it.")
    if status == "StatusCode.DEADLINE_EXCEEDED":
        return DeadlineExceeded(f"No answer from {url} in time.")
    if status in UNAVAILABLE:
        return ServerUnavailable(f"No server answers at {url}: {message}")
    if status in INVALID:
        return InvalidRequest(message)
    return ServerError(message)
