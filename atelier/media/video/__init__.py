"""Videos in and out: exact frames at their own times, one at a time. Needs PyAV, which the rest of `media` does not."""

from atelier.media.video.codecs import CODECS, Codec
from atelier.media.video.facts import Facts, Timed
from atelier.media.video.reading import VideoReader, open_video
from atelier.media.video.writing import VideoWriter

__all__ = ["CODECS", "Codec", "Facts", "Timed", "VideoReader", "VideoWriter", "open_video"]
