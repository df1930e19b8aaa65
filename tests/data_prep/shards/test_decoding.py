"""The one image reader: right pixels of every kind of image, and an ImageError for every unusable one."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from data_prep.shards import decoding
from data_prep.shards.decoding import IMAGE_SUFFIXES, ImageError, decode, rgb_pixels, upright_rgb_pixels
from data_prep.shards.images import ImageRules, prepare_image
from data_prep.sources.image_size import header_size_px
from tests.data_prep.conftest import encoded_image

LOSSLESS = ImageRules(resize_max=None, quality=100)
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
PNG_START = b"\x89PNG\r\n\x1a\n"


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png, added, *, before=b"IDAT"):
    position = png.index(before) - 4
    return png[:position] + added + png[position:]


def as_pillow_reads(data):
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def disc(mode="RGBA", hidden=(0, 0, 0, 0)):
    """A red square in the middle of full transparency, whose hidden colour is black."""
    image = Image.new("RGBA", (64, 64), hidden)
    image.paste((220, 30, 30, 255), (16, 16, 48, 48))
    return image.convert(mode)


def palette_with_transparent_colour():
    image = Image.new("P", (64, 64), 1)
    image.putpalette([220, 30, 30, 0, 0, 0])
    image.paste(0, (16, 16, 48, 48))
    return image


RED_ON_WHITE = [
    pytest.param(encoded(disc(), "PNG"), id="PNG with alpha"),
    pytest.param(encoded(disc(), "WEBP", lossless=True, exact=True), id="WebP with alpha"),
    pytest.param(encoded(disc(), "TIFF"), id="TIFF with alpha"),
    pytest.param(encoded(disc(), "JPEG2000"), id="JPEG 2000 with alpha"),
    pytest.param(encoded(palette_with_transparent_colour(), "PNG", transparency=1), id="PNG palette"),
    pytest.param(encoded(palette_with_transparent_colour(), "GIF", transparency=1), id="GIF"),
    pytest.param(
        encoded(disc().convert("RGB"), "PNG", transparency=(0, 0, 0)), id="PNG with a transparent colour"
    ),
]


@pytest.mark.parametrize("data", RED_ON_WHITE)
def test_transparent_pixels_are_white_for_merging_and_for_prediction(data):
    for pixels in (rgb_pixels(data), rgb_pixels(prepare_image(data, None, LOSSLESS).data)):
        assert pixels[2, 2].tolist() == pytest.approx([255, 255, 255], abs=1)
        assert pixels[32, 32].tolist() == pytest.approx([220, 30, 30], abs=3)


RAMP = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
GREY_RAMPS = [
    pytest.param(encoded(Image.fromarray(RAMP), "TIFF"), id="8 bit"),
    pytest.param(encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"), id="16-bit PNG"),
    pytest.param(encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"), id="16-bit TIFF"),
    pytest.param(encoded(Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF"), id="32-bit TIFF, 16 used"),
    pytest.param(
        encoded(Image.fromarray(RAMP.astype(np.int32) * (257 * 65537 // 2)), "TIFF"), id="32-bit TIFF"
    ),
    pytest.param(encoded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), id="float TIFF of 0..255"),
    pytest.param(encoded(Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF"), id="float TIFF of 0..1"),
]


@pytest.mark.parametrize("data", GREY_RAMPS)
def test_a_grey_ramp_of_any_depth_is_the_same_ramp(data, request):
    pixels = rgb_pixels(data)
    expected = (
        RAMP // 2 if request.node.callspec.id == "32-bit TIFF" else RAMP
    )  # int32 has no sign bit to spare
    assert np.abs(pixels[..., 0].astype(int) - expected).max() <= 1
    stored = rgb_pixels(prepare_image(data, None, LOSSLESS).data)
    assert np.abs(pixels.astype(int) - stored).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_merging_and_prediction_rotate_by_exif_alike(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (48, 32), "white")
    image.paste("red", (0, 0, 16, 16))
    data = encoded(image, "JPEG", exif=exif, quality=100, subsampling=0)
    upright = upright_rgb_pixels(data)
    stored = rgb_pixels(prepare_image(data, None, LOSSLESS).data)
    assert upright.shape == stored.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
    assert np.abs(upright.astype(int) - stored).max() <= 6
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    assert upright[corner[orientation]].tolist() == pytest.approx([255, 0, 0], abs=6)
    assert rgb_pixels(data).shape == (32, 48, 3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_the_header_alone_tells_the_size_of_the_upright_image(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (48, 32), "white"), kind, exif=exif)
    (tmp_path / "image").write_bytes(data)
    assert header_size_px(tmp_path / "image", "auto") == (32, 48)
    assert upright_rgb_pixels(data).shape == (48, 32, 3)


# --- damaged and hostile files


GOOD_PNG = encoded(Image.fromarray(NOISE), "PNG")


def with_flipped_bit(data, position, bit=0):
    flipped = bytearray(data)
    flipped[position] ^= 1 << bit
    return bytes(flipped)


def test_a_png_with_a_wrong_checksum_but_intact_pixels_is_read_and_re_encoded_by_a_merge():
    data = with_flipped_bit(GOOD_PNG, -13)
    assert np.array_equal(rgb_pixels(data), NOISE)
    stored = prepare_image(data, None, LOSSLESS)
    assert stored.changes == ("re-encoded (PNG RGB, wrong checksum)",)
    assert stored.data.startswith(b"\xff\xd8")


@pytest.mark.parametrize("position", [*range(8, 33), 41, 60, len(GOOD_PNG) // 2, len(GOOD_PNG) - 17])
@pytest.mark.parametrize("bit", [0, 3, 7])
def test_a_png_with_a_flipped_bit_is_refused_or_has_the_right_pixels(position, bit):
    try:
        pixels = rgb_pixels(with_flipped_bit(GOOD_PNG, position, bit))
    except ImageError:
        return
    assert np.array_equal(pixels, NOISE)


def test_a_png_without_its_last_chunk_is_read_and_re_encoded():
    assert np.array_equal(rgb_pixels(GOOD_PNG[:-12]), NOISE)
    assert prepare_image(GOOD_PNG[:-12], None, LOSSLESS).changes == ("re-encoded (PNG RGB, wrong checksum)",)


TEXTS = [
    pytest.param(chunk(b"tEXt", b"Comment\0" + b"x" * (3 << 20)), id="3 MB of text"),
    pytest.param(
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (3 << 20))), id="text that unpacks to 3 MB"
    ),
    pytest.param(
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (3 << 20))), id="large XMP"
    ),
    pytest.param(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * (3 << 20))), id="a large colour profile"),
    pytest.param(chunk(b"tEXt", b"Comment\0hi")[:-1] + b"?", id="a text with a wrong checksum"),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_texts_never_make_a_png_unreadable(text, before):
    data = with_chunk(GOOD_PNG, text, before=before)
    assert np.array_equal(rgb_pixels(data), NOISE)
    stored = prepare_image(data, None, LOSSLESS)
    if "re-encoded" not in str(stored.changes):
        assert np.array_equal(as_pillow_reads(stored.data), NOISE)


PHOTO = Image.fromarray(NOISE).resize((120, 90), Image.Resampling.BICUBIC)
JPEGS = [
    pytest.param(encoded(PHOTO, "JPEG", quality=90), id="baseline"),
    pytest.param(encoded(PHOTO, "JPEG", progressive=True), id="progressive"),
    pytest.param(encoded(PHOTO.convert("L"), "JPEG"), id="grey"),
    pytest.param(encoded(PHOTO.convert("CMYK"), "JPEG"), id="CMYK"),
    pytest.param(encoded(PHOTO, "JPEG", restart_marker_blocks=4), id="restart markers"),
    pytest.param(encoded(Image.new("RGB", (120, 90), "red"), "JPEG"), id="one colour"),
]


@pytest.mark.parametrize("data", JPEGS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_marker_is_read_and_stored_with_one(data, missing):
    cut = data[:-missing]
    assert np.array_equal(rgb_pixels(cut), rgb_pixels(data))
    stored = prepare_image(cut, None, LOSSLESS)
    assert "JPEG end marker added" in stored.changes
    if "CMYK" not in str(stored.changes):
        assert stored.data == data


@pytest.mark.parametrize("data", JPEGS)
@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 0.99])
def test_a_jpeg_that_lacks_pixels_is_refused(data, share):
    cut = int(len(data) * share)
    header = data.index(b"\xff\xda") + 14
    with pytest.raises(ImageError, match="cannot be decoded"):
        rgb_pixels(data[: header + int((len(data) - header - 8) * share)])
    assert cut < len(data) - 2


def test_a_progressive_jpeg_with_hundreds_of_scans_is_refused_before_it_takes_minutes():
    data = encoded(PHOTO, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    repeated = data[:last] + data[last:-2] * 200 + data[-2:]
    with pytest.raises(ImageError) as error:
        rgb_pixels(repeated)
    assert "more than 100 scans" in error.value.detail
    assert rgb_pixels(data[:-2] + data[-2:] + data[last:-2] * 200).shape == (
        90,
        120,
        3,
    )  # after the image's end


def png_of_size(width, height):
    return PNG_START + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + GOOD_PNG[33:]


def bmp_of_size(width, height):
    data = encoded_image(1, kind="BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def gif_of_size(width, height):
    data = encoded_image(1, kind="GIF")
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def jpeg_of_size(width, height):
    data = encoded_image(1)
    position = data.index(b"\xff\xc0") + 5
    return data[:position] + struct.pack(">HH", height, width) + data[position + 4 :]


def ppm_of_size(width, height):
    return f"P6 {width} {height} 255\n".encode() + bytes(100)


@pytest.mark.parametrize("make", [png_of_size, bmp_of_size, gif_of_size, jpeg_of_size, ppm_of_size])
def test_an_image_with_too_many_pixels_is_refused_from_its_header(make, monkeypatch):
    with pytest.raises(ImageError, match="too many pixels") as error:
        rgb_pixels(make(60_000, 50_000))
    assert error.value.detail == "its 60000 × 50000 pixels are more than 178 megapixels"


def test_half_of_the_most_pixels_is_read_without_a_warning_of_pillow():
    image = Image.new("L", (10_500, 9_000), 128)  # pytest makes an error of a warning
    assert decode(encoded(image, "TIFF", compression="tiff_lzw")).image.size == (10_500, 9_000)


PROGRAMS = [
    pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", id="EPS"),
    pytest.param(
        b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 12, 90) + b"%!PS-Adobe-3.0 EPSF-3.0\n", id="binary EPS"
    ),
    pytest.param(b"%PDF-1.4\n", id="PDF"),
    pytest.param(b"\xd7\xcd\xc6\x9a" + bytes(40), id="WMF"),
]


@pytest.mark.parametrize("data", PROGRAMS)
def test_no_file_starts_another_program(data, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError(f"started {arguments}")

    for name in ("Popen", "run", "check_call", "call"):
        monkeypatch.setattr(subprocess, name, refuse)
    monkeypatch.setattr("os.system", refuse)
    with pytest.raises(ImageError, match="cannot be decoded") as error:
        rgb_pixels(data)
    assert "none of the formats JPEG, PNG" in error.value.detail


@pytest.mark.parametrize(
    "raised",
    [ZeroDivisionError("x"), NotImplementedError("odd"), RuntimeError(), AssertionError(), TypeError()],
)
def test_whatever_a_decoder_raises_becomes_an_image_error(raised, monkeypatch):
    def fail(self):
        raise raised

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", fail)
    with pytest.raises(ImageError, match="cannot be decoded"):
        rgb_pixels(encoded_image(1))
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "_open", fail)
    with pytest.raises(ImageError, match="cannot be decoded"):
        rgb_pixels(encoded_image(1))


def test_an_image_that_does_not_fit_into_memory_is_an_image_error(monkeypatch):
    def fail(self):
        raise MemoryError

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", fail)
    with pytest.raises(ImageError, match="does not fit into memory"):
        rgb_pixels(encoded_image(1))


@pytest.mark.parametrize("step", ["as_grey_or_rgb", "upright"])
def test_an_image_whose_copy_does_not_fit_into_memory_is_an_image_error(monkeypatch, step):
    def fail(image):
        raise MemoryError

    monkeypatch.setattr(decoding, step, fail)
    with pytest.raises(ImageError, match="does not fit into memory"):
        decoding.upright_rgb_pixels(encoded_image(1))


def test_every_suffix_of_the_listed_formats_is_an_image_suffix():
    Image.init()
    kinds = {opener.format for _, opener in decoding._FORMATS} | {"MPO"}
    missing = {
        suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds
    } - IMAGE_SUFFIXES
    assert not missing
    assert kinds == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "MPO"}


SOUND = [
    *(
        encoded_image(1, kind=kind)
        for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
    ),
    encoded_image(1, kind="AVIF"),
    encoded_image(1, kind="TIFF", compression="tiff_lzw"),
    encoded_image(1, kind="TIFF", compression="jpeg"),
    encoded_image(1, kind="PNG", mode="RGBA"),
    encoded_image(1, progressive=True),
]


@settings(max_examples=300)
@given(st.data())
def test_altered_bytes_give_pixels_or_an_image_error(data):
    spoilt = bytearray(data.draw(st.sampled_from(SOUND)))
    for _ in range(data.draw(st.integers(1, 4))):
        first = data.draw(st.integers(0, min(len(spoilt), 200)) | st.integers(0, len(spoilt)))
        cut = data.draw(st.integers(0, 4) | st.integers(0, len(spoilt) - first))
        spoilt[first : first + cut] = data.draw(st.binary(max_size=6))
    try:
        pixels = upright_rgb_pixels(bytes(spoilt))
    except ImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


def test_memory_of_an_image_stays_below_twelve_bytes_for_each_pixel():
    script = (
        "import resource, sys\n"
        "from data_prep.shards.decoding import rgb_pixels\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\n"
        "pixels = rgb_pixels(sys.stdin.buffer.read())\n"
        "print((peak() - before) / (pixels.size / 3))"
    )
    image = encoded(Image.new("RGBA", (4000, 3000), (9, 9, 9, 90)), "PNG")
    result = subprocess.run([sys.executable, "-c", script], input=image, capture_output=True, check=True)
    assert float(result.stdout) < 12
