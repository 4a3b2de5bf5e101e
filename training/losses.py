"""What the generator and the discriminator are trained to make small.

Shapes: B x 3 x H x W pictures in 0..1 and B x 1 x H x W masks, 1 in the hole and 0 outside; every hole and its outside
have pixels. The composite is the prediction in the hole and the truth outside: what a user gets to see. Everything is
a mean per pixel or per picture, so that neither the size of a picture nor that of its hole changes a weight's meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SCALES = (1, 2, 4)  # pixels: sides of the squares that are averaged before slopes are taken
_TINY = 1e-8
_EXACT = 1e-5  # squared error: 50 dB


def composite(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The prediction in the hole, the truth outside."""
    return torch.lerp(truth, prediction, mask)


def hole(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference per channel in the hole, then over the pictures: small holes count as large ones do."""
    return _share((prediction - truth).abs().mean(1, keepdim=True), mask)


def log_error(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Natural logarithm of the mean squared error in the hole, averaged over the pictures: the PSNR, but for a factor.

    A mean of errors is a matter of the hard pictures alone. Here halving a small error is worth as much as halving a
    large one, so that flat paper is filled to the level. Below 50 dB nothing more is asked for.
    """
    squared = _shares((prediction - truth).square().mean(1, keepdim=True), mask)
    return torch.log(squared + _EXACT).mean()


def known(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The same outside the hole."""
    return _share((prediction - truth).abs().mean(1, keepdim=True), 1 - mask)


def gradient(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of the composite's slopes and the truth's, in x and y, at three scales.

    At each scale it is a mean over the pairs of neighbours of which the hole has a part: the seam counts, what cannot
    differ does not. Slopes and averages are linear, so they are taken of the difference at once.
    """
    difference = mask * (prediction - truth)
    total = difference.new_zeros(())
    for scale in _SCALES:
        pooled = functional.avg_pool2d(difference, scale) if scale > 1 else difference
        near = functional.max_pool2d(mask, scale) if scale > 1 else mask
        slopes = (pooled[..., 1:] - pooled[..., :-1]).abs().sum((1, 2, 3))
        slopes = slopes + (pooled[..., 1:, :] - pooled[..., :-1, :]).abs().sum((1, 2, 3))
        pairs = torch.maximum(near[..., 1:], near[..., :-1]).sum((1, 2, 3))
        pairs = pairs + torch.maximum(near[..., 1:, :], near[..., :-1, :]).sum((1, 2, 3))
        total = total + (slopes / (prediction.shape[1] * pairs)).mean()
    return total / len(_SCALES)


def frequency(prediction: Tensor, truth: Tensor, mask: Tensor, alpha: float = 1.0) -> Tensor:
    """Focal frequency loss of the composite (Jiang et al. 2021, arXiv 2012.12821, equations 6 to 8), per hole pixel.

    The mean over all frequencies of w |F_p - F_t|^2, F the orthonormal spectrum of each channel, with
    w = |F_p - F_t|^alpha over its highest value in that channel, a constant for the gradient. It is divided by the
    hole's share of the picture, which the paper, without holes, has no need of: the difference's energy is all there.
    """
    difference = mask * (prediction - truth)
    spectrum = torch.fft.rfft2(difference, norm="ortho")
    energy = spectrum.real.square() + spectrum.imag.square()
    with torch.no_grad():
        weight = energy.pow(alpha / 2)
        weight = weight / weight.amax((-2, -1), keepdim=True).clamp_min(_TINY)
        # The other half of a real picture's spectrum mirrors this one, but for the columns 0 and W/2.
        weight[..., 1 : (difference.shape[-1] + 1) // 2] *= 2
    pixels = difference.shape[-2] * difference.shape[-1]
    per_picture = (weight * energy).sum((-2, -1)).mean(1) / pixels
    mean: Tensor = (per_picture / mask.mean((1, 2, 3))).mean()
    return mean


def cells(mask: Tensor, scores: Tensor) -> Tensor:
    """The mask at the size of the discriminator's map: 1 where a cell's part of the picture has a hole in."""
    size = [scores.shape[-2], scores.shape[-1]]
    pooled: Tensor = functional.adaptive_max_pool2d(mask, size)
    return pooled


def adversarial(fake: Tensor, mask: Tensor) -> Tensor:
    """The generator's non-saturating logistic loss, softplus(-D), over the cells that see the hole.

    Args:
        fake: Scores of the composite, B x 1 x h x w; high is real.
        mask: B x 1 x H x W.
    """
    return _share(functional.softplus(-fake), cells(mask, fake))


def discriminator(real: Tensor, fake: Tensor, mask: Tensor) -> Tensor:
    """The discriminator's logistic loss, with LaMa's labels: what shows known pixels alone is real in either picture.

    Half of it is of the cells that see the hole of the composite, half of all others, the truth's among them: holes
    are small, and a mean over all cells would let a discriminator that calls everything real get away with it.

    Args:
        real: Scores of the truth, B x 1 x h x w.
        fake: Scores of the composite, likewise.
        mask: B x 1 x H x W.
    """
    painted = cells(mask, fake)
    true = functional.softplus(-real).sum() + (functional.softplus(-fake) * (1 - painted)).sum()
    return (true / (real.numel() + (1 - painted).sum()) + _share(functional.softplus(fake), painted)) / 2


def gradient_penalty(real: Tensor, truth: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018, arXiv 1801.04406): half the mean, over pixels, of the score's squared gradient.

    The paper sums over pixels. A mean keeps the weight's meaning for every size; LaMa's weight of 0.001, without the
    half, for sums over 256 x 256 pixels is 131 here.

    Args:
        real: Scores of the truth.
        truth: B x 3 x H x W, requiring gradients.
    """
    (slope,) = torch.autograd.grad(real.sum(), truth, create_graph=True)
    return slope.square().sum(1).mean() / 2


def features(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of the discriminator's features, over their mean size, averaged over its layers.

    Relative to their size, since without normalisation nothing keeps the features of a layer at one.
    """
    parts = [(f - r.detach()).abs().mean() / (r.detach().abs().mean() + _TINY) for f, r in zip(fake, real, strict=True)]
    return torch.stack(parts).mean()


def _share(values: Tensor, part: Tensor) -> Tensor:
    """The mean of B x 1 x h x w values over a part of each picture, then over the pictures."""
    return _shares(values, part).mean()


def _shares(values: Tensor, part: Tensor) -> Tensor:
    """The mean of B x 1 x h x w values over a part of each picture: B values."""
    return (values * part).sum((1, 2, 3)) / part.sum((1, 2, 3)).clamp_min(1)
