"""LPIPS with random backbones of the true shape, against the formula written with PyTorch's functions in float64."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from atelier.errors import InvalidInput
from atelier.evaluation.learned.lpips import Lpips
from tests.evaluation.learned import folders


@pytest.fixture(scope="module")
def lpips(root):
    return Lpips.from_folder(root / "lpips")


@pytest.fixture(scope="module")
def clip():
    """Three frames of 70 x 82 pixels."""
    return np.random.default_rng(1).integers(0, 256, (3, 70, 82, 3), np.uint8)


def alexnet(x, state):
    def convolved(x, place, **how):
        weight, bias = (state[f"features.{place}.{name}"].double() for name in ("weight", "bias"))
        return functional.conv2d(x, weight, bias, **how).clamp(min=0)

    first = convolved(x, 0, stride=4, padding=2)
    second = convolved(functional.max_pool2d(first, 3, 2), 3, padding=2)
    third = convolved(functional.max_pool2d(second, 3, 2), 6, padding=1)
    fourth = convolved(third, 8, padding=1)
    return [first, second, third, fourth, convolved(fourth, 10, padding=1)]


def vgg(x, state):
    found = []
    for block in ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]):
        x = functional.max_pool2d(x, 2) if found else x
        for place in block:
            weight, bias = (state[f"features.{place}.{name}"].double() for name in ("weight", "bias"))
            x = functional.conv2d(x, weight, bias, padding=1).clamp(min=0)
        found.append(x)
    return found


def distance(one, other, network, state, heads):
    """The paper's equation 1, one layer and one place after the other."""
    taps = []
    for frame in (one, other):
        x = torch.from_numpy(frame).double().permute(2, 0, 1) / 255 * 2 - 1
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        taps.append(network(((x - shift.view(3, 1, 1)) / scale.view(3, 1, 1))[None].double(), state))
    total = 0.0
    for left, right, head in zip(*taps, heads.values(), strict=True):
        left, right = (each[0].flatten(1).numpy() for each in (left, right))
        left, right = (each / np.maximum(np.linalg.norm(each, axis=0), 1e-10) for each in (left, right))
        total += np.mean(head.double().flatten().numpy() @ (left - right) ** 2)
    return total


def test_the_distance_is_the_formulas(lpips, clip):
    other = np.clip(clip.astype(int) + np.random.default_rng(2).integers(-60, 60, clip.shape), 0, 255).astype(np.uint8)
    heads = folders.heads_state([64, 192, 384, 256, 256])
    expected = [distance(*pair, alexnet, folders.alexnet_state(), heads) for pair in zip(clip, other, strict=True)]
    assert lpips.distance(clip, other) == pytest.approx(np.mean(expected), rel=1e-4)
    assert lpips.distance(iter(other), iter(clip)) == pytest.approx(np.mean(expected), rel=1e-4)
    assert lpips.network == "alex"


def test_a_video_has_no_distance_from_itself_and_more_from_more_noise(lpips, clip):
    assert lpips.distance(clip, clip.copy()) == 0
    noise = np.random.default_rng(3).normal(0, 1, clip.shape)
    noisy = [np.clip(clip + level * noise, 0, 255).astype(np.uint8) for level in (5, 20, 60)]
    found = [lpips.distance(clip, each) for each in noisy]
    assert all(0 < low < high for low, high in itertools.pairwise(found))


def test_vgg16_is_taken_where_it_alone_is_there(clip, tmp_path):
    state, heads = folders.vgg_state(), folders.heads_state([64, 128, 256, 512, 512])
    torch.save(state, tmp_path / "vgg16-397923af.pth")
    torch.save(heads, tmp_path / "vgg.pth")
    found = Lpips.from_folder(tmp_path)
    assert found.network == "vgg"
    expected = distance(clip[0], clip[1], vgg, state, heads)
    assert found.distance(clip[:1], clip[1:2]) == pytest.approx(expected, rel=1e-4)


def test_the_backbone_may_come_without_its_classifier(root, lpips, clip, tmp_path):
    folder = folders.copied(root / "lpips", tmp_path / "lpips")
    (folder / "alexnet-owt-4df8aa71.pth").unlink()
    torch.save(folders.alexnet_state(classifier=False), folder / "alexnet-owt-7be5be79.pth")
    found = Lpips.from_folder(folder)
    assert found.distance(clip[:1], clip[1:2]) == lpips.distance(clip[:1], clip[1:2])
    files = (folder / "alexnet-owt-7be5be79.pth", folder / "alex.pth")
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert found.digest == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda backbone, _: backbone.pop("features.8.bias"), r"7be5be79.pth lacks 1 tensor\(s\): features.8.bias"),
        (lambda backbone, _: backbone.update({"features.3.bias": torch.zeros(5)}), r"features.3.bias is \[5\]"),
        (lambda _, heads: heads.pop("lin4.model.1.weight"), r"alex.pth lacks 1 tensor\(s\): lin4.model.1.weight"),
        (lambda _, heads: heads.update({"lin0.model.1.weight": torch.zeros(1, 9, 1, 1)}), r"\[1, 64, 1, 1\] is needed"),
        (lambda _, heads: heads.update({"lin0.model.1.weight": 3}), "alex.pth holds no tensors by name"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, spoil, words):
    backbone, heads = folders.alexnet_state(), folders.heads_state([64, 192, 384, 256, 256])
    spoil(backbone, heads)
    torch.save(backbone, tmp_path / "alexnet-owt-7be5be79.pth")
    torch.save(heads, tmp_path / "alex.pth")
    with pytest.raises(InvalidInput, match=words):
        Lpips.from_folder(tmp_path)


def test_videos_that_cannot_be_compared_are_refused(lpips, clip):
    with pytest.raises(InvalidInput, match="different numbers of frames"):
        lpips.distance(clip, clip[:2])
    with pytest.raises(InvalidInput, match="82x70 and 82x69"):
        lpips.distance(clip, clip[:, :-1])
    with pytest.raises(InvalidInput, match="LPIPS needs 64x64"):
        lpips.distance(clip[:, :63], clip[:, :63])
    with pytest.raises(InvalidInput, match="no frames"):
        lpips.distance(clip[:0], clip[:0])
