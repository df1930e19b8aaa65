"""The frames of a video, decoded by PyAV (`pip install 'yolo9000[video]'`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.shards.decoding import MAX_PIXELS
from wordtree.support.arrays import UInt8Array
from wordtree.support.lines import one_line
from yolo9000.data.pixels import UnreadableImage

VIDEO_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv".split()  # noqa: SIM905
)
# Names of FFmpeg's formats: those of VIDEO_SUFFIXES. Others, such as playlists, name files for FFmpeg to open.
_FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,asf,flv,ogg"


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video: its number from 0 among all frames, and its time from the start in seconds."""

    number: int
    time_s: float
    decoded: Any  # av.VideoFrame

    def pixels(self) -> UInt8Array:
        """RGB pixels, uint8, shape (H, W, 3), rotated as the video asks."""
        turns = round((self.decoded.rotation or 0) / 90) % 4
        pixels: UInt8Array = np.rot90(self.decoded.to_ndarray(format="rgb24"), turns)
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True)
class VideoFrames:
    """The frames of a video file, at least `every_s` seconds apart; 0: all frames.

    Iterating raises UnreadableImage where PyAV is not installed, the file is not a video, or decoding fails.
    """

    path: str
    every_s: float = 0.0

    def __iter__(self) -> Iterator[VideoFrame]:
        try:
            import av
        except ImportError:
            raise UnreadableImage(
                f"{self.path}: videos need PyAV; install it with: pip install 'yolo9000[video]'."
            ) from None
        try:
            # "file:", because FFmpeg takes a name such as http:a.mp4 for an address.
            with av.open(f"file:{self.path}", container_options={"format_whitelist": _FORMATS}) as container:
                yield from self._taken(container)
        except (av.FFmpegError, ValueError, IndexError) as reason:
            raise UnreadableImage(f"{self.path}: cannot be read as a video: {one_line(reason)}.") from None

    def _taken(self, container: Any) -> Iterator[VideoFrame]:
        stream = container.streams.video[0]  # IndexError: a file with sound only
        stream.thread_type = "AUTO"
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise UnreadableImage(
                f"{self.path}: its frames of {width} × {height} pixels are more than {MAX_PIXELS // 10**6} megapixels."
            )
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a later frame may be larger
        next_s = 0.0
        for number, frame in enumerate(container.decode(stream)):
            time_s = (
                float(frame.time) if frame.time is not None else number / float(stream.average_rate or 25)
            )
            if time_s >= next_s - 1e-6:
                next_s += self.every_s * (1 + (time_s - next_s) // self.every_s) if self.every_s else 0.0
                yield VideoFrame(number, round(time_s, 3), frame)
