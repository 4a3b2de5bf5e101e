"""FLUX: random checkpoints of FLUX.1-Fill, FLUX.1-Redux and FLUX.2 klein."""
