"""Frames of videos: numbers, times, `--every`, and files that are no videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo9000 import Predictor
from yolo9000.data.pixels import UnreadableImage
from yolo9000.inference.sources import find_images

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'yolo9000[video]'")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of 64 × 48 px, 4 in a second; the red of frame k is 20k."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[..., 0] = 20 * number
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("every", "numbers"),
    [(None, list(range(12))), (1.0, [0, 4, 8]), (0.6, [0, 3, 5, 8, 10]), (10.0, [0])],
)
def test_frames_are_taken_at_least_so_far_apart(video: Path, every: float | None, numbers: list[int]) -> None:
    items = list(find_images([video], every=every))
    assert [item.frame for item in items] == numbers
    assert [item.time_s for item in items] == [number / 4 for number in numbers]
    for item in items:
        pixels = item.read()
        assert pixels.shape == (48, 64, 3)
        assert float(pixels[..., 0].mean()) == pytest.approx(20 * (item.frame or 0), abs=12)


def test_detections_name_frame_and_time(video: Path, made_detector: Path) -> None:
    found = list(Predictor(made_detector, changes={"min_score": 0.01})(video))
    assert [(one.image, one.frame, one.time_s) for one in found] == [
        (str(video), number, number / 4) for number in range(12)
    ]
    assert found[3].to_dict()["frame"] == 3


@pytest.mark.parametrize(
    "text",
    ["ffconcat version 1.0\nfile 'clip.mp4'\n", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\nclip.mp4\n"],
    ids=["concat", "playlist"],
)
def test_a_file_that_names_other_files_is_no_video(video: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "clip.mp4").write_bytes(video.read_bytes())
    (tmp_path / "list.mp4").write_text(text)
    (item,) = find_images([tmp_path / "list.mp4"])
    with pytest.raises(UnreadableImage, match=r"list\.mp4: cannot be read as a video") as caught:
        item.read()
    assert len(str(caught.value).splitlines()) == 1


def test_a_video_with_too_many_pixels_is_refused_before_it_is_decoded(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo9000.inference.video.MAX_PIXELS", 200_000)  # FFmpeg counts buffers too
    assert len(list(find_images([video]))) == 12
    monkeypatch.setattr("yolo9000.inference.video.MAX_PIXELS", 500)
    (item,) = find_images([video])
    with pytest.raises(UnreadableImage, match=r"clip\.mp4: its frames of 64 × 48 pixels are more"):
        item.read()


def test_a_video_whose_name_looks_like_an_address_is_a_file(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "http:clip.mp4").write_bytes(video.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(list(find_images([Path("http:clip.mp4")]))) == 12


def test_a_file_that_is_no_video_fails_in_one_line(tmp_path: Path, video: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    (item,) = find_images([tmp_path / "text.mp4"])
    with pytest.raises(UnreadableImage, match=r"text\.mp4: cannot be read as a video") as caught:
        item.read()
    assert len(str(caught.value).splitlines()) == 1
    content = video.read_bytes()
    (tmp_path / "torn.mp4").write_bytes(content[: len(content) // 2])
    items = list(find_images([tmp_path / "torn.mp4"]))
    with pytest.raises(UnreadableImage, match=r"torn\.mp4: cannot be read as a video"):
        items[-1].read()


def test_without_pyav_the_error_says_what_to_install(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    (item,) = find_images([video])
    with pytest.raises(
        UnreadableImage, match=r"videos need PyAV; install it with: pip install 'yolo9000\[video\]'"
    ):
        item.read()
