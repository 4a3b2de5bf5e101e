"""What the exporter says, in one line, instead of an artefact."""


class ExportError(Exception):
    """An artefact that could not be made, or that is not what it should be. The sentence is for the user."""
