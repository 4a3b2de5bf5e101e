"""The stages without networks: NumPy and OpenCV."""
