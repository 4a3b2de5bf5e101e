"""LaMa: from a checkpoint to the artefact of the model ``lama``."""
