"""Metrics that need a network's weights, from folders on this machine; nothing is ever downloaded."""
