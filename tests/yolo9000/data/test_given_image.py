"""Images in memory: the same pixels from every container, and a clear error for a wrong layout or range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from yolo9000.data.given_image import pixels_of
from yolo9000.data.image import read_image
from yolo9000.data.pixels import UnreadableImage

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[..., 0]
CHW = torch.from_numpy(RGB).permute(2, 0, 1)
READ_ONLY = RGB.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(Image.fromarray(RGB), id="PIL"),
        pytest.param(RGB, id="array of bytes"),
        pytest.param(READ_ONLY, id="read-only array"),
        pytest.param(RGB[::-1, :, ::-1][::-1, :, ::-1], id="array with negative strides"),
        pytest.param(RGB.astype(np.int64), id="array of integers"),
        pytest.param(RGB.astype(">u2"), id="array of another byte order"),
        pytest.param(RGB / 255, id="array of doubles"),
        pytest.param((RGB / 255).astype(np.float16), id="array of half floats"),
        pytest.param(CHW, id="tensor of bytes"),
        pytest.param(CHW.contiguous() / 255, id="tensor of floats"),
        pytest.param((CHW / 255).requires_grad_(), id="tensor with gradient"),
    ],
)
def test_every_container_gives_the_same_pixels(image: Any) -> None:
    pixels = pixels_of(image)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, CHW)


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(GREY), GREY, GREY[..., None], torch.from_numpy(GREY)[None]],
    ids=["PIL", "array", "array with a channel", "tensor"],
)
def test_grey_becomes_rgb(image: Any) -> None:
    assert torch.equal(pixels_of(image), torch.from_numpy(GREY).expand(3, 5, 7))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        pytest.param(
            RGB.transpose(2, 0, 1), r"found \(3, 5, 7\)\. Its channels come first: pass", id="CHW array"
        ),
        pytest.param(
            torch.from_numpy(RGB), r"found \(5, 7, 3\)\. Its channels come last: pass", id="HWC tensor"
        ),
        pytest.param(RGB[None], r"found \(1, 5, 7, 3\)\. Pass a list of images", id="batch of arrays"),
        pytest.param(CHW[None], r"found \(1, 3, 5, 7\)\. Pass list\(images\)", id="batch of tensors"),
        pytest.param(np.zeros((5, 7, 4), np.uint8), r"Image\.fromarray", id="RGBA array"),
        pytest.param(np.zeros((5, 7, 2), np.uint8), r"found \(5, 7, 2\)\.$", id="two channels"),
        pytest.param(
            RGB.astype(np.float32), r"0\.\.1, found \d to 2\d\d\. Pass uint8, or divide by 255", id="0..255"
        ),
        pytest.param(
            CHW.float(), r"0\.\.1, found \d to 2\d\d\. Pass uint8, or divide", id="tensor of 0..255"
        ),
        pytest.param((CHW / 255 - 0.5) / 0.2, r"0\.\.1, found -2\.5 to 2\.\d+\.$", id="normalised"),
        pytest.param(
            RGB.astype(np.uint16) * 257, r"integer pixels in 0\.\.255, found .* to 6\d+\.$", id="16 bit"
        ),
        pytest.param(np.full((5, 7, 3), np.nan), r"0\.\.1, found nan to nan", id="not a number"),
        pytest.param(np.zeros((5, 7, 3), bool), "uint8 or floating-point numbers, found bool", id="booleans"),
        pytest.param(np.zeros((5, 7, 3), complex), "found complex128", id="complex numbers"),
        pytest.param(np.array([[["a"] * 3]]), "found <U1", id="texts"),
        pytest.param(
            torch.zeros(3, 5, 7, dtype=torch.bool), "a dense tensor of uint8", id="tensor of booleans"
        ),
        pytest.param(CHW.to_sparse(), "a dense tensor", id="sparse tensor"),
        pytest.param(torch.empty(3, 5, 7, device="meta"), "a dense tensor", id="tensor without memory"),
        pytest.param(np.zeros((0, 7, 3), np.uint8), "found 7 × 0 of them", id="no pixels"),
        pytest.param([[1, 2], [3, 4]], "a NumPy array or a tensor, found a list", id="list"),
        pytest.param(b"\xff\xd8", "found a bytes", id="encoded"),
    ],
)
def test_a_wrong_layout_type_or_range_is_a_clear_error(image: Any, message: str) -> None:
    with pytest.raises(UnreadableImage, match=f"^photo 3: expected .*?{message}"):
        pixels_of(image, name="photo 3")


def test_a_pil_image_is_read_like_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    see_through = Image.new("RGBA", (48, 32))
    see_through.paste((200, 0, 0, 255), (0, 0, 8, 8))
    see_through.save(tmp_path / "image.png", exif=exif)
    with Image.open(tmp_path / "image.png") as opened:
        pixels = pixels_of(opened)
    assert torch.equal(pixels, read_image(tmp_path / "image.png"))
    assert pixels.shape == (3, 48, 32)
    assert pixels[:, -1, 0].tolist() == [255, 255, 255]


def test_a_pil_image_that_does_not_decode_is_an_unreadable_image(tmp_path: Path) -> None:
    Image.fromarray(RGB).resize((90, 90)).save(tmp_path / "image.png")
    content = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(content[: len(content) // 2])
    with (
        Image.open(tmp_path / "image.png") as opened,
        pytest.raises(UnreadableImage, match="image: expected an image, but decoding fails"),
    ):
        pixels_of(opened)
