import sys

import pytest
import torch

from export.cli import main


@pytest.fixture(autouse=True)
def _one_thread():
    """Two libraries that each take all cores slow each other down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: ``run(argument, …)`` gives exit status, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["python -m export", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as leaving:
            status = leaving.code or 0
        return status, *capsys.readouterr()

    return call
