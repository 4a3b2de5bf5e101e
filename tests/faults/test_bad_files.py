"""Videos, archives and adapters with bytes changed, cut or added: read, or refused in a sentence."""

import io
import zipfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from atelier.errors import InvalidInput
from atelier.generation.lora_file import read_adapter
from atelier.media import Picture, encode_picture
from atelier.media.video import open_video
from tests.faults.fuzz import INSIDE, many, spoilt
from tests.media.test_video import picture, write

ADAPTER = Path(__file__).resolve().parents[1] / "golden" / "wan" / "lora" / "epoch-0.safetensors"


def read(file):
    """The frames that a file has, or the sentence that refuses it."""
    try:
        with open_video(file, max_pixels=10**6) as video:
            return [frame.pixels.shape for frame in video]
    except InvalidInput as error:
        assert "\n" not in str(error)
        assert not INSIDE.search(str(error)), error
        return str(error)


@pytest.fixture(scope="module", params=["mp4", "webm", "avi", "gif"])
def clip(request, tmp_path_factory):
    file = tmp_path_factory.mktemp("clip") / f"clip.{request.param}"
    encoder, pixels = {"webm": ("libvpx-vp9", "yuv420p"), "gif": ("gif", "rgb8")}.get(
        request.param, ("libx264", "yuv420p")
    )
    sound = {"mp4": "aac", "webm": "libopus"}.get(request.param)
    write(file, 3, encoder=encoder, pixels=pixels, rate=Fraction(10), sound=sound)
    return file.read_bytes()


def test_videos_that_are_none(clip):
    assert len(read(clip)) == 3

    @many
    @given(file=spoilt(clip))
    def check(file):
        read(file)

    check()


def test_archives_that_are_none():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.png", encode_picture(Picture(picture(number, 16, 16), None, "png")))
    assert len(read(file.getvalue())) == 3

    @many
    @given(file=spoilt(file.getvalue()))
    def check(file):
        read(file)

    check()


def test_adapters_that_are_none(tmp_path):
    data, file = ADAPTER.read_bytes(), tmp_path / "어댑터.safetensors"

    @many
    @given(data=spoilt(data, within=some.integers(0, 4000) | some.integers(0, len(data) - 1)))
    def check(data):
        file.write_bytes(data)
        try:
            read_adapter(file, [], [])
        except InvalidInput as error:
            assert "\n" not in str(error)
            assert not INSIDE.search(str(error)), error

    check()
