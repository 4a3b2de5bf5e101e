"""What is written: encoders with their pixels, files and settings.

The settings with alpha were measured: ProRes 4444 differs by 1 of 255 at most, VP9 by 4 and 0.07 on average, FFV1 not
at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atelier.errors import InvalidInput


@dataclass(frozen=True)
class Codec:
    """One way to write a video.

    Attributes:
        name: as it is asked for.
        suffix: of the file, with its dot.
        encoder: FFmpeg's.
        opaque: pixel format without alpha.
        alpha: pixel format with alpha; None where the codec has none.
        odd: pixel format without alpha of a picture with an odd side.
        options: of the encoder.
        audio: codecs of audio streams that the file can hold as they are.
        lossless: whether every pixel comes back.
    """

    name: str
    suffix: str
    encoder: str
    opaque: str
    alpha: str | None
    odd: str
    options: Mapping[str, str] = field(default_factory=dict)
    audio: frozenset[str] = frozenset()
    lossless: bool = False


_MOV_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_MP4_AUDIO = _MOV_AUDIO | {"opus", "flac"}

CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        # 4:2:0, which every player knows, has no odd sides.
        Codec("h264", ".mp4", "libx264", "yuv420p", None, "yuv444p", {"crf": "12", "preset": "medium"}, _MP4_AUDIO),
        Codec(
            "prores4444",
            ".mov",
            "prores_ks",
            "yuv444p10le",
            "yuva444p10le",
            "yuv444p10le",
            {"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
            _MOV_AUDIO | {"pcm_s16le", "pcm_s24le"},
        ),
        Codec(
            "vp9",
            ".webm",
            "libvpx-vp9",
            "yuv420p",
            "yuva420p",
            "yuv420p",
            # Without auto-alt-ref=0 the encoder refuses alpha.
            {"crf": "20", "b": "0", "auto-alt-ref": "0", "row-mt": "1", "cpu-used": "4"},
            frozenset({"opus", "vorbis"}),
        ),
        Codec(
            "ffv1",
            ".mkv",
            "ffv1",
            "bgr0",
            "bgra",
            "bgr0",
            {"level": "3"},
            _MOV_AUDIO | {"opus", "vorbis", "flac", "dts", "truehd", "pcm_s16le", "pcm_s24le", "pcm_f32le"},
            lossless=True,
        ),
    )
}
"""By name. ``png``, numbered pictures, is no video and stands beside them where pictures are written."""


def find_codec(name: str, *, alpha: bool) -> Codec:
    """The codec of a name.

    Args:
        name: as it was asked for.
        alpha: whether transparency is to be written.

    Raises:
        InvalidInput: there is no such codec, or it has no alpha.
    """
    if name not in CODECS:
        raise InvalidInput(f"There is no codec {name!r:.40}; accepted: {', '.join(CODECS)}, png.")
    codec = CODECS[name]
    if alpha and codec.alpha is None:
        able = ", ".join(name for name, codec in CODECS.items() if codec.alpha)
        raise InvalidInput(f"The codec {name} holds no transparency; {able} and png do.")
    return codec
