"""The errors that all floors of the library share."""


class InvalidInput(ValueError):
    """Input that only the caller can mend.

    Raised where the fact is known, with one sentence that says what was wrong and what is accepted. The serving
    layer answers it as ``INVALID_ARG`` and the command line as one line; the sentence is shown to the caller as it is,
    so it never holds a path of the server.
    """


class CheckpointError(InvalidInput):
    """A checkpoint cannot be used: files are missing, unreadable, of another model; the sentence says which and why."""
