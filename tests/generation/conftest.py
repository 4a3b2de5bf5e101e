"""One thread of PyTorch: the networks are small, and threads cost more than they bring."""

from pathlib import Path

import pytest
import torch

from atelier.generation.loading import LoadOptions
from atelier.generation.pipeline import GenerationPipeline

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "wan"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pipeline():
    return GenerationPipeline.from_pretrained(GOLDEN / "pipeline", LoadOptions(text_length=64), loras=GOLDEN / "lora")
