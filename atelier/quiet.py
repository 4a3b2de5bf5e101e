"""Other libraries' notes on parts that they do without, which would go before a command's own words on stderr.

Importing diffusers imports torchao where that is installed, and then lines tell that its CUDA files, which nothing here
asks for, cannot be loaded on a machine without CUDA; transformers tells that torchvision is not there. What keeps a
model from loading is an exception, not a note.
"""

import logging

NOTED_BY = ("torchao", "diffusers.quantizers.torchao", "torch.utils._pytree", "transformers.utils.import_utils")
"""The loggers of those notes."""


def leave_out_notes() -> None:
    """From here on these loggers tell of errors only. To be called before diffusers is imported."""
    for name in NOTED_BY:
        logging.getLogger(name).setLevel(logging.ERROR)
