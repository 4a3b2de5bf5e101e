"""Checkpoints in, artefacts out: ``python -m export``."""
