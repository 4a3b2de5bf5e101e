"""What an error within a stream means, where gRPC carries no status."""

import pytest
from tritonclient.utils import InferenceServerException

from atelier.client.errors import (
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
    translate_streamed,
)


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ("[INVALID_ARG] VIDEO is cut short.", InvalidRequest, "VIDEO is cut short."),
        ("[UNAVAILABLE] gvm_unet's queue: exceeds maximum queue size", QueueFull, "gvm_unet's queue"),
        ("[INTERNAL] matte failed on request 7", ServerError, "matte failed on request 7"),
        ("[CANCELLED] The request was cancelled.", ServerError, "The request was cancelled."),
        ("[request id: 7] unexpected shape for input 'VIDEO'", InvalidRequest, "unexpected shape"),
        ("[request id: 7] Exceeds maximum queue size", QueueFull, "queue size"),
        ("Request timeout expired", QueueTimeout, "expired"),
        ("Request for unknown model: 'matte' is not found", ServerError, "started without it"),
        ("Request for unknown model: 'matte' has no available versions", ServerUnavailable, "available versions"),
        ("Tried to send [INVALID_ARG] in the middle", ServerError, "in the middle"),
    ],
)
def test_each_message_has_its_class(message, kind, words):
    error = translate_streamed(InferenceServerException(message), "localhost:8001")
    assert type(error) is kind
    assert words in str(error)
    assert not str(error).startswith("[INVALID_ARG]")
