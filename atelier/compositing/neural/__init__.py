"""The ways with weights: Qwen2-VL, SAM 2, BiRefNet, FLUX. These modules alone need PyTorch."""

from atelier.quiet import leave_out_notes

leave_out_notes()
