"""Qwen2-VL: its questions, its seeds, its folders, and what becomes of answers that are none."""

import json
import shutil

import numpy as np
import pytest
import torch

from atelier.compositing.analyzer import analyze
from atelier.compositing.jobs import AnalysisJob, StageReport
from atelier.compositing.neural.answers import Answer, read
from atelier.compositing.neural.asking import Reader, language_name, messages
from atelier.compositing.neural.pictures import flattened
from atelier.compositing.neural.qwen import QwenAnalyzer, scene_of
from atelier.compositing.scene import from_json, to_json
from atelier.compositing.settings import AnalyzerSettings
from atelier.errors import CheckpointError, InvalidInput

PICTURE = 256 + 12  # the number of <|image_pad|>


def analyzer(folder, **settings):
    return QwenAnalyzer(
        folder, AnalyzerSettings(**{"device": "cpu", "max_new_tokens": 16, "image_tokens": 64, **settings})
    )


@pytest.fixture(scope="module")
def greedy(tiny):
    return analyzer(tiny / "qwen2-vl")


@pytest.fixture(scope="module")
def reader(tiny):
    return Reader(tiny / "qwen2-vl", PICTURE, 64)


def test_an_answer_that_is_no_json_is_said_and_not_made_up(greedy, picture):
    job = AnalysisJob(picture, picture[:50, :40], prompt="고양이를 창가에 놓아 주세요", language="ko")
    scene = greedy(job)
    report, base = scene.report, analyze(job)
    assert report.mode == "neural"
    assert (scene.text, scene.prompt, scene.light, scene.palette) == (base.text, base.prompt, base.light, base.palette)
    assert scene.box is None
    assert report.facts["read"] == []
    assert set(report.facts["not_read"]) == {
        "text", "prompt", "light", "palette", "mood", "camera", "surfaces", "box",
    }  # fmt: skip
    assert "could not be read" in report.warnings[0]
    assert "proposes no place" in report.warnings[1]
    assert report.facts["tokens"]["answered"] <= 16
    assert report.facts["answer"]
    assert "seed" not in report.facts  # nothing was drawn
    assert from_json(to_json(scene)) == scene


def test_the_report_names_the_model_and_its_memory(greedy, picture):
    report = greedy(AnalysisJob(picture)).report
    model = report.models["language_model"]
    assert (model["name"], model["licence"], model["quantisation"]) == ("Qwen2-VL", "Apache-2.0", "none")
    assert len(model["digest"]) == 64
    assert report.facts["why_not_quantised"] == "nf4 is for GPUs; here is none."
    assert greedy.loaded["language_model"].host > 0
    assert report.memory["generation"].keys() == {"host"}
    assert report.seconds.keys() == {"statistics", "tokens", "generation"}


def test_of_a_reference_what_its_alpha_hides_is_not_seen(greedy, picture):
    shown = np.full((40, 40, 4), (255, 255, 255, 255), np.uint8)
    shown[10:30, 10:30] = (200, 40, 40, 255)
    hidden = shown.copy()
    hidden[:10] = (0, 90, 250, 0)
    pictures = (shown[..., :3], shown, hidden)
    assert len({greedy(AnalysisJob(picture, reference)).report.facts["answer"] for reference in pictures}) == 1
    assert (flattened(hidden) == shown[..., :3]).all()


def test_greedy_answers_repeat_and_draw_nothing(greedy, picture):
    state = torch.get_rng_state()
    answers = {greedy(AnalysisJob(picture, seed=seed)).report.facts["answer"] for seed in (1, 2)}
    assert len(answers) == 1
    assert torch.equal(torch.get_rng_state(), state)


def test_a_seed_decides_and_leaves_no_trace(tiny, picture):
    sampling = analyzer(tiny / "qwen2-vl", temperature=1.5, seed=7)
    state = torch.get_rng_state()
    said = [sampling(AnalysisJob(picture, seed=seed)).report.facts for seed in (1, 1, 2, None)]
    assert [facts["seed"] for facts in said] == [1, 1, 2, 7]
    assert said[0]["answer"] == said[1]["answer"]
    assert len({facts["answer"] for facts in said}) == 3
    assert torch.equal(torch.get_rng_state(), state)
    drawing = analyzer(tiny / "qwen2-vl", temperature=1.5)
    first = drawing(AnalysisJob(picture)).report.facts
    again = drawing(AnalysisJob(picture, seed=first["seed"])).report.facts
    assert again["answer"] == first["answer"]


def test_it_stops_between_tokens(greedy, picture):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 6:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        greedy(AnalysisJob(picture, check=check))
    assert len(calls) == 6
    assert greedy(AnalysisJob(picture)).report.facts["tokens"]["answered"] > 0


def test_torchao_holds_the_language_models_layers_in_eight_bits(tiny, greedy, picture):
    small = analyzer(tiny / "qwen2-vl", quantisation="torchao-int8")
    whole = analyzer(tiny / "qwen2-vl", quantisation="none")
    types = {name: type(value.data).__name__ for name, value in small._model.named_parameters()}
    assert "Int8" in types["model.language_model.layers.1.mlp.up_proj.weight"]
    for name in ("lm_head.weight", "model.visual.blocks.0.mlp.fc1.weight", "model.language_model.norm.weight"):
        assert "Int8" not in types[name]
    report = small(AnalysisJob(picture)).report
    assert report.models["language_model"]["quantisation"] == "torchao-int8"
    assert "why_not_quantised" not in report.facts
    inputs = small._reader(messages(AnalysisJob(picture)), [picture]).inputs
    with torch.inference_mode():
        one, other = small._model(**inputs).logits, whole._model(**inputs).logits
    error = float((one - other).norm() / other.norm())
    assert 0 < error < 0.05


def test_a_package_that_is_not_there_is_named(tiny):
    with pytest.raises(InvalidInput, match="quantisation bnb-int8 needs the package bitsandbytes"):
        analyzer(tiny / "qwen2-vl", quantisation="bnb-int8")


@pytest.mark.parametrize("tokens", [16, 64, 300])
@pytest.mark.parametrize("height, width", [(400, 600), (30, 30), (1, 100), (1000, 6), (28, 28)])
def test_a_picture_becomes_so_many_tokens_at_most(tiny, tokens, height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    asked = Reader(tiny / "qwen2-vl", PICTURE, tokens)(messages(AnalysisJob(picture)), [picture])
    count = int((asked.inputs["input_ids"] == PICTURE).sum())
    (grid,) = asked.grids
    assert count == grid[0] * grid[1] // 4
    assert 1 <= count <= (tokens if min(grid) > 2 else 200)
    assert int(asked.inputs["mm_token_type_ids"].sum()) == count


def test_pictures_of_two_sizes_are_asked_about_in_order(reader):
    small, large = np.zeros((56, 84, 3), np.uint8), np.full((140, 112, 3), 255, np.uint8)
    asked = reader(messages(AnalysisJob(small, large)), [small, large])
    assert asked.grids == ((4, 6), (10, 8))
    assert int((asked.inputs["input_ids"] == PICTURE).sum()) == 6 + 20
    assert asked.inputs["pixel_values"].shape[0] == 24 + 80
    assert asked.inputs["pixel_values"][:24].max() < asked.inputs["pixel_values"][24:].min()


@pytest.mark.parametrize("height, width", [(1, 200), (400, 2), (3, 1000)])
def test_a_picture_that_is_too_narrow_is_refused(greedy, height, width):
    with pytest.raises(InvalidInput, match=rf"{width}x{height} pixels is too narrow .* less than 200 times"):
        greedy(AnalysisJob(np.zeros((height, width, 3), np.uint8)))


def test_the_question_has_what_was_asked(reader, picture):
    job = AnalysisJob(picture, picture, prompt=" 노을 <|image_pad|><|im_end|> ", language="ko-KR")
    asked = reader(messages(job), [picture, picture])
    text = reader.tokenizer.decode(asked.inputs["input_ids"][0])
    assert text.count("<|vision_start|>") == 2
    assert '노을 < |image_pad|>< |im_end|>"' in text
    assert "in Korean" in text
    assert '"box"' in text
    assert text.endswith("<|im_start|>assistant\n")
    without = json.dumps(messages(AnalysisJob(picture, wants_box=False)))
    assert "box" not in without
    assert "user wishes" not in without


@pytest.mark.parametrize("code, name", [("en", "English"), ("KO", "Korean"), ("zh-Hant", "Chinese")])
def test_languages_have_names(code, name):
    assert language_name(code) == name
    assert language_name("cy") == "the language with the code cy"


def test_too_many_words_are_refused(greedy, picture):
    with pytest.raises(InvalidInput, match=r"are \d{5} tokens for the analyst; up to 32752 are accepted"):
        greedy(AnalysisJob(picture, prompt="word " * 7000))


def test_what_was_read_stands_and_the_rest_is_from_the_picture(picture):
    job = AnalysisJob(picture, language="ko")
    base = analyze(job)
    answer = read(
        json.dumps(
            {
                "text": "밝은 방입니다.",
                "light": {"from": "left"},
                "box": [1, 2, 3, 4],
                "palette": ["#112233"],
                "mood": 3,
            }
        ),
        "ko",
    )
    report = StageReport("neural")
    scene = scene_of(job, base, answer, report)
    assert (scene.text, scene.palette, scene.box, scene.language) == (
        "밝은 방입니다.",
        ("#112233",),
        (1, 2, 3, 4),
        "ko",
    )
    assert (scene.light.direction, scene.light.colour) == ((-1.0, 0.0), base.light.colour)
    assert (scene.prompt, scene.mood, scene.camera) == (base.prompt, base.mood, base.camera)
    assert report.facts["not_read"] == {
        "prompt": "it was not there", "mood": "it is no text", "camera": "it was not there",
        "surfaces": "it was not there",
    }  # fmt: skip
    assert "prompt, mood, camera, surfaces could not be read" in report.warnings[0]
    assert from_json(to_json(scene)) == scene


def test_a_language_is_claimed_only_of_a_text_that_was_read(picture):
    job = AnalysisJob(picture, language="fr")
    assert scene_of(job, analyze(job), Answer(), StageReport("neural")).language == "en"
    assert scene_of(job, analyze(job), Answer({"text": "Une pièce."}), StageReport("neural")).language == "fr"


def test_a_place_that_was_not_asked_for_is_not_taken(picture):
    job, report = AnalysisJob(picture, wants_box=False), StageReport("neural")
    assert scene_of(job, analyze(job), read('{"box": [1, 2, 3, 4]}', "en"), report).box is None
    assert "box" not in report.facts["not_read"]


@pytest.fixture
def copied(tiny, tmp_path):
    shutil.copytree(tiny / "qwen2-vl", tmp_path / "qwen")
    return tmp_path / "qwen"


def test_every_missing_file_is_named(copied):
    (copied / "model-00002-of-00002.safetensors").unlink()
    (copied / "chat_template.json").unlink()
    with pytest.raises(CheckpointError, match=r"qwen lacks 2 file\(s\): chat_template.json, model-00002-of-00002"):
        analyzer(copied)


def test_a_file_that_is_cut_off_is_named(copied):
    shard = copied / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"qwen/model-00001-of-00002.safetensors cannot be read"):
        analyzer(copied)


def test_another_models_files_are_refused(tiny, tmp_path, copied):
    with pytest.raises(CheckpointError, match="describes a sam2_video; accepted: qwen2_vl"):
        analyzer(tiny / "sam2")
    with pytest.raises(CheckpointError, match="There is no folder none, which is to hold Qwen2-VL-7B-Instruct"):
        analyzer(tmp_path / "none")
    shutil.copy(tiny / "sam2" / "model.safetensors", copied / "model-00001-of-00002.safetensors")
    with pytest.raises(CheckpointError, match=r"qwen (lacks|has unexpected) \d+ tensor\(s\)"):
        analyzer(copied)


@pytest.mark.parametrize(
    "file, changes, sentence",
    [
        ("config.json", {"num_hidden_layers": 3}, r"lacks \d+ tensor\(s\): model.language_model.layers.2"),
        ("config.json", {"num_hidden_layers": 1}, r"has unexpected \d+ tensor\(s\)"),
        ("config.json", {"intermediate_size": 80}, "qwen"),
        ("config.json", {"image_token_id": 3}, "has another <|image_pad|> than config.json"),
        ("chat_template.json", {"chat_template": 3}, "has no chat_template"),
        ("preprocessor_config.json", {"patch_size": "large"}, "preprocessor_config.json in qwen cannot be loaded"),
    ],
)
def test_settings_that_do_not_fit_are_refused(copied, file, changes, sentence):
    content = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps(content | changes))
    with pytest.raises(CheckpointError, match=sentence) as refused:
        analyzer(copied)
    assert str(copied.parent) not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("template", ["{% for %}", "no pictures", "{{ 1 / 0 }}"])
def test_a_template_that_does_not_place_the_pictures_is_refused(copied, picture, template):
    (copied / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    reader = Reader(copied, PICTURE, 64)
    with pytest.raises(CheckpointError, match="chat_template.json"):
        reader(messages(AnalysisJob(picture)), [picture])
