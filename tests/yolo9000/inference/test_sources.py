"""Files, folders, patterns, lists, addresses: which images are found, and what each is called."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from yolo9000 import Predictor
from yolo9000.data.pixels import UnreadableImage
from yolo9000.inference.sources import NoImages, find_images, in_part


def names(*sources: object, **options: object) -> list[str]:
    return [Path(item.name).name for item in find_images(map(str, sources), **options)]  # type: ignore[arg-type]


def test_a_folder_stands_for_the_images_directly_in_it_sorted_by_name(photos: Path) -> None:
    assert names(photos) == ["a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg"]
    found = find_images([photos])
    assert (found.skipped, found.unsearched) == ({".txt": 1}, 1)
    assert find_images([photos], recursive=True).unsearched == 0


@pytest.mark.parametrize(
    "suffix", [".avif", ".jfif", ".jpe", ".jp2", ".ppm", ".mpo", ".tiff", ".pbm", ".jpx"]
)
def test_images_of_every_decodable_suffix_are_found_and_read(
    scene: Image.Image, tmp_path: Path, suffix: str
) -> None:
    image = scene.convert("1") if suffix == ".pbm" else scene
    formats = {".jfif": "JPEG", ".jpe": "JPEG"}
    image.save(tmp_path / f"image{suffix}", formats.get(suffix))
    (item,) = find_images([tmp_path])
    assert item.read().shape == (64, 64, 3)


def test_hidden_files_and_other_suffixes_are_counted(photos: Path) -> None:
    (photos / "._a.jpg").write_bytes(b"resource fork")
    (photos / "README").write_text("no suffix")
    found = find_images([photos])
    assert found.total == 5
    assert found.skipped == {".txt": 1, "hidden file": 1, "no suffix": 1}


@pytest.mark.parametrize("source", ["", "*", "**/*.jpg"])
def test_a_pipe_or_device_in_a_folder_is_not_read(photos: Path, source: str) -> None:
    os.mkfifo(photos / "pipe.jpg")
    found = find_images([photos / source], recursive=True)
    assert "pipe.jpg" not in [Path(item.name).name for item in found]
    assert found.skipped["device or pipe"] == 1


def test_recursive_does_not_enter_hidden_folders(photos: Path, scene: Image.Image) -> None:
    for folder in (".ipynb_checkpoints", "__MACOSX"):
        (photos / folder).mkdir()
        scene.save(photos / folder / "copy.png")
    assert len(names(photos, recursive=True)) == 5
    assert find_images([photos]).unsearched == 1


def test_a_link_that_leads_nowhere_is_an_image_that_fails(photos: Path) -> None:
    (photos / "broken.jpg").symlink_to("gone.jpg")
    item = next(item for item in find_images([photos]) if item.name.endswith("broken.jpg"))
    with pytest.raises(UnreadableImage, match=r"broken\.jpg: cannot be read"):
        item.read()


def test_recursive_takes_the_images_below_folder_by_folder(photos: Path, scene: Image.Image) -> None:
    (photos / "2024" / "may").mkdir(parents=True)
    scene.save(photos / "2024" / "z.png")
    scene.save(photos / "2024" / "may" / "a.png")
    found = find_images([photos], recursive=True)
    assert [item.relative for item in found] == [
        *("a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg", "2024/z.png", "2024/may/a.png")
    ]
    assert len(names(photos)) == 5


def test_files_and_folders_come_in_the_given_order_and_as_often_as_given(photos: Path) -> None:
    assert names(photos / "e.jpg", photos, photos / "e.jpg") == [
        *("e.jpg", "a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg", "e.jpg")
    ]


def test_a_pattern_stands_for_the_images_that_match(photos: Path) -> None:
    assert names(photos / "*.[bj]*") == ["a.jpeg", "b.bmp", "e.jpg"]
    assert names(photos / "**" / "c.*") == ["c.webp"]
    found = find_images([f"{photos}/*"])
    assert (found.total, found.skipped) == (5, {".txt": 1})


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(photos: Path, scene: Image.Image) -> None:
    scene.save(photos / "x[1].jpg")
    assert names(photos / "x[1].jpg") == ["x[1].jpg"]


def test_a_text_file_lists_paths_relative_to_itself(photos: Path, tmp_path: Path) -> None:
    listed = photos / "some.txt"
    listed.write_bytes(
        b"\xef\xbb\xbfe.jpg\r\n\r\n# a comment\r\na.jpeg\nnone.jpg\n" + f"{photos / 'b.bmp'}\n".encode()
    )
    assert names(listed) == ["e.jpg", "a.jpeg", "none.jpg", "b.bmp"]
    (photos / "empty.txt").write_text("\n")
    with pytest.raises(NoImages, match=r"empty\.txt: expected a path on each line, found none"):
        find_images([photos / "empty.txt"])


def test_a_list_may_be_of_windows(photos: Path, scene: Image.Image) -> None:
    (photos / "sub").mkdir()
    scene.save(photos / "sub" / "f.png")
    (photos / "some.txt").write_bytes(b"sub\\f.png\r\n.\\a.jpeg\r\n")
    for item in find_images([photos / "some.txt"]):
        assert item.read().shape[2] == 3
    (photos / "some.txt").write_bytes("a.jpeg\n".encode("utf-16"))
    with pytest.raises(NoImages, match="expected text in UTF-8"):
        find_images([photos / "some.txt"])


def test_an_empty_folder_and_a_missing_path_are_reported(tmp_path: Path) -> None:
    with pytest.raises(
        NoImages,
        match=r"expected images in this folder, found none .*\.jpg, \.png.* read with --recursive\.$",
    ):
        find_images([tmp_path])
    with pytest.raises(NoImages, match=r"none\.jpg: no such image or folder\.$"):
        find_images([tmp_path / "none.jpg"])
    with pytest.raises(NoImages, match=r"\*\.jpg: no file matches this pattern\.$"):
        find_images([f"{tmp_path}/*.jpg"])


def test_file_names_that_are_not_utf_8_are_read_and_kept(scene: Image.Image, tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    scene.save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", raw)  # noqa: PTH104 - bytes
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.png\n")
    for source in (tmp_path, tmp_path / "list.txt"):
        (item,) = find_images([source])
        assert os.fsencode(item.name) == raw
        assert item.read().shape == (64, 64, 3)


def test_the_shares_of_the_images_are_disjoint_complete_and_about_equal() -> None:
    from yolo9000.inference.sources import ImageItem

    items = [ImageItem(f"cards/{number:05d}.jpg", lambda: None, "") for number in range(3000)]  # type: ignore[arg-type, return-value]
    shares = [[item.name for item in items if in_part(item, (number, 3))] for number in (1, 2, 3)]
    assert sorted(name for share in shares for name in share) == [item.name for item in items]
    assert all(900 < len(share) < 1100 for share in shares)


# --- addresses


@pytest.fixture
def server(photos: Path) -> Iterator[str]:
    """The address of a server for the folder `photos`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(photos))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_an_image_at_an_address_is_read(server: str, photos: Path, made_detector: Path) -> None:
    predictor = Predictor(made_detector, changes={"min_score": 0.01})
    (found,) = predictor(f"{server}/e.jpg?size=1")
    (expected,) = predictor(photos / "e.jpg")
    assert found.image == f"{server}/e.jpg?size=1"
    assert found.to_dicts() == expected.to_dicts()
    assert len(found)


def test_an_address_without_an_image_fails_in_one_line(server: str) -> None:
    for address, message in (
        (f"{server}/none.jpg", "cannot be loaded: HTTP Error 404"),
        ("http://127.0.0.1:9/x.jpg", "cannot be loaded: .*refused"),
        ("http://[x/y.jpg", "cannot be loaded"),
        (f"{server}/notes.txt", "expected an image"),
    ):
        with pytest.raises(UnreadableImage, match=message) as caught:
            next(iter(find_images([address]))).read()
        assert str(caught.value).startswith(address)


@pytest.mark.parametrize("name", [b"x" * 5000, b"\xff\xfe", b"a/" * 4000])
def test_an_impossible_name_in_a_list_of_paths_is_an_unreadable_image(name: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.jpg\n" + name + b"\n")
    first, second = find_images([tmp_path / "list.txt"])
    for item in (first, second):
        with pytest.raises(UnreadableImage):
            item.read()
