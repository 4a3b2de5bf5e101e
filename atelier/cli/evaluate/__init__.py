"""``atelier evaluate``: did the LoRA help? Videos in pairs, measured, compared, and shown on a page."""
