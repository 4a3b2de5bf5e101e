"""What can be wrong with files of Wan."""

from atelier.errors import InvalidInput


class CheckpointError(InvalidInput):
    """A checkpoint cannot be used; the sentence says why."""


class LoraError(InvalidInput):
    """An adapter cannot be used; the sentence says why. The network is as it was."""
