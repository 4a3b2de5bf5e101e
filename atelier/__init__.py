"""Atelier: picture and video models behind Triton Inference Server.

Floors, lowest first: ``media``, then one domain each (``inpainting``), then ``serving`` and ``client``, then ``cli``.
A file imports from lower floors only; nothing below ``serving`` knows Triton.
"""

__version__ = "0.1.0"
