"""Checkpoints in, artefacts out: ``python -m export``."""

from atelier.quiet import leave_out_notes

leave_out_notes()
