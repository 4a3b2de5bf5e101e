"""First weights of a generator: it copies what is known, fills holes from their rims, and continues what is periodic.

So all there is to learn is what is better than that.

*Copying* (`copying`). With two halvings the bottleneck has room for every pixel: a place of the feature map stands for
4 x 4 pixels, so 48 numbers hold their colours and 16 whether they are in the hole. The first and the last layers carry
those there and back; colours are never negative, so ReLU lets them pass, and batch normalisation starts as the
identity.

*Filling* (`filling`). Places know the mean colour of their known pixels, and whether they have any. A block gives each
place that knows none the mean of those of its four neighbours that do, twice, so knowledge walks 8 pixels inwards. One
block guesses for those that nobody reached: the mean of the whole picture. The next one paints it all, interpolated,
into the hole's pixels. But for the guess it is done by ReLUs that are either 0 or linear, thus exact: flat paper is
filled to the level.

*Continuing* (`waves`). The last blocks iterate what Guleryuz (2006, Nonlinear Approximation Based Image Recovery) and
Elad et al. (2005, morphological component analysis) do for textures: transform, drop what is weak, transform back, keep
the result in the hole. A Fourier unit is a 1 x 1 convolution and a ReLU, and relu(F - t) - relu(-F - t) is a soft
threshold. What is transformed is the luminance of each of the 16 pixels of a place (a picture of a sixteenth of the
size each, so that a 1 x 1 convolution is enough), less its blur, so that slopes stay out.

Copying into the network and out of it, seeing, walking, guessing, painting, blurring and transforming are *held*: they
learn nothing. Ten steps of gates, one behind the other, make a large matter of the slightest change, and a last layer
that is off by a hundredth makes flat paper uneven: in 1450 steps without that, flat pages lost 6 dB. Correcting learns
from the first step on, as do all channels of the blocks that carry none of this. Those start random, as PyTorch does
it, and their residual branches as little more than their shortcuts (Goyal et al. 2017, arXiv 1706.02677, section 5.1,
with a little instead of nothing).
"""

from __future__ import annotations

import torch
from torch import nn

from atelier.inpainting.config import GeneratorConfig
from atelier.inpainting.generator import FFCResnetBlock, LamaGenerator
from training.initial import copying, filling, waves
from training.initial.layout import FIRM, GLOBAL, HALVINGS, INNER, LOCAL, MASK, PIXELS, THRESHOLDS, Block, silence

__all__ = ["filler", "lacking", "quiet"]

_QUIET = 0.1  # first gain of a residual branch
_BLOCKS = 4 + len(THRESHOLDS)  # one that sees, one that walks, one that guesses, one that paints, and those that go on


def lacking(config: GeneratorConfig) -> str:
    """What a network lacks to begin as a `filler`, as a sentence; empty if nothing."""
    local, global_ = config.channels(HALVINGS) - config.global_channels, config.global_channels
    wanted = max(GLOBAL, 2 * INNER)
    if config.n_downsampling != HALVINGS or config.activation != "none":
        return f"a filler has {HALVINGS} halvings and no activation at its end"
    if local < LOCAL or global_ < wanted:
        return f"a filler has {LOCAL} local and {wanted} global channels at the bottleneck, or more"
    if config.n_blocks < _BLOCKS:
        return f"a filler has {_BLOCKS} blocks or more"
    return ""


def quiet(generator: LamaGenerator) -> None:
    """Let residual blocks begin as little more than their shortcuts."""
    for block in _blocks(generator):
        for norm in (block.conv2.bn_l, block.conv2.bn_g):
            if norm is not None:
                nn.init.constant_(norm.weight, _QUIET)


@torch.no_grad()
def filler(generator: LamaGenerator) -> None:
    """Make the network copy, fill and continue; its batch normalisation is taken to be frozen at the identity.

    Raises:
        ValueError: The network has no room for it.
    """
    if found := lacking(generator.config):
        raise ValueError(found)
    quiet(generator)
    copying.copy(generator)
    blocks = _blocks(generator)
    for block in blocks:
        _keep(block)
    seeing, *walking, guessing, painting = blocks[: -len(THRESHOLDS)]
    filling.see(seeing)
    for block in walking:
        filling.walk(block)
    filling.guess(guessing)
    filling.paint(painting)
    waves.blur_means(painting)
    for number, block in enumerate(blocks[-len(THRESHOLDS) :]):
        waves.proceed(block, number)


def _blocks(generator: LamaGenerator) -> list[Block]:
    return [layer for layer in generator.model if isinstance(layer, FFCResnetBlock)]


def _keep(block: Block) -> None:
    """Change what stands for something but little, and the mask not at all."""
    block.conv2.bn_l.weight[:LOCAL] = FIRM
    block.conv2.bn_g.weight[:GLOBAL] = FIRM
    silence(block.conv2, global_=slice(MASK, MASK + PIXELS))
