"""What is wrong with a checkpoint."""

from atelier.errors import InvalidInput


class CheckpointError(InvalidInput):
    """A checkpoint or a LoRA is missing, unreadable, or does not fit the network."""
