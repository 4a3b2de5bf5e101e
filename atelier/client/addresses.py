"""Addresses of servers."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

import tritonclient.grpc as grpc_client

from atelier.client.errors import InvalidRequest
from atelier.client.requests import shown

# What gRPC is told of a server on this machine: no proxy leads to it. tritonclient's own options are dropped where
# others are given; of those only the sizes differ from gRPC's.
LOOPBACK_OPTIONS = [
    ("grpc.max_send_message_length", grpc_client.MAX_GRPC_MESSAGE_SIZE),
    ("grpc.max_receive_message_length", grpc_client.MAX_GRPC_MESSAGE_SIZE),
    ("grpc.enable_http_proxy", 0),
]


def split(url: Any) -> tuple[str, str]:
    """Scheme and address of a URL; without a scheme it is gRPC."""
    said = f"{shown(url)} is no server address; accepted: localhost:8001 (gRPC), http://localhost:8000, [::1]:8001."
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        raise InvalidRequest(said)
    try:
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        valid = parts.scheme in ("grpc", "grpcs", "http", "https") and parts.hostname and parts.port
    except ValueError:  # an odd port, or brackets around what is no IPv6 address
        raise InvalidRequest(said) from None
    path = parts.path.rstrip("/")
    if not valid or parts.query or parts.fragment or (path and parts.scheme.startswith("grpc")):
        raise InvalidRequest(said)
    return parts.scheme, parts.netloc + path


def is_loopback(address: str) -> bool:
    """Whether it is this machine, by name or number."""
    host = urlsplit(f"//{address}").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_of(address: str) -> int:
    """The port of an address that `split` has taken."""
    return urlsplit(f"//{address}").port or 0
