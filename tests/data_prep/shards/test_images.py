import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.shards import image_files
from data_prep.shards.decoding import ImageError
from data_prep.shards.image_files import read_bytes
from data_prep.shards.images import ImageRules, prepare_image
from tests.data_prep.conftest import colour_of, encoded_image

RULES = ImageRules(resize_max=None, quality=95)
SMALL = ImageRules(resize_max=32, quality=90)
ORIENTATION = 0x0112


def decoded(data):
    return Image.open(io.BytesIO(data))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated(orientation, size=(40, 20)):
    """A JPEG, red on its left half as stored, with an EXIF orientation."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_8_bit_grey_and_rgb_are_stored_unchanged(kind, mode):
    data = encoded_image(3, kind=kind, mode=mode)
    stored = prepare_image(data, None, RULES)
    assert stored.data is data
    assert (stored.width, stored.height, stored.changes) == (40, 30, ())


GRADIENT_16 = Image.fromarray(np.full((30, 40), 51200, dtype=np.uint16))
OTHERS = [
    pytest.param(encoded_image(3, kind="JPEG", mode="CMYK"), "JPEG CMYK", id="CMYK"),
    pytest.param(encoded_image(3, kind="PNG", mode="P"), "PNG P", id="palette"),
    pytest.param(encoded_image(3, kind="PNG", mode="RGBA"), "PNG RGBA", id="alpha"),
    pytest.param(encoded_image(3, kind="PNG", mode="LA"), "PNG LA", id="grey with alpha"),
    pytest.param(encoded_image(3, kind="PNG", mode="1"), "PNG 1", id="bilevel"),
    pytest.param(encoded_image(3, kind="PNG", transparency=(1, 2, 3)), "PNG RGB", id="a transparent colour"),
    pytest.param(encoded(GRADIENT_16, "PNG"), "PNG I;16 16 bit", id="16-bit grey"),
    pytest.param(encoded_image(3, kind="WEBP"), "WEBP RGB", id="WebP"),
    pytest.param(encoded_image(3, kind="BMP"), "BMP RGB", id="BMP"),
    pytest.param(encoded_image(3, kind="GIF"), "GIF P", id="GIF"),
    pytest.param(encoded_image(3, kind="TIFF"), "TIFF RGB", id="TIFF"),
]


@pytest.mark.parametrize(("data", "kind"), OTHERS)
def test_other_images_are_re_encoded_as_jpeg_and_counted(data, kind):
    stored = prepare_image(data, None, RULES)
    image = decoded(stored.data)
    assert stored.changes == (f"re-encoded ({kind})",)
    assert (image.format, image.mode in ("L", "RGB"), image.size) == ("JPEG", True, (40, 30))


@pytest.mark.parametrize(("data", "kind"), [*OTHERS, pytest.param(encoded_image(3), "", id="JPEG")])
def test_training_decodes_stored_images_to_their_stored_size(data, kind):
    from yolo9000.data.image import decode_image

    stored = prepare_image(data, None, RULES)
    image = decode_image(np.frombuffer(stored.data, dtype=np.uint8).copy(), name="made")
    assert tuple(image.shape) == (3, stored.height, stored.width)
    ours = np.asarray(decoded(stored.data).convert("RGB"), dtype=np.int64).transpose(2, 0, 1)
    assert np.array_equal(image.numpy(), ours)


def test_re_encoding_preserves_colours():
    stored = decoded(prepare_image(encoded(GRADIENT_16, "PNG"), None, RULES).data)
    assert abs(stored.getpixel((5, 5)) - 200) <= 1
    see_through = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    white = decoded(prepare_image(encoded(see_through, "PNG"), None, RULES).data)
    assert min(white.getpixel((4, 4))) >= 254


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied_unless_annotations_contradict(orientation):
    stored = prepare_image(rotated(orientation), None, RULES)
    image = decoded(stored.data)
    expected = (20, 40) if orientation >= 5 else (40, 20)
    assert image.size == (stored.width, stored.height) == expected
    assert "rotated by EXIF" in stored.changes
    assert image.getexif().get(ORIENTATION, 1) == 1
    if orientation == 3:
        assert image.getpixel((35, 10))[0] > 200  # the red half is now on the right


def test_exif_orientation_is_not_applied_if_the_annotations_refer_to_the_stored_pixels():
    data = rotated(6)
    assert prepare_image(data, (40, 20), RULES).data is data
    assert prepare_image(data, (20, 40), RULES).changes == ("rotated by EXIF",)


def test_an_image_of_another_size_is_kept_and_one_of_another_aspect_ratio_is_refused():
    assert prepare_image(encoded_image(1), (400, 300), RULES).changes == ()
    with pytest.raises(ImageError, match="another aspect ratio"):
        prepare_image(encoded_image(1), (300, 300), RULES)


def test_only_larger_images_are_resized():
    rules = ImageRules(resize_max=20, quality=80)
    stored = prepare_image(encoded_image(1), None, rules)
    assert (stored.width, stored.height, stored.changes) == (20, 15, ("resized to 20 px",))
    small = encoded_image(1, size=(20, 10))
    assert prepare_image(small, None, rules).data is small


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>not found</html>", id="a page"),
        pytest.param(encoded_image(1, size=(200, 200))[:400], id="a JPEG cut short"),
        pytest.param(encoded_image(1, kind="PNG")[:-30], id="a PNG cut short"),
        pytest.param(encoded_image(1, kind="PNG")[:20], id="a PNG without a header"),
        pytest.param(encoded_image(1, kind="GIF")[:30], id="a GIF cut short"),
        pytest.param(encoded_image(1, kind="WEBP")[:40], id="a WebP cut short"),
    ],
)
def test_damaged_images_raise_image_error(data):
    with pytest.raises(ImageError, match="cannot be decoded"):
        prepare_image(data, None, RULES)


def test_an_image_with_too_many_pixels_is_never_decoded():
    header = encoded_image(1, kind="BMP", size=(10, 10))
    huge = header[:18] + (60_000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(ImageError, match="too many pixels"):
        prepare_image(huge, None, RULES)


def test_an_image_too_long_for_jpeg_is_refused_unless_it_is_unchanged_or_resized():
    long = encoded_image(1, (70_000, 2), kind="PNG", mode="RGBA")
    with pytest.raises(ImageError, match="longer than JPEG's 65500 px"):
        prepare_image(long, None, RULES)
    plain = encoded_image(1, (70_000, 2), kind="PNG")
    assert prepare_image(plain, None, RULES).data is plain
    assert prepare_image(long, None, ImageRules(resize_max=1000, quality=95)).width == 1000


def test_files_that_would_start_other_programs_are_not_opened():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert Image.open(io.BytesIO(eps)).format == "EPS"
    with pytest.raises(ImageError, match="cannot be decoded"):
        prepare_image(eps, None, RULES)


def test_a_jpeg_followed_by_more_images_is_stored_unchanged():
    first, second = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert prepare_image(data, None, RULES).data is data


def png_16_bit(colour_type, channels, value, size=(8, 6)):
    """A PNG of 16 bits a channel, all of one value; Pillow writes grey ones only."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *size, 16, colour_type, 0, 0, 0)
    rows = (b"\0" + struct.pack(">H", value) * size[0] * channels) * size[1]
    pieces = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@pytest.mark.parametrize(
    ("colour_type", "channels"),
    [pytest.param(0, 1, id="grey"), pytest.param(2, 3, id="RGB"), pytest.param(6, 4, id="RGB and alpha")],
)
def test_16_bit_becomes_8_bit_by_its_upper_byte(colour_type, channels):
    stored = prepare_image(png_16_bit(colour_type, channels, 0xC8FF), None, RULES)
    assert stored.changes[0].startswith("re-encoded (PNG ")
    assert stored.changes[0].endswith("16 bit)")
    pixel = decoded(stored.data).convert("RGB").getpixel((3, 3))
    expected = 0xC8 if channels < 4 else 255 - (255 - 0xC8) * 0xC8 / 255  # over white
    assert pixel == pytest.approx([expected] * 3, abs=1)


def test_cmyk_colours_become_rgb():
    stored = prepare_image(encoded_image(3, kind="JPEG", mode="CMYK", quality=95), None, RULES)
    assert decoded(stored.data).getpixel((5, 5)) == pytest.approx(colour_of(3), abs=4)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        pytest.param(np.full((6, 8), 200, dtype=np.int32), 200, id="32 bit, small"),
        pytest.param(np.full((6, 8), 51400, dtype=np.int32), 200, id="32 bit, as large as 16"),
        pytest.param(np.full((6, 8), 199.9, dtype=np.float32), 199, id="float"),
        pytest.param(np.full((6, 8), np.nan, dtype=np.float32), None, id="not a number"),
    ],
)
def test_grey_of_many_bits_becomes_8_bit(array, expected):
    stored = prepare_image(encoded(Image.fromarray(array), "TIFF"), None, RULES)
    assert decoded(stored.data).mode == "L"
    if expected is not None:
        assert abs(decoded(stored.data).getpixel((3, 3)) - expected) <= 1


SOUND = [
    encoded_image(1),
    encoded_image(1, mode="L"),
    encoded_image(1, mode="CMYK"),
    encoded_image(1, progressive=True),
    rotated(6),
    *(encoded_image(1, kind="PNG", mode=mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1")),
    png_16_bit(2, 3, 51200),
    *(encoded_image(1, kind=kind) for kind in ("WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")),
    encoded_image(1, kind="TIFF", compression="tiff_lzw"),
]


@settings(max_examples=300)
@given(st.data())
def test_altered_images_are_refused_or_stored_in_a_form_that_decodes(data):
    """Bytes are changed, cut out or put in anywhere, headers most of all."""
    spoilt = bytearray(data.draw(st.sampled_from(SOUND)))
    for _ in range(data.draw(st.integers(1, 4))):
        first = data.draw(st.integers(0, min(len(spoilt), 400)) | st.integers(0, len(spoilt)))
        cut = data.draw(st.integers(0, 8) | st.integers(0, len(spoilt) - first))
        spoilt[first : first + cut] = data.draw(st.binary(max_size=8))
    try:
        stored = prepare_image(bytes(spoilt), data.draw(st.sampled_from([None, (40, 30), (30, 40)])), SMALL)
    except ImageError:
        return
    image = decoded(stored.data)
    image.load()
    assert image.format in ("JPEG", "MPO", "PNG")
    assert image.mode in ("L", "RGB")
    assert image.size == (stored.width, stored.height)


def test_a_damaged_exif_block_is_ignored():
    data = rotated(6)
    position = data.index(b"Exif\0\0") + 6
    broken = data[:position] + b"\xff" * 8 + data[position + 8 :]
    assert prepare_image(broken, None, RULES).data is broken


def test_reading_a_small_image_file_takes_little_memory(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"seven b")
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "a.jpg") == b"seven b"
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_device_without_end_is_no_image_file(monkeypatch):
    monkeypatch.setattr(image_files, "MAX_FILE_BYTES", 5 << 20)
    with pytest.raises(ImageError, match="too large"):
        read_bytes(Path("/dev/zero"))
