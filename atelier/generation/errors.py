"""What can be wrong with files of Wan."""

from atelier.errors import CheckpointError, InvalidInput

__all__ = ["CheckpointError", "LoraError"]


class LoraError(InvalidInput):
    """An adapter cannot be used; the sentence says why. The network is as it was."""
