"""Measures of what the pipelines make. Plain arrays; nothing here knows a model."""
