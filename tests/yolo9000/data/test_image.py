"""Decoding of every stored format, and the laws of the letterbox."""

from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from yolo9000.data.image import (
    decode_image,
    letterbox,
    read_image,
    read_stored_image,
    resized,
    resized_by_darknet,
    resized_to_fit,
)
from yolo9000.data.letterbox import Letterbox, array_resized_to_fit, canvases
from yolo9000.data.pixels import UnreadableImage
from yolo9000.models.boxes import aligned_iou

side = st.integers(1, 700)
TWO_COLOURS = np.repeat(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), 32, axis=1).repeat(
    48, axis=0
)  # 48 x 64


def encode(image: Image.Image, file_format: str, **options: Any) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return np.frombuffer(buffer.getvalue(), np.uint8)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("L", "PNG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
    ],
)
def test_every_mode_of_jpeg_and_png_becomes_rgb_as_pillow_reads_it(mode: str, file_format: str) -> None:
    encoded = encode(Image.fromarray(TWO_COLOURS).convert(mode), file_format)
    pixels = decode_image(encoded)
    assert pixels.dtype == torch.uint8
    expected = np.array(Image.open(io.BytesIO(encoded.tobytes())).convert("RGB"), np.int16)
    assert np.abs(pixels.permute(1, 2, 0).numpy() - expected).max() <= 2


def test_16_bit_png_is_converted_to_8_bits() -> None:
    grey = np.array([[0, 256 * 7, 65535]], np.uint16)
    assert decode_image(encode(Image.fromarray(grey), "PNG"))[0].tolist() == [[0, 7, 255]]


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(np.zeros(0, np.uint8), id="nothing"),
        pytest.param(np.frombuffer(b"hello, I am text", np.uint8), id="text"),
        pytest.param(encode(Image.fromarray(TWO_COLOURS), "JPEG")[:300], id="cut JPEG"),
        pytest.param(encode(Image.fromarray(TWO_COLOURS), "PNG")[:80], id="cut PNG"),
    ],
)
def test_the_error_of_an_unreadable_image_names_it(encoded: np.ndarray) -> None:
    with pytest.raises(UnreadableImage, match=r"shard 3, image 7: expected an image, but "):
        decode_image(encoded, name="shard 3, image 7")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
def test_an_image_file_of_any_common_format_is_read(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    Image.fromarray(TWO_COLOURS).save(path, file_format)
    pixels = read_image(path)
    assert pixels.shape == (3, 48, 64)
    assert pixels[:, 24, 8].tolist() == pytest.approx([255, 0, 0], abs=3)
    assert pixels[:, 24, 56].tolist() == pytest.approx([0, 0, 255], abs=3)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_the_exif_orientation_of_an_image_file_is_applied(file_format: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(TWO_COLOURS).save(tmp_path / "turned", file_format, exif=exif)
    pixels = read_image(tmp_path / "turned")
    assert pixels.shape == (3, 64, 48)
    assert pixels[:, 8, 24].tolist() == pytest.approx([255, 0, 0], abs=3)
    if file_format != "TIFF":  # which Pillow itself turns
        assert read_stored_image(tmp_path / "turned").shape == (3, 48, 64)


def test_the_exif_orientation_of_stored_images_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encode(Image.fromarray(TWO_COLOURS), "JPEG", exif=exif)).shape == (3, 48, 64)


def test_a_missing_empty_or_other_file_is_reported_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.txt").write_text("no image")
    for name, problem in [
        ("missing.jpg", "No such file or directory"),
        ("empty.jpg", "expected an image, but the file is empty"),
        ("notes.txt", "expected an image"),
    ]:
        with pytest.raises(UnreadableImage, match=f"{re.escape(str(tmp_path / name))}: .*{problem}"):
            read_image(tmp_path / name)


@given(st.tuples(side, side), st.tuples(side, side))
def test_the_letterbox_fits_the_canvas_and_touches_two_of_its_sides(
    image_size: tuple[int, int], network_size: tuple[int, int]
) -> None:
    box = Letterbox.fit(image_size_px=image_size, network_size_px=network_size)
    assert 1 <= box.resized_width_px <= network_size[0]
    assert 1 <= box.resized_height_px <= network_size[1]
    assert box.resized_width_px == network_size[0] or box.resized_height_px == network_size[1]
    right = network_size[0] - box.resized_width_px - box.left_px
    bottom = network_size[1] - box.resized_height_px - box.top_px
    assert right - box.left_px in (0, 1)
    assert bottom - box.top_px in (0, 1)


@given(
    st.tuples(side, side), st.tuples(side, side), st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)
)
def test_the_inverse_of_the_letterbox_is_exact_within_half_a_pixel(
    image_size: tuple[int, int], network_size: tuple[int, int], corners: list[float]
) -> None:
    box = Letterbox.fit(image_size_px=image_size, network_size_px=network_size)
    xyxy_px = torch.tensor(corners) * torch.tensor([*image_size, *image_size])
    on_canvas = box.to_network(xyxy_px)
    assert bool((on_canvas >= 0).all())
    assert bool((on_canvas <= torch.tensor([*network_size, *network_size]) + 1e-3).all())
    torch.testing.assert_close(box.to_image(on_canvas), xyxy_px, rtol=0, atol=0.5)


@pytest.mark.parametrize("size", [(64, 64), (97, 63), (33, 120)], ids=str)
def test_a_drawn_rectangle_is_found_where_the_letterbox_says(size: tuple[int, int]) -> None:
    image = torch.zeros(3, 80, 120)
    xyxy_px = torch.tensor([30.0, 20, 90, 60])
    image[:, 20:60, 30:90] = 1
    canvas, box = letterbox(image, size)
    assert canvas.shape == (3, size[1], size[0])
    rows, columns = torch.nonzero(canvas[0] > 0.6, as_tuple=True)
    found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
    assert (box.to_network(xyxy_px) - found).abs().max() <= 1
    assert aligned_iou(box.to_image(found), xyxy_px) > 0.85


def test_bytes_and_fractions_give_the_same_canvas_with_grey_margins() -> None:
    image = torch.randint(0, 256, (3, 30, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    canvas, box = letterbox(image, 32)
    torch.testing.assert_close(
        canvas, letterbox(image / 255, 32)[0], rtol=0, atol=1 / 255
    )  # rounded to bytes
    assert canvas.dtype == torch.float32
    assert (box.top_px, box.resized_height_px) == (8, 16)
    assert bool((canvas[:, :8] == 0.5).all())
    assert bool((canvas[:, 24:] == 0.5).all())
    assert bool((canvas[:, 8:24] != 0.5).any())


def test_an_image_of_the_size_of_the_canvas_is_not_resampled() -> None:
    image = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(letterbox(image, 24)[0], image)


@pytest.mark.parametrize("geometry", ["exact", "darknet"])
def test_bytes_are_resized_as_bytes_like_in_training(geometry: Any) -> None:
    image = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    canvas, box = letterbox(image, 40, geometry=geometry)
    inside = canvas[:, box.top_px : box.top_px + box.resized_height_px]
    if geometry == "exact":
        assert torch.equal(inside, resized(image, 30, 40) / 255)
    else:
        assert torch.equal(inside, resized_by_darknet(image / 255, (30, 40)))


def test_a_letterbox_of_12_megapixels_takes_milliseconds() -> None:
    image = torch.zeros(3000, 4000, 3, dtype=torch.uint8).permute(2, 0, 1)  # as images are decoded
    seconds = []
    for _ in range(3):
        start = time.thread_time()
        letterbox(image, 416)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.06  # 0.006 on a quiet machine, 0.2 in floats


def test_every_coco_image_has_the_size_that_its_annotations_say() -> None:
    folder = os.environ.get("YOLO9000_TEST_DATA")
    if not folder:
        pytest.skip("YOLO9000_TEST_DATA is not set")
    coco = Path(folder) / "coco128"
    images = json.loads((coco / "annotations" / "instances_val2017.json").read_text("utf-8"))["images"]
    for image in images:
        encoded = np.fromfile(coco / "images" / "val2017" / image["file_name"], np.uint8)
        assert decode_image(encoded).shape == (3, image["height"], image["width"]), image["file_name"]
    assert len(images) == 128


@pytest.mark.parametrize("geometry", ["exact", "darknet"])
def test_the_canvases_of_a_batch_are_those_of_each_image(geometry: Literal["exact", "darknet"]) -> None:
    rng = np.random.default_rng(0)
    images = [
        torch.from_numpy(rng.integers(0, 256, (3, *hw), np.uint8)) for hw in ((96, 64), (20, 70), (90, 31))
    ]
    contents, boxes = zip(
        *(resized_to_fit(image, (64, 96), geometry=geometry) for image in images), strict=True
    )
    batch = canvases([content.numpy() for content in contents], boxes)
    assert batch.dtype == np.float32
    for canvas, box, image in zip(batch, boxes, images, strict=True):
        expected, expected_box = letterbox(image, (64, 96), geometry=geometry)
        assert np.array_equal(canvas, expected.numpy())
        assert box == expected_box


@pytest.mark.parametrize("geometry", ["exact", "darknet"])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (100, 37), (31, 80)])
def test_the_letterbox_of_an_array_is_that_of_the_tensor(width: int, height: int, geometry: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    content, box = array_resized_to_fit(pixels, (64, 96), geometry=geometry)
    (canvas,) = canvases([content], [box])
    expected, expected_box = letterbox(torch.from_numpy(pixels).permute(2, 0, 1), (64, 96), geometry=geometry)
    assert box == expected_box
    assert (canvas.shape, canvas.dtype) == ((3, 96, 64), np.float32)
    np.testing.assert_allclose(canvas, expected.numpy(), atol=1.01 / 255)
    xyxy_px = np.array([[1, 2, 30, 20]], np.float32)
    assert box.to_image(xyxy_px).tolist() == box.to_image(torch.from_numpy(xyxy_px)).tolist()
