"""CLIP's score and consistency on a small network: against NumPy, and what must not be judged."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from atelier.errors import InvalidInput
from atelier.evaluation.learned.clip import Clip, MultilingualText, foreign_scripts
from atelier.evaluation.learned.embedding import consistency, sampled
from tests.evaluation.learned import folders, reference

KOREAN = "고양이가 눈밭에서 논다."


@pytest.fixture(scope="module")
def clip(root):
    return Clip.from_folder(root / "clip")


@pytest.fixture(scope="module")
def multilingual(root):
    return MultilingualText.from_folder(root / "clip-multilingual")


@pytest.fixture(scope="module")
def expected(root, clip_frames):
    """Directions by NumPy."""
    weights = reference.tensors(root / "clip")
    scale = (folders.MEAN, folders.DEVIATION)
    return np.stack([reference.clip_image(weights, reference.picture(f, 64, 64, *scale)) for f in clip_frames])


def test_directions_are_numpys(clip, clip_frames, expected):
    found = clip.embed(clip_frames)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.ptp(expected @ expected[0]) > 0.01  # the frames are told apart
    np.testing.assert_allclose(clip.embed(frame for frame in clip_frames), found, atol=1e-6)  # one pass is enough


def test_the_score_is_the_cosine_times_100(root, clip, clip_frames, expected):
    """The mean over eight of twelve frames, by hand; "cat" is one token by the merges, the others letters."""
    vocabulary = json.loads((root / "clip/vocab.json").read_text(encoding="utf-8"))
    ids = [vocabulary[each] for each in ("<|startoftext|>", "a</w>", "cat</w>", "i", "n</w>", "<|endoftext|>")]
    text = reference.clip_text(reference.tensors(root / "clip"), ids)
    found = clip.score(clip.embed(clip_frames), "a cat in")
    looked = [0, 2, 3, 5, 6, 8, 9, 11]  # 11/7 apart, rounded
    assert found.value == pytest.approx(100 * np.mean([expected[place] @ text for place in looked]), abs=2e-3)
    assert (found.frames, found.tokens, found.truncated, found.warning) == (8, 6, False, "")
    assert clip.score(clip.embed(clip_frames[:3]), "a cat in").frames == 3


def test_korean_gets_no_number_of_the_english_tower(clip, clip_frames):
    found = clip.score(clip.embed(clip_frames), KOREAN)
    assert found.value is None
    assert found.warning == "the English text tower cannot judge a prompt with Hangul letters"
    assert clip.score(clip.embed(clip_frames), "a cat, 24 fps – “naïve café” ½ 🐈").value is not None
    assert foreign_scripts("cat 고양이 кот 猫") == ["Cjk", "Cyrillic", "Hangul"]


def test_the_multilingual_tower_judges_korean(root, clip, multilingual, clip_frames, expected):
    folder = root / "clip-multilingual"
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split()
    words = ["[CLS]", "고", "##양", "##이", "[UNK]", "논", "##다", ".", "[SEP]"]
    hidden = reference.distilbert(reference.tensors(folder), [vocabulary.index(each) for each in words])
    dense = torch.load(folder / "2_Dense/pytorch_model.bin", weights_only=True)["linear.weight"].numpy()
    text = reference.direction(dense.astype(np.float64) @ hidden.mean(axis=0))
    found = multilingual.score(clip.embed(clip_frames), "고양이 없는단어 논다.", frames=12)
    assert found.value == pytest.approx(100 * np.mean(expected @ text), abs=2e-3)
    assert (found.tokens, found.warning) == (9, "")


def test_long_prompts_are_cut_and_that_is_said(clip, multilingual, clip_frames):
    directions = clip.embed(clip_frames)
    exact, longer = clip.score(directions, "cat " * 75), clip.score(directions, "cat " * 75 + "dog")
    assert (exact.tokens, exact.truncated, exact.warning) == (77, False, "")
    assert (longer.tokens, longer.truncated) == (80, True)
    assert longer.warning == "the prompt has 80 tokens; only the first 77 were judged"
    assert longer.value == pytest.approx(exact.value)
    found = multilingual.score(directions, "고양이 " * 8)
    assert (found.tokens, found.truncated) == (26, True)
    assert "only the first 12" in found.warning


def test_consistency_is_the_mean_cosine_of_neighbours(clip, clip_frames, expected):
    found = consistency(clip.embed(clip_frames))
    assert found == pytest.approx(np.mean([expected[t] @ expected[t + 1] for t in range(11)]), abs=1e-5)
    still = np.repeat(clip_frames[:1], 5, axis=0)
    assert consistency(clip.embed(still)) == pytest.approx(1, abs=1e-6)
    cut = np.concatenate([clip_frames[:3], 255 - clip_frames[3:6]])
    assert consistency(clip.embed(cut)) < consistency(clip.embed(clip_frames[:6]))
    assert consistency(clip.embed(clip_frames[:1])) is None


def test_samples_lie_evenly():
    places = np.arange(121, dtype=np.float32)[:, None]
    assert sampled(places, 8).ravel().tolist() == [0, 17, 34, 51, 69, 86, 103, 120]
    assert len(sampled(places[:5], 8)) == 5


def test_digests_are_those_of_the_files(root, clip, multilingual):
    assert clip.digest == hashlib.sha256((root / "clip/model.safetensors").read_bytes()).hexdigest()
    folder = root / "clip-multilingual"
    files = (folder / "model.safetensors", folder / "2_Dense/pytorch_model.bin")
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert multilingual.digest == hashlib.sha256(lines.encode()).hexdigest()


def test_weights_in_the_old_format_give_the_same(root, clip, clip_frames, tmp_path):
    """ViT-B/32 is published as pytorch_model.bin, with a tensor that newer versions do not have."""
    folder = folders.copied(root / "clip", tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    torch.save({**state, "text_model.embeddings.position_ids": torch.arange(77)[None]}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = Clip.from_folder(folder)
    np.testing.assert_array_equal(found.embed(clip_frames), clip.embed(clip_frames))
    assert found.digest != clip.digest


def test_missing_tensors_are_not_made_up(root, tmp_path):
    folder = folders.copied(root / "clip", tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"clip lacks 1 tensor\(s\): visual_projection.weight"):
        Clip.from_folder(folder)


class Trap:
    """A pickle that would write a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def test_a_file_that_would_run_code_is_refused(root, tmp_path):
    folder = folders.copied(root / "clip", tmp_path / "clip")
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": Trap(tmp_path / "written")}, folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match="clip cannot be loaded"):
        Clip.from_folder(folder)
    dense = folders.copied(root / "clip-multilingual", tmp_path / "clip-multilingual")
    torch.save({"linear.weight": Trap(tmp_path / "written")}, dense / "2_Dense/pytorch_model.bin")
    with pytest.raises(InvalidInput, match="pytorch_model.bin cannot be loaded"):
        MultilingualText.from_folder(dense)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("length", [0, 7, 2000])
def test_a_file_cut_short_is_refused_without_the_machines_paths(root, tmp_path, length):
    folder = folders.copied(root / "clip", tmp_path / "clip")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(InvalidInput, match="clip cannot be loaded") as error:
        Clip.from_folder(folder)
    assert str(tmp_path) not in str(error.value)


def test_a_linear_layer_of_another_shape_is_refused(root, tmp_path):
    folder = folders.copied(root / "clip-multilingual", tmp_path / "clip-multilingual")
    torch.save({"linear.weight": torch.zeros(16, 23)}, folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"weight is \[16, 23\], and \[16, 24\] is needed"):
        MultilingualText.from_folder(folder)
    torch.save({"other": torch.zeros(16, 24)}, folder / "2_Dense/pytorch_model.bin")
    with pytest.raises(InvalidInput, match="lacks 1 tensor"):
        MultilingualText.from_folder(folder)


def test_towers_of_unlike_width_are_refused(clip_frames, multilingual, tmp_path):
    folders.write_clip(tmp_path / "clip", projection=12)
    other = Clip.from_folder(tmp_path / "clip")
    with pytest.raises(InvalidInput, match="gives 16 numbers, CLIP 12"):
        multilingual.score(other.embed(clip_frames[:2]), KOREAN)


def test_damaged_weights_give_an_error_not_a_number(root, clip_frames, tmp_path):
    folder = folders.copied(root / "clip", tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    state["visual_projection.weight"][0, 0] = float("nan")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="not finite"):
        Clip.from_folder(folder).embed(clip_frames[:1])


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_no_prompt_is_refused(clip, multilingual, clip_frames, prompt):
    for tower in (clip, multilingual):
        with pytest.raises(InvalidInput, match="prompt is empty"):
            tower.score(clip.embed(clip_frames[:1]), prompt)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((0, 64, 64, 3), np.uint8), np.zeros((2, 64, 64, 3), np.float32), np.zeros((2, 64, 64), np.uint8)],
)
def test_what_is_no_video_is_refused(clip, frames):
    with pytest.raises(InvalidInput):
        clip.embed(frames)


def test_a_device_that_is_not_there_is_refused(root):
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        Clip.from_folder(root / "clip", device="nonsense")
