"""Clients of an Atelier server: ``Client`` for ordinary code, ``AsyncClient`` for asyncio."""

from atelier.client.compositing import CompositeProgress, CompositeResult
from atelier.client.errors import (
    AtelierError,
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    ServerError,
    ServerUnavailable,
)
from atelier.client.generation import GenerateProgress, GenerateResult
from atelier.client.pipelines import AsyncClient, InpaintResult
from atelier.client.shared import Mapped
from atelier.client.sync import Client

__all__ = [
    "AsyncClient",
    "AtelierError",
    "Client",
    "CompositeProgress",
    "CompositeResult",
    "DeadlineExceeded",
    "GenerateProgress",
    "GenerateResult",
    "InpaintResult",
    "InvalidRequest",
    "Mapped",
    "QueueFull",
    "QueueTimeout",
    "ServerError",
    "ServerUnavailable",
]
