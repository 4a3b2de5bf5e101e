"""DINO and DINOv2 on small networks, against NumPy."""

import hashlib

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from atelier.errors import InvalidInput
from atelier.evaluation.learned.dino import Dino
from atelier.evaluation.learned.embedding import consistency
from tests.evaluation.learned import folders, reference

SCALE = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(("kind", "size", "crop"), [("dinov2", 32, 28), ("vit", 28, None)])
def test_directions_are_numpys(clip_frames, tmp_path, kind, size, crop):
    folders.write_dino(tmp_path / "dino", kind)
    weights = reference.tensors(tmp_path / "dino")
    expected = np.stack([reference.vit(weights, reference.picture(f, size, crop, *SCALE), kind) for f in clip_frames])
    dino = Dino.from_folder(tmp_path / "dino")
    found = dino.embed(clip_frames)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.ptp(expected @ expected[0]) > 0.01
    neighbours = np.mean([expected[t] @ expected[t + 1] for t in range(11)])
    assert consistency(found) == pytest.approx(neighbours, abs=1e-5)
    assert dino.digest == hashlib.sha256((tmp_path / "dino/model.safetensors").read_bytes()).hexdigest()


def test_missing_tensors_are_not_made_up(root, tmp_path):
    folder = folders.copied(root / "dino", tmp_path / "dino")
    state = load_file(folder / "model.safetensors")
    lost = [name for name in state if ".query." in name]
    save_file({name: state[name] for name in state if name not in lost}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InvalidInput, match=rf"dino lacks {len(lost)} tensor"):
        Dino.from_folder(folder)
