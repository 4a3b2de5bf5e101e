"""Errors at the seam: what a model may raise beside ``InvalidInput``, and what each becomes on the wire."""

from __future__ import annotations


class Cancelled(Exception):
    """The client gave the request up; nothing more is computed for it. Answered as ``CANCELLED``."""


class Unavailable(Exception):
    """A model that this one calls has no room or no time for the request now. Answered as ``UNAVAILABLE``.

    The sentence is Triton's own (``Exceeds maximum queue size``, ``Request timeout expired``), so that clients tell
    the two apart in the same way whether the front's queue or the network's was full.
    """


class CallFailed(Exception):
    """A model that this one calls failed. Answered as ``INTERNAL``; the cause goes to the log."""
