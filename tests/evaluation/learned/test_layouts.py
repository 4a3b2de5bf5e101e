"""Which weights are there: all, none, and what is incomplete or does not go together."""

import json

import pytest

from atelier.errors import InvalidInput
from atelier.evaluation.describing import METRICS
from atelier.evaluation.learned import layouts
from atelier.evaluation.learned.describing import BY_FOLDER
from tests.evaluation.learned import folders


def test_what_is_complete_is_found(root):
    found = layouts.find(root)
    assert found.missing == ()
    assert found.available == {each: root / each for each in ("clip", "clip-multilingual", "dino", "lpips", "i3d")}


def test_each_that_is_not_there_has_a_line(tmp_path, monkeypatch):
    found = layouts.find(tmp_path)
    assert found.available == {}
    assert len(found.missing) == 5
    assert str(tmp_path) not in "".join(found.missing)
    monkeypatch.chdir(tmp_path)
    assert layouts.find().missing[0] == (
        "CLIP score and CLIP consistency: not computed, there is no folder weights/evaluation/clip "
        "(a Hugging Face CLIP folder, ViT-B/32 or ViT-L/14)."
    )


@pytest.mark.parametrize(
    ("folder", "lost", "words"),
    [
        ("clip", "config.json", "clip has no config.json"),
        ("clip", "merges.txt", "clip has no merges.txt"),
        ("clip", "preprocessor_config.json", "no preprocessor_config.json"),
        ("clip", "model.safetensors", "no model.safetensors or pytorch_model.bin"),
        ("clip-multilingual", "vocab.txt", "no tokenizer.json or vocab.txt"),
        ("clip-multilingual", "2_Dense/pytorch_model.bin", "2_Dense has no model.safetensors or pytorch_model.bin"),
        ("clip-multilingual", "1_Pooling/config.json", "1_Pooling has no config.json"),
        ("dino", "model.safetensors", "dino has no"),
        ("lpips", "alex.pth", "no pair of alexnet"),
        ("i3d", "i3d_torchscript.pt", "i3d has no i3d_torchscript.pt"),
    ],
)
def test_what_is_incomplete_has_a_line_that_names_the_file(root, tmp_path, folder, lost, words):
    whole = folders.copied(root, tmp_path / "evaluation")
    (whole / folder / lost).unlink()
    found = layouts.find(whole)
    assert folder not in found.available
    assert any(words in line and "not computed" in line for line in found.missing)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("clip/config.json", {"model_type": "siglip"}, "describes 'siglip'; a CLIP model"),
        ("dino/config.json", {"model_type": "clip"}, "describes 'clip'; vit"),
        ("clip-multilingual/1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pools by pooling_mode_cls"),
        (
            "clip-multilingual/2_Dense/config.json",
            {"activation_function": "torch.nn.Tanh"},
            "followed by torch.nn.Ta",
        ),
    ],
)
def test_other_networks_have_a_line_that_says_so(root, tmp_path, file, changes, words):
    whole = folders.copied(root, tmp_path / "evaluation")
    content = json.loads((whole / file).read_text(encoding="utf-8"))
    folders.write_json(whole / file, {**content, **changes})
    assert any(words in line for line in layouts.find(whole).missing)


def test_modules_in_another_order_are_refused(root, tmp_path):
    folder = folders.copied(root / "clip-multilingual", tmp_path / "clip-multilingual")
    for content in ([{"type": "a.Transformer", "path": ""}], [{"nothing": 1}], 5, "Transformer"):
        folders.write_json(folder / "modules.json", content)
        with pytest.raises(InvalidInput, match="Transformer, Pooling, Dense are needed"):
            layouts.multilingual_files(folder)
    (folder / "modules.json").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInput, match="is no JSON"):
        layouts.multilingual_files(folder)


def test_the_multilingual_tower_goes_with_vit_b_32_alone(root, tmp_path):
    """ViT-B/16's vectors are as long, and mean something else."""
    whole = folders.copied(root, tmp_path / "evaluation")
    folders.write_clip(whole / "clip", patch=16)
    found = layouts.find(whole)
    assert "clip" in found.available
    assert "clip-multilingual" not in found.available
    assert "needs ViT-B/32 in clip, and its patches are of 16 pixels" in found.missing[0]
    (whole / "clip/config.json").unlink()
    assert "needs ViT-B/32 in clip, and it is not there" in layouts.find(whole).missing[1]


def test_two_backbones_are_refused(root, tmp_path):
    folder = folders.copied(root / "lpips", tmp_path / "lpips")
    (folder / "alexnet-owt-7be5be79.pth").touch()
    with pytest.raises(InvalidInput, match=r"2 files alexnet\*.pth; one is needed"):
        layouts.lpips_files(folder)


def test_each_measure_is_described_once():
    learned = [metric for each in BY_FOLDER.values() for metric in each]
    names = [metric.name for metric in learned]
    assert len({*names, *METRICS}) == len(names) + len(METRICS)
    assert {metric.group for metric in learned} == {"learned"}
    assert set(BY_FOLDER) | {"i3d"} == {"clip", "clip-multilingual", "dino", "lpips", "i3d"}
