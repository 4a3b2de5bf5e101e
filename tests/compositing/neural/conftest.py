"""One thread of PyTorch: the networks are small. Tiny random checkpoints of analyzer and extractor, once."""

import numpy as np
import pytest
import torch

from export.compositing.synthetic import write_birefnet, write_qwen2_vl, write_sam2


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder with ``qwen2-vl``, ``sam2`` and ``birefnet``."""
    folder = tmp_path_factory.mktemp("tiny")
    for name, write in {"qwen2-vl": write_qwen2_vl, "sam2": write_sam2, "birefnet": write_birefnet}.items():
        write("tiny", folder / name, 0)
    return folder


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def picture():
    """Smooth, with an edge: noise would be the same everywhere for a network."""
    rows, columns = np.mgrid[:91, :140]
    red = 128 + 100 * np.sin(rows / 9) * np.cos(columns / 13)
    disc = (rows - 45) ** 2 + (columns - 60) ** 2 < 900
    return np.stack([red, np.where(disc, 220, 40), columns + 60], axis=-1).astype(np.uint8)
