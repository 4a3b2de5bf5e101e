"""Where a setting of a video comes from: request over environment over ``config.pbtxt`` over default, for every one."""

import pytest

from atelier.errors import InvalidInput
from atelier.generation.settings import OFFICIAL_NEGATIVE_PROMPT, GenerationSettings
from atelier.serving.settings import settle

VALUES = {  # default; as config.pbtxt and the environment have it; a request's
    "frame_num": (121, "81", "17", 5),
    "size": ("1280*704", "704*1280", "96*64", "64*96"),
    "sample_steps": (50, "40", "30", 4),
    "guidance_scale": (7.5, "5.0", "4.0", 1.0),
    "shift": (5.0, "3.0", "4.0", 8.0),
    "solver": ("unipc", "dpm++", "unipc", "dpm++"),
    "grid": ("official", "diffusers", "official", "diffusers"),
    "seed": (None, "1", "2", 3),
    "negative_prompt": (OFFICIAL_NEGATIVE_PROMPT, "흐림", "어두움", ""),
    "fps": (24, "16", "12", 30),
    "format": ("mp4", "webm", "frames", "mp4"),
    "crf": (18, "20", "23", 0),
}


def test_every_setting_is_looked_at():
    assert set(VALUES) == set(GenerationSettings.model_fields)


@pytest.mark.parametrize("name", VALUES)
def test_each_source_beats_those_below(monkeypatch, name):
    default, config, environment, request = VALUES[name]

    def found(settled):
        return str(getattr(settled.values, name)).removesuffix(".0"), settled.sources[name]

    def expected(value, source):
        return str(value).removesuffix(".0"), source

    assert found(settle(GenerationSettings, {})) == expected(default, "default")
    assert found(settle(GenerationSettings, {name: config})) == expected(config, "config")
    monkeypatch.setenv(f"ATELIER_GENERATE_{name.upper()}", environment)
    served = settle(GenerationSettings, {name: config})
    assert found(served) == expected(environment, "environment")
    assert found(served.override({name: request})) == expected(request, "request")
    assert found(served) == expected(environment, "environment")


@pytest.mark.parametrize(("number", "near"), [(120, "117 and 121"), (0, "1 and 5"), (-3, "1 and 5"), (2, "1 and 5")])
def test_frames_are_4n_plus_1_from_every_source(monkeypatch, number, near):
    with pytest.raises(InvalidInput, match=f"FRAME_NUM is {number}; .* nearest are {near}"):
        settle(GenerationSettings, {}).override({"frame_num": number})
    with pytest.raises(InvalidInput, match=f"'frame_num' in config.pbtxt is '{number}'; .* nearest are {near}"):
        settle(GenerationSettings, {"frame_num": str(number)})
    monkeypatch.setenv("ATELIER_GENERATE_FRAME_NUM", str(number))
    with pytest.raises(InvalidInput, match=f"ATELIER_GENERATE_FRAME_NUM is '{number}'; .* nearest are {near}"):
        settle(GenerationSettings, {})
