"""``atelier serve`` over the small models of the tests, which may be killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.served import Serving

MODELS = ROOT / "tests" / "serving" / "models"
STREAMS = Path(__file__).parent / "models"


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    """Start it, and wait until it is ready; what a test leaves running is ended."""
    started = []

    def start(*arguments: object, **environment: str) -> Serving:
        serving = Serving("--repository", MODELS, *arguments, **environment)
        started.append(serving)
        serving.until_ready()
        return serving

    yield start
    for serving in started:
        if serving.process.poll() is None:
            serving.end()
