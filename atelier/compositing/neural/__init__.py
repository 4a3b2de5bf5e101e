"""The ways with weights: Qwen2-VL, SAM 2, BiRefNet, FLUX. These modules alone need PyTorch."""
