"""The ports of a server: whether they are free, and whether it listens."""

from __future__ import annotations

import socket

from atelier.errors import InvalidInput
from atelier.serving.options import ServerOptions


def check_free(options: ServerOptions) -> None:
    """See that the server can listen where it is to.

    Raises:
        InvalidInput: it cannot; the sentence says which option chooses another port.
    """
    if ":" in options.host:
        raise InvalidInput(f"The host {options.host} is an IPv6 address; accepted: names and IPv4 addresses.")
    for flag, port in options.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((options.host, port))
            except OSError as error:
                where = f"{options.host}:{port}"
                raise InvalidInput(f"{where} cannot be used ({error.strerror}): choose another with {flag}.") from None


def all_open(options: ServerOptions) -> bool:
    """Whether every door is open: the server opens that of the metrics after the one that is asked for models."""
    for port in options.ports.values():
        try:
            socket.create_connection((options.host, port), timeout=5).close()
        except OSError:
            return False
    return True
