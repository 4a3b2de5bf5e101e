"""Folders with small random weights in the published layouts, written once."""

import numpy as np
import pytest
import torch

from tests.evaluation.learned import folders


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """All five below one root, as a user would lay them out."""
    root = tmp_path_factory.mktemp("가중치") / "evaluation"
    folders.write_clip(root / "clip")
    folders.write_multilingual(root / "clip-multilingual")
    folders.write_dino(root / "dino")
    folders.write_lpips(root / "lpips")
    folders.write_i3d(root / "i3d")
    return root


@pytest.fixture(scope="session")
def clip_frames():
    """Twelve frames of moving waves with some noise, not square: what is cut off must not count."""
    rows, columns = np.mgrid[:96, :144]
    random = np.random.default_rng(3)
    frames = [
        np.stack([np.sin((rows * k + columns * (4 - k) + 9 * t) / 11) for k in (1, 2, 3)], axis=-1) for t in range(12)
    ]
    return np.clip(127 + 90 * np.stack(frames) + random.normal(0, 6, (12, 96, 144, 3)), 0, 255).astype(np.uint8)
