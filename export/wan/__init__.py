"""Wan2.2 TI2V-5B: random checkpoints; the published one is served as it lies on disk."""
