"""What a call can fail with, and how Triton's answers are told apart."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

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


class UnknownSegment(ServerError):
    """The server does not know the segment of shared memory: it was started anew."""


class UnreadableAnswer(ServerError):
    """What came back is no answer of an Atelier server; whether the call was worked on is not known."""


INVALID = ("StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED", "StatusCode.OUT_OF_RANGE", "400", "501")
UNAVAILABLE = ("StatusCode.UNAVAILABLE", "503")
NOT_FOUND = ("StatusCode.NOT_FOUND", "404")

_CODE = re.compile(r"\[([A-Z_]+)\] ")
_STATUS = {"INVALID_ARG": INVALID[0], "UNAVAILABLE": UNAVAILABLE[0]}
_REQUEST_ID = re.compile(r"\[request id: [^\]]*\] ")


def translate(error: InferenceServerException, url: str) -> AtelierError:
    """The exception for an answer of the server.

    Texts repeat what the caller wrote. The status decides therefore, and the text only among what Triton answers with
    one status: a full queue, an expired request and a lost connection, for instance.
    """
    message = (error.message() or "no reason given").strip()
    status = error.status() or ""
    if status in INVALID:
        return InvalidRequest(message)
    if status in NOT_FOUND:
        return _translate_missing(message, url)
    if status == "StatusCode.DEADLINE_EXCEEDED":
        return DeadlineExceeded(f"No answer from {url} in time.")
    # The server keeps this from clients without its key; HTTP answers 403, gRPC "unavailable".
    if status in (*UNAVAILABLE, "403") and message.startswith(
        ("This protocol is restricted", "This API is restricted")
    ):
        return InvalidRequest(f"{message}: ATELIER_ADMIN_KEY, or admin_key, is to be the key that it was started with.")
    if status in UNAVAILABLE:
        if "maximum queue size" in message:
            return QueueFull(message)
        if "timeout expired" in message.lower():
            return QueueTimeout(message)
        # gRPC's own words for a connection that failed, or the server's about one of its models.
        lost = any(words in message for words in ("onnect", "Socket closed", "Server exiting", "GOAWAY"))
        return ServerUnavailable(f"No server answers at {url}: {message}" if lost else message)
    return ServerError(message)


def translate_streamed(error: InferenceServerException, url: str) -> AtelierError:
    """The exception for an answer within a stream, where gRPC carries no status.

    Our models begin the message with their code (`atelier.serving.stream`); what Triton itself refuses of a request
    begins with the request's id; of the rest the words decide.
    """
    message = (error.message() or "").strip()
    text = _REQUEST_ID.sub("", message, count=1)
    if code := _CODE.match(message):
        status, message = _STATUS.get(code[1], ""), message[code.end() :]
    elif any(words in message for words in ("maximum queue size", "imeout expired", "This protocol is restricted")):
        status = UNAVAILABLE[0]
    elif text.startswith("Request for unknown model"):
        status = NOT_FOUND[0]
    else:
        status = INVALID[0] if text != message else ""
    return translate(InferenceServerException(message, status), url)


def _translate_missing(message: str, url: str) -> AtelierError:
    """The exception for what the server does not know."""
    text = _REQUEST_ID.sub("", message, count=1) if message.startswith("[request id: ") else message
    if text.startswith("Unable to find shared memory region"):
        return UnknownSegment(message)
    if text.startswith("Request for unknown model"):
        if text.endswith("has no available versions"):  # it is being loaded, or the server is stopping
            return ServerUnavailable(message)
        return ServerError(f"{message} (at {url}): the server was started without it.")
    return ServerError(f"{url} answered: {message}")


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """Whatever an odd answer runs into while it is taken apart becomes ``UnreadableAnswer``."""
    try:
        yield
    except (AtelierError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableAnswer(f"The answer of {url} cannot be read ({type(error).__name__}: {error}).") from error
