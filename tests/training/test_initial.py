"""The first weights: a network that copies, fills and continues before it has learned anything."""

import pytest
import torch

from atelier.inpainting.config import GeneratorConfig
from atelier.inpainting.generator import FFCResnetBlock, LamaGenerator
from tests.training.tiny import parsed
from training import initial
from training.batches import Batch
from training.trainer import Trainer

ROOM = {"ngf": 32, "n_blocks": 9, "n_downsampling": 2, "global_ratio": 0.5, "activation": "none"}
LEVEL = 1 / 255
SIZE = (64, 96)


def generator(**changes):
    torch.manual_seed(0)
    return LamaGenerator(GeneratorConfig(**{**ROOM, **changes})).eval()


@pytest.fixture(scope="module")
def filler():
    network = generator()
    initial.filler(network)
    return network


def hole(*boxes):
    mask = torch.zeros(1, 1, *SIZE)
    for top, bottom, left, right in boxes:
        mask[..., top:bottom, left:right] = 1
    return mask


def filled(network, picture, mask):
    """The prediction, given nothing of what is in the hole."""
    with torch.inference_mode():
        return network.predict(torch.where(mask > 0, 0.123, picture), mask)


def error(prediction, picture, mask):
    return ((prediction - picture).abs() * mask).amax().item()


def test_what_is_known_is_copied(filler):
    torch.manual_seed(1)
    picture, mask = torch.rand(1, 3, *SIZE), hole((9, 22, 13, 31))
    assert error(filled(filler, picture, mask), picture, 1 - mask) < LEVEL


@pytest.mark.parametrize("boxes", [[(20, 44, 30, 54)], [(5, 6, 10, 80), (33, 37, 3, 90)], [(0, 9, 0, 13)]])
def test_flat_paper_is_filled_to_the_level(filler, boxes):
    """Wide, thin and in a corner; up to 24 pixels, which three blocks that walk make of 8 from each side."""
    picture = torch.tensor([0.9, 0.35, 0.1]).view(1, 3, 1, 1).expand(1, 3, *SIZE)
    mask = hole(*boxes)
    assert error(filled(filler, picture, mask), picture, mask) < LEVEL


def test_colours_do_not_mix_across_an_edge(filler):
    picture = torch.full((1, 3, *SIZE), 0.2)
    picture[..., 48:] = 0.8
    mask = hole((20, 36, 8, 24), (20, 36, 64, 80))
    assert error(filled(filler, picture, mask), picture, mask) < 3 * LEVEL  # the edge's waves reach a little further


def test_what_nobody_reaches_gets_the_mean_of_the_picture(filler):
    picture, mask = torch.full((1, 3, 256, 256), 0.7), torch.zeros(1, 1, 256, 256)
    mask[..., 60:190, 60:190] = 1
    assert error(filled(filler, picture, mask), picture, mask) < 0.05


def test_slopes_are_interpolated(filler):
    picture = torch.linspace(0.1, 0.9, SIZE[1]).expand(1, 3, *SIZE)
    mask = hole((24, 40, 40, 48))
    assert error(filled(filler, picture, mask), picture, mask) < 8 * LEVEL  # over the hole it changes by 17


def test_stripes_go_on_in_phase(filler):
    x = torch.arange(SIZE[1])
    picture = (0.5 + 0.3 * torch.cos(2 * torch.pi * x / 3)).expand(1, 3, *SIZE)
    mask = hole((20, 40, 30, 50))
    prediction = filled(filler, picture, mask)
    inside = (mask[0, 0] > 0).unsqueeze(0)
    found, truth = prediction[0, :1][inside] - 0.5, picture[0, :1][inside] - 0.5
    assert (found * truth).sum() / (found.norm() * truth.norm()) > 0.95
    assert (found * truth).sum() / truth.square().sum() > 0.5, "their contrast"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ngf": 16}, "64 local and 64 global channels"),
        ({"global_ratio": 0.75}, "64 local"),
        ({"n_downsampling": 3}, "2 halvings"),
        ({"activation": "sigmoid"}, "no activation"),
        ({"n_blocks": 6}, "7 blocks or more"),
    ],
)
def test_a_network_without_room_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        initial.filler(generator(**change))


def test_what_is_held_stays_and_the_rest_learns():
    run = parsed(
        ("optimiser.weight_decay", 0.0),
        generator={**ROOM, "n_blocks": 7, "start": "filler"},
        stages=[{"steps": 2, "shapes": [{"height": 32, "width": 32, "batch": 2}], "frozen_norm": True}],
    )
    trainer = Trainer(run, torch.device("cpu"))
    before = {name: weight.detach().clone() for name, weight in trainer.generator.named_parameters()}
    torch.manual_seed(2)
    mask = torch.zeros(2, 32, 32, dtype=torch.uint8)
    mask[:, 8:20, 8:20] = 255
    pages = torch.randint(256, (2, 2, 32, 32, 3), dtype=torch.uint8)
    batch = Batch(pages[0], mask, pages[1])
    for _ in range(2):
        trainer.advance(batch)
    changed = {name: weight.ne(before[name]) for name, weight in trainer.generator.named_parameters()}
    first = next(index for index, layer in enumerate(trainer.generator.model) if isinstance(layer, FFCResnetBlock))
    walks = f"model.{first + 1}.conv1.ffc.convl2l.weight"
    assert not changed[walks][:23].any(), "what walks"
    assert changed[walks][23:].any()
    assert not changed["model.1.ffc.convl2l.weight"][:4].any(), "what copies into the network"
    last = max((index for index, layer in enumerate(trainer.generator.model) if isinstance(layer, FFCResnetBlock)))
    behind = [change for name, change in changed.items() if int(name.split(".")[1]) > last]
    assert behind
    assert not any(change.any() for change in behind), "what puts the picture together"
    assert changed[f"model.{last}.conv2.ffc.convg2g.conv2.weight"].any(), "what corrects"


def test_quiet_branches():
    network = generator()
    initial.quiet(network)
    gains = [norm.weight for block in network.model if isinstance(block, FFCResnetBlock)
             for norm in (block.conv2.bn_l, block.conv2.bn_g)]  # fmt: skip
    assert gains
    assert all(torch.all(gain == gains[0][0]) for gain in gains)
