"""Random Qwen2-VL, SAM 2 and BiRefNet, in the published layouts."""
