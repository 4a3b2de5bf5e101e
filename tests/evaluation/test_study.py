"""What a study compares, as it is written by people."""

import json

import pytest

from atelier.errors import InvalidInput
from atelier.evaluation.study import Plan, read_prompts, read_seeds, read_variants


def test_variants_have_adapters_with_scales():
    base, style, both = read_variants("lora:style,base,lora:style@0.7+lora:색감@-.5")
    assert (base.id, base.base, base.loras) == ("base", True, {})
    assert (style.id, style.loras) == ("style@1", {"style": 1.0})
    assert both.loras == {"style": 0.7, "색감": -0.5}
    assert both.label == "With LoRA style at 0.7 and 색감 at -0.5"


@pytest.mark.parametrize("text", ["base,lora:", "base,lora:@1", "base,lora:a@1+lora:a@2", "base,lora:a@1e400", "base,"])
def test_variants_that_are_none(text):
    with pytest.raises(InvalidInput, match="is no variant"):
        read_variants(text)


def test_prompts_a_line_or_json(tmp_path):
    lines = tmp_path / "줄.txt"
    lines.write_text('\ufeff 고양이 \n\n a cat, "two" \r\n', encoding="utf-8")
    assert [(prompt.id, prompt.text) for prompt in read_prompts(lines)] == [("p01", "고양이"), ("p02", 'a cat, "two"')]
    (tmp_path / "a.png").write_bytes(b"a picture")
    entries = [{"text": "a dog", "image": "a.png"}, "a cat"]
    (tmp_path / "p.json").write_text(json.dumps(entries))
    first, second = read_prompts(tmp_path / "p.json")
    assert (first.image, second.image) == (tmp_path / "a.png", None)


BAD = {
    "nothing": ("", "holds no prompt"),
    "no JSON": ("[", "is no JSON"),
    "no list": ("{}", "holds no list"),
    "a number": ("[5]", "entry 1 is neither"),
    "another key": ('[{"text": "a", "seed": 1}]', "entry 1 is neither"),
    "an empty text": ('["a", " "]', "the text of entry 2 is empty"),
    "no such picture": ('[{"text": "a", "image": "gone.png"}]', "'gone.png', is not there"),
    "one twice": ('["a", "a"]', "p01 and p02 are the same"),
}


@pytest.mark.parametrize("case", BAD)
def test_prompts_that_are_none(tmp_path, case):
    text, words = BAD[case]
    file = tmp_path / ("p.txt" if case == "nothing" else "p.json")
    file.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_prompts(file)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InvalidInput, match="is not UTF-8"):
        read_prompts(tmp_path / "p.txt")


def test_a_folder_goes_on_with_its_own_study_alone(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"a picture")
    (tmp_path / "p.json").write_text('[{"text": "a", "image": "a.png"}]')

    def plan(**settings):
        return Plan(read_prompts(tmp_path / "p.json"), read_seeds("1,2"), read_variants("base,lora:a"), settings)

    plan(fps=12).begin(tmp_path / "study")
    plan(fps=12).begin(tmp_path / "study")
    with pytest.raises(InvalidInput, match="holds another study: its settings are not these"):
        plan(fps=24).begin(tmp_path / "study")
    picture.write_bytes(b"another")
    with pytest.raises(InvalidInput, match="its prompts are not these"):
        plan(fps=12).begin(tmp_path / "study")
    with pytest.raises(InvalidInput, match="is not empty, and holds no study"):
        plan().begin(tmp_path)
    assert [item.id for item in plan().items()] == ["p01-1", "p01-2"]
