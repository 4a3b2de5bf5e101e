"""The first weights: a network that copies, before it has learned anything."""

import pytest
import torch

from atelier.inpainting.config import GeneratorConfig
from atelier.inpainting.generator import LamaGenerator
from training import initial

ROOM = {"ngf": 20, "n_blocks": 2, "n_downsampling": 2, "global_ratio": 0.4, "activation": "none"}


def _generator(**changes):
    torch.manual_seed(0)
    return LamaGenerator(GeneratorConfig(**{**ROOM, **changes})).eval()


def test_a_copier_returns_what_is_known_and_nothing_in_the_hole():
    generator = _generator()
    initial.quiet(generator)
    initial.copier(generator)
    for block in generator.modules():  # without the branches, and the random channels' faint say, it is exact
        if isinstance(block, initial.FFCResnetBlock):
            torch.nn.init.zeros_(block.conv2.bn_l.weight)
            torch.nn.init.zeros_(block.conv2.bn_g.weight)
    last = generator.model[-1]
    with torch.no_grad():
        last.weight[last.weight != 1] = 0
    image, mask = torch.rand(2, 3, 40, 56), torch.zeros(2, 1, 40, 56)
    mask[:, :, 9:22, 13:31] = 1
    with torch.inference_mode():
        predicted = generator.predict(image, mask)
    torch.testing.assert_close(predicted, image * (1 - mask), atol=1e-4, rtol=0)


def test_it_begins_close_to_a_copy():
    generator = _generator()
    initial.quiet(generator)
    initial.copier(generator)
    image, mask = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    with torch.inference_mode():
        off = (generator.predict(image, mask) - image).abs().mean()
    assert off < 0.1


@pytest.mark.parametrize(
    "change", [{"ngf": 16}, {"global_ratio": 0.75}, {"n_downsampling": 3}, {"activation": "sigmoid"}]
)
def test_a_network_without_room_is_refused(change):
    with pytest.raises(ValueError, match="a copier has"):
        initial.copier(_generator(**change))


def test_quiet_branches():
    generator = _generator()
    initial.quiet(generator)
    gains = [norm.weight for block in generator.model if isinstance(block, initial.FFCResnetBlock)
             for norm in (block.conv2.bn_l, block.conv2.bn_g)]  # fmt: skip
    assert gains
    assert all(torch.all(gain == gains[0][0]) for gain in gains)
    assert 0 < gains[0][0].item() < 0.5
