import math

import numpy as np
import pytest
import torch

from training import losses
from training.discriminator import PatchDiscriminator
from training.settings import Discriminator

RECONSTRUCTION = [losses.hole, losses.known, losses.gradient, losses.frequency]
IN_THE_HOLE = [losses.hole, losses.gradient, losses.frequency, losses.log_error]
LN2 = math.log(2)


@pytest.fixture
def example():
    """Two pictures, with holes of different sizes: prediction, truth, mask."""
    generator = torch.Generator().manual_seed(1)
    prediction, truth = torch.rand(2, 2, 3, 16, 24, generator=generator)
    mask = torch.zeros(2, 1, 16, 24)
    mask[0, :, 2:5, 3:8] = 1
    mask[1, :, 6:16, 10:24] = 1
    return prediction, truth, mask


def one_pixel(height=16, width=16, row=5, column=6, error=0.4):
    truth = torch.full((1, 3, height, width), 0.5)
    prediction, mask = truth.clone(), torch.zeros(1, 1, height, width)
    prediction[..., row, column] += error
    mask[..., row, column] = 1
    return prediction, truth, mask


@pytest.mark.parametrize("loss", RECONSTRUCTION)
def test_nothing_is_wrong_with_the_truth(loss, example):
    _, truth, mask = example
    prediction = truth.clone().requires_grad_()
    value = loss(prediction, truth, mask)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(prediction.grad).all()


@pytest.mark.parametrize("loss", [*RECONSTRUCTION, losses.log_error])
def test_it_falls_on_the_way_to_the_truth(loss, example):
    prediction, truth, mask = example
    values = [loss(torch.lerp(prediction, truth, share), truth, mask).item() for share in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 5


@pytest.mark.parametrize("loss", IN_THE_HOLE)
def test_the_hole_alone_counts(loss, example):
    prediction, truth, mask = example
    elsewhere = prediction + (1 - mask) * torch.rand_like(prediction)
    assert loss(elsewhere, truth, mask).item() == loss(prediction, truth, mask).item()


def test_outside_of_the_hole_alone_counts_for_the_known_pixels(example):
    prediction, truth, mask = example
    elsewhere = prediction + mask * torch.rand_like(prediction)
    assert losses.known(elsewhere, truth, mask).item() == losses.known(prediction, truth, mask).item()


@pytest.mark.parametrize("loss", RECONSTRUCTION)
def test_a_batch_is_the_mean_of_its_pictures(loss, example):
    together = loss(*example).item()
    alone = [loss(*(tensor[i : i + 1] for tensor in example)).item() for i in range(2)]
    assert together == pytest.approx(np.mean(alone), rel=1e-5)


def test_hole_and_known_by_hand():
    truth, mask = torch.zeros(1, 3, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    prediction = torch.zeros(1, 3, 2, 2)
    prediction[0, 0, 0, 0] = 0.6  # one of the six values in the hole
    prediction[0, :, 1, 1] = torch.tensor([0.1, 0.2, 0.3])  # half of those outside
    assert losses.hole(prediction, truth, mask).item() == pytest.approx(0.6 / 6)
    assert losses.known(prediction, truth, mask).item() == pytest.approx(0.6 / 6)
    assert losses.log_error(prediction, truth, mask).item() == pytest.approx(math.log(0.36 / 6 + 1e-5), rel=1e-5)


def test_gradient_by_hand():
    # Inside at scale 1 and 2, 4 neighbours; at scale 4 as well, in a map of 4 x 4. Averages have a 4th and a 16th.
    assert losses.gradient(*one_pixel()).item() == pytest.approx((0.4 + 0.1 + 0.025) / 3)
    # In the corner there are two neighbours, each with the same difference.
    assert losses.gradient(*one_pixel(row=0, column=0)).item() == pytest.approx((0.4 + 0.1 + 0.025) / 3)


def test_gradient_sees_a_wrong_level_at_the_seam_alone():
    truth, mask = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    # Per scale: pairs across the seam over all pairs that touch the hole. The pooled holes are 8, 4 and 2 wide.
    expected = [4 * side / (4 * side + 2 * side * (side - 1)) for side in (8, 4, 2)]
    assert losses.gradient(mask.expand_as(truth) * 0.5, truth, mask).item() == pytest.approx(0.5 * np.mean(expected))


@pytest.mark.parametrize("width", [16, 15])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_frequency_is_the_papers(width, alpha):
    generator = torch.Generator().manual_seed(2)
    prediction, truth = torch.rand(2, 1, 3, 8, width, generator=generator)
    mask = torch.zeros(1, 1, 8, width)
    mask[..., 2:6, 3:9] = 1
    shown = losses.composite(prediction, truth, mask).double().numpy()
    distance = np.abs(np.fft.fft2(shown, norm="ortho") - np.fft.fft2(truth.double().numpy(), norm="ortho"))
    weight = distance**alpha / (distance**alpha).max(axis=(-2, -1), keepdims=True)
    expected = (weight * distance**2).mean() / (24 / (8 * width))
    assert losses.frequency(prediction, truth, mask, alpha).item() == pytest.approx(expected, rel=1e-5)


def test_frequency_without_focus_is_the_squared_error_in_the_hole(example):
    prediction, truth, mask = (tensor[:1] for tensor in example)
    squared = (mask * (prediction - truth)).square().sum() / (3 * mask.sum())
    assert losses.frequency(prediction, truth, mask, alpha=0.0).item() == pytest.approx(squared.item(), rel=1e-5)


def test_frequency_does_not_learn_through_its_weight():
    prediction, truth, mask = one_pixel()  # the spectrum of a pixel is flat, so every weight is 1
    prediction.requires_grad_()
    losses.frequency(prediction, truth, mask).backward()
    assert prediction.grad[0, 0, 5, 6].item() == pytest.approx(2 * 0.4 / 3, rel=1e-4)


def test_a_cell_sees_the_hole_if_any_of_its_pixels_is_one():
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 9, 31] = 1
    assert losses.cells(mask, torch.zeros(1, 1, 4, 4)).flatten().nonzero().flatten().tolist() == [7]


def test_adversarial_by_hand():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    scores = torch.tensor([[[[1.5, 90.0], [-90.0, 7.0]]]])  # what is not in the hole does not count
    assert losses.adversarial(scores, mask).item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert losses.adversarial(torch.zeros(1, 1, 2, 2), mask).item() == pytest.approx(LN2)


def test_discriminator_by_hand():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    nothing = torch.zeros(1, 1, 2, 2)
    assert losses.discriminator(nothing, nothing, mask).item() == pytest.approx(LN2)
    right = torch.tensor([[[[-50.0, 50.0], [50.0, 50.0]]]])  # painted, then three cells of known pixels
    assert losses.discriminator(nothing + 50, right, mask).item() == pytest.approx(0, abs=1e-6)
    fooled = losses.discriminator(nothing + 50, nothing + 50, mask).item()
    assert fooled == pytest.approx(50 / 2)  # however small the hole: a half is the painted cells'
    one_wrong = torch.tensor([[[[-50.0, -7.0], [50.0, 50.0]]]])  # a known cell that is held for painted
    assert losses.discriminator(nothing + 50, one_wrong, mask).item() == pytest.approx(7 / 7 / 2, rel=1e-3)


def test_gradient_penalty_of_a_linear_score():
    truth = torch.rand(2, 3, 8, 8, requires_grad=True)
    weights = torch.tensor([0.5, -1.0, 2.0]).reshape(1, 3, 1, 1)
    scores = (truth * weights).sum(1, keepdim=True)
    assert losses.gradient_penalty(scores, truth).item() == pytest.approx((0.25 + 1 + 4) / 2)


def test_gradient_penalty_reaches_the_discriminator():
    torch.manual_seed(0)
    network = PatchDiscriminator(Discriminator(ndf=4, n_layers=2, max_features=8, lr=1e-3))
    truth = torch.rand(2, 3, 32, 32, requires_grad=True)
    losses.gradient_penalty(network(truth)[0], truth).backward()
    assert all(layer[0].weight.grad.abs().max() > 0 for layer in network.layers)


def test_features_are_relative_and_teach_the_painted_side_alone():
    real = [torch.rand(1, 4, 8, 8, requires_grad=True), torch.rand(1, 8, 4, 4, requires_grad=True)]
    fake = [1.5 * tensor.detach() for tensor in real]
    fake[0].requires_grad_()
    value = losses.features(fake, real)
    assert value.item() == pytest.approx(0.5, rel=1e-5)
    value.backward()
    assert fake[0].grad.abs().max() > 0
    assert real[0].grad is None
    assert losses.features([100 * t for t in fake], [100 * t for t in real]).item() == pytest.approx(0.5, rel=1e-5)
    assert losses.features(real, real).item() == 0


@pytest.mark.parametrize(("size", "layers"), [((32, 32), 2), ((64, 48), 3), ((32, 32), 5)])
def test_the_discriminator_takes_every_size(size, layers):
    network = PatchDiscriminator(Discriminator(ndf=4, n_layers=layers, max_features=8, lr=1e-3))
    scores, features = network(torch.rand(1, 3, *size))
    assert scores.shape[:2] == (1, 1)
    assert len(features) == layers + 1
    assert [feature.shape[1] for feature in features] == [4, 8, 8, 8, 8, 8][: layers + 1]
    assert all(0.05 < feature.std() < 5 for feature in features)  # of one size from the first layer to the last
