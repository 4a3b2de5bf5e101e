"""The calling convention of I3D's TorchScript, on a small network; and what is too short for it."""

import hashlib

import numpy as np
import pytest
import torch

from atelier.errors import InvalidInput
from atelier.evaluation.learned.i3d import LENGTH, SHORTEST, I3d
from tests.evaluation.learned import folders


@pytest.fixture(scope="module")
def i3d(root):
    return I3d.from_folder(root / "i3d")


def test_features_are_those_of_the_network(i3d, clip_frames):
    """The same weights in plain PyTorch, scaled and resized by hand: frame by frame, and to -1..1."""
    network = folders.scattered(folders.SmallI3d, 8)
    small = [
        torch.nn.functional.interpolate(torch.tensor(f).permute(2, 0, 1)[None].float(), size=(16, 16), mode="bilinear")
        for f in clip_frames[:11]
    ]
    with torch.inference_mode():
        x = torch.cat(small) / 127.5 - 1
        logits = network(x.permute(1, 0, 2, 3)[None], return_features=True)[0].numpy()
    found = i3d.features(clip_frames, length=11)
    assert found.shape == (400,)
    np.testing.assert_allclose(found, logits, atol=1e-5)
    assert found.min() < 0  # logits, not the softmax


def test_the_beginning_alone_is_looked_at(i3d, clip_frames):
    longer = np.concatenate([clip_frames, 255 - clip_frames])
    assert LENGTH == 16
    changed = longer.copy()
    changed[16:] = 0
    rest = iter(changed)
    np.testing.assert_array_equal(i3d.features(longer), i3d.features(rest))
    assert len(list(rest)) == 8
    changed[14] = 0  # the last one that the small network's strides reach
    assert not np.array_equal(i3d.features(longer), i3d.features(changed))


def test_what_is_too_short_is_refused_and_never_repeated(i3d, clip_frames):
    with pytest.raises(InvalidInput, match=r"has 12 frame\(s\); 16 of each are looked at"):
        i3d.features(clip_frames)
    with pytest.raises(InvalidInput, match="length is 9 frames; I3D needs at least 10"):
        i3d.features(clip_frames, length=SHORTEST - 1)
    assert i3d.features(clip_frames[:10], length=SHORTEST).shape == (400,)


def test_the_digest_is_the_files(root, i3d):
    assert i3d.digest == hashlib.sha256((root / "i3d/i3d_torchscript.pt").read_bytes()).hexdigest()


def test_what_is_no_torchscript_is_refused(tmp_path):
    (tmp_path / "i3d_torchscript.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InvalidInput, match=r"i3d_torchscript.pt cannot be loaded") as error:
        I3d.from_folder(tmp_path)
    assert str(tmp_path) not in str(error.value)


def test_a_network_of_another_convention_is_refused(tmp_path, clip_frames):
    torch.jit.script(torch.nn.Conv3d(3, 4, 3)).save(str(tmp_path / "i3d_torchscript.pt"))
    with pytest.raises(InvalidInput, match="I3D refuses the video"):
        I3d.from_folder(tmp_path).features(clip_frames, length=10)
