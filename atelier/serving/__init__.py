"""The seam to Triton: base class of the Python models, settings, the server's launch, the repository's lint."""
