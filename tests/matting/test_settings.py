import pytest
from pydantic import ValidationError

from atelier.matting import MattingSettings
from atelier.matting.settings import remarks


def test_defaults_are_the_guide_s():
    values = MattingSettings().model_dump()
    assert values == {
        "num_frames_per_batch": 32,
        "decode_chunk_size": 16,
        "denoise_steps": 1,
        "max_resolution": 1024,
        "size": 720,
        "num_interp_frames": 16,
        "num_overlap_frames": 6,
        "max_frames": None,
        "mode": "matte",
        "noise_type": "zeros",
        "seed": None,
        "output_image_seq_only": False,
        "ensemble_size": 1,
        "windows": "overlapping",
        "first_frame": 0,
        "max_window_pixels": 2**26,
        "max_held_pixels": 2**30,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_frames_per_batch", 0),
        ("num_frames_per_batch", -8),
        ("decode_chunk_size", 0),
        ("denoise_steps", 4),
        ("denoise_steps", 0),
        ("max_resolution", 16),
        ("size", 100000),
        ("num_overlap_frames", -1),
        ("max_frames", 0),
        ("mode", "depth"),
        ("noise_type", "pink"),
        ("seed", -1),
        ("ensemble_size", 0),
        ("windows", "sliding"),
        ("num_frames", 8),
    ],
)
def test_values_outside_their_range_are_refused(name, value):
    with pytest.raises(ValidationError, match=name):
        MattingSettings(**{name: value})


def test_an_overlap_as_long_as_the_window_is_refused():
    with pytest.raises(ValidationError, match="less than num_frames_per_batch"):
        MattingSettings(num_frames_per_batch=6, num_overlap_frames=6)
    assert MattingSettings(num_frames_per_batch=6, num_overlap_frames=6, windows="disjoint").overlap == 0


def test_a_short_window_gets_a_short_overlap_and_the_report_says_so():
    settings = MattingSettings(num_frames_per_batch=4)
    assert settings.overlap == 2
    assert remarks(settings) == ["Windows share 2 frames: half of num_frames_per_batch, which is short."]
    assert remarks(MattingSettings()) == []


def test_what_has_no_effect_is_said():
    settings = MattingSettings(num_interp_frames=1, mode="matte", seed=3, windows="disjoint", num_overlap_frames=2)
    words = " ".join(remarks(settings))
    for name in ("num_interp_frames", "mode", "seed", "num_overlap_frames"):
        assert f"{name} has no effect" in words


def test_the_environment_sets_them(monkeypatch):
    monkeypatch.setenv("ATELIER_MATTE_DENOISE_STEPS", "2")
    assert MattingSettings().denoise_steps == 2
