"""`strip_metadata`: the pixels stay, and nothing else does."""

import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from data_prep import ShardReader, merge
from data_prep.shards.images import METADATA_REMOVED, ImageRules, prepare_image
from data_prep.shards.png_and_jpeg import without_metadata

SECRET = b"S3CRET"
TEXT = SECRET.decode()
PHOTOGRAPH = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8))


def exif(orientation: int = 1) -> bytes:
    """EXIF data with a position, an author, a serial number and a maker note."""
    data = Image.Exif()
    data[0x0112], data[0x013B] = orientation, TEXT
    details, position = data.get_ifd(0x8769), data.get_ifd(0x8825)
    details[0xA431], details[0x927C] = TEXT, SECRET * 3
    position[1], position[2] = TEXT, (52.0, 31.0, 12.0)
    return data.tobytes()


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + SECRET


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image: Image.Image = PHOTOGRAPH, **options: object) -> bytes:
    everything = {
        "exif": exif(),
        "comment": SECRET,
        "xmp": b"<x:xmpmeta/>" + SECRET,
        "icc_profile": profile(),
    }
    return encoded(image, "JPEG", **(everything | options))


def png(image: Image.Image = PHOTOGRAPH) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", TEXT)
    texts.add_itxt("XML:com.adobe.xmp", TEXT)
    texts.add_text("Long", TEXT, zip=True)
    return encoded(image, "PNG", pnginfo=texts, exif=exif(), icc_profile=profile(), dpi=(72, 72))


def with_small_image(data: bytes) -> bytes:
    """The JPEG with a small image in its JFIF header, which contains the secret."""
    pixels = (SECRET * 3)[: 3 * 2 * 3]
    header = b"JFIF\0" + data[11:18] + bytes([2, 3]) + pixels
    return data[:2] + b"\xff\xe0" + (len(header) + 2).to_bytes(2) + header + data[20:]


FILES = [
    pytest.param(jpeg(), id="JPEG"),
    pytest.param(jpeg(progressive=True), id="progressive"),
    pytest.param(jpeg(PHOTOGRAPH.convert("L")), id="grey"),
    pytest.param(jpeg(subsampling=0, restart_marker_rows=1), id="restart markers"),
    pytest.param(jpeg(keep_rgb=True, subsampling=0), id="RGB with Adobe's marker"),
    pytest.param(jpeg() + SECRET, id="bytes after the end"),
    pytest.param(jpeg() + jpeg(), id="a second image after the end"),
    pytest.param(
        with_small_image(encoded(PHOTOGRAPH, "JPEG", comment=SECRET)), id="small image in the header"
    ),
    pytest.param(png(), id="PNG"),
    pytest.param(png(PHOTOGRAPH.convert("L")), id="grey PNG"),
    pytest.param(png() + SECRET, id="bytes after the end of a PNG"),
]


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("data", FILES)
def test_pixels_stay_and_all_else_goes(data):
    assert SECRET in data
    stored = prepare_image(data, None, ImageRules(None, 95, strip_metadata=True))
    assert SECRET not in stored.data
    assert stored.changes == (METADATA_REMOVED,)
    assert len(stored.data) < len(data)
    assert np.array_equal(pixels_of(stored.data), pixels_of(data))
    with Image.open(io.BytesIO(stored.data)) as image:
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_density", "jfif_unit", "dpi", "progressive",
                                   "progression", "adobe", "adobe_transform"}  # fmt: skip
        assert not image.getexif()


@pytest.mark.parametrize("data", FILES)
def test_training_decodes_the_same_pixels(data):
    from yolo9000.data.image import decode_image

    first, second = (
        decode_image(np.frombuffer(one, np.uint8).copy(), name="made")
        for one in (data, without_metadata(data))
    )
    assert np.array_equal(first.numpy(), second.numpy())


@pytest.mark.parametrize("data", FILES)
def test_without_the_setting_files_stay_byte_for_byte(data):
    assert prepare_image(data, None, ImageRules(None, 95)).data is data


def test_the_rotation_is_applied_and_re_encoded_images_keep_no_comment():
    data = jpeg(exif=exif(orientation=6))
    stored = prepare_image(data, None, ImageRules(None, 95, strip_metadata=True))
    assert (stored.width, stored.height) == (40, 56)
    assert stored.changes == ("rotated by EXIF",)
    for rules in (ImageRules(None, 95, strip_metadata=True), ImageRules(20, 95, strip_metadata=True)):
        assert SECRET not in prepare_image(data, None, rules).data


def test_an_image_without_metadata_stays_byte_for_byte():
    for data in (encoded(PHOTOGRAPH, "JPEG"), encoded(PHOTOGRAPH, "PNG")):
        assert prepare_image(data, None, ImageRules(None, 95, strip_metadata=True)).data is data


@settings(max_examples=60)
@given(st.data())
def test_pixels_stay_at_any_size_and_quality(data):
    width, height, quality = (data.draw(st.integers(1, most)) for most in (40, 40, 100))
    pixels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(
        0, 256, (height, width, 3), np.uint8
    )
    made = jpeg(Image.fromarray(pixels), quality=quality, progressive=data.draw(st.booleans()))
    stripped = without_metadata(made)
    assert SECRET not in stripped
    assert np.array_equal(pixels_of(stripped), pixels_of(made))


@settings(max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_files_raise_nothing(noise, cut):
    whole = jpeg()
    for start in (b"\xff\xd8", b"\x89PNG\r\n\x1a\n"):
        without_metadata(start + noise)
    without_metadata(whole[:cut] + noise)


def test_shards_of_a_merge_contain_no_metadata_and_other_settings_are_another_merge(
    world, tmp_path, config_of
):
    for path in world.rglob("*.jpg"):
        with Image.open(path) as image:
            image.convert("RGB").save(path, exif=exif(), comment=TEXT)
    plain = merge(config_of(world), tmp_path / "plain")
    index = merge(config_of(world, "strip_metadata=true"), tmp_path / "stripped")
    shards = [
        b"".join(path.read_bytes() for path in (tmp_path / name).glob("*.h5"))
        for name in ("plain", "stripped")
    ]
    assert [SECRET in content for content in shards] == [True, False]
    assert sum(counts.get(METADATA_REMOVED, 0) for counts in index.counts) > 0
    assert not any(METADATA_REMOVED in counts for counts in plain.counts)
    for image in range(len(ShardReader(tmp_path / "plain"))):
        first, second = (
            ShardReader(tmp_path / name).encoded(image).tobytes() for name in ("plain", "stripped")
        )
        assert np.array_equal(pixels_of(first), pixels_of(second))
    with pytest.raises(Exception, match="strip_metadata is False, this plan's is True"):
        merge(config_of(world, "strip_metadata=true"), tmp_path / "plain")


@pytest.mark.skipif("YOLO9000_TEST_DATA" not in os.environ, reason="YOLO9000_TEST_DATA is not set")
def test_pixels_of_real_photographs_stay():
    from pathlib import Path

    files = [
        path for path in Path(os.environ["YOLO9000_TEST_DATA"]).rglob("*") if path.suffix.lower() == ".jpg"
    ]
    if not files:
        pytest.skip("no photographs")
    for path in files[:: max(1, len(files) // 60)]:
        data = path.read_bytes()
        assert np.array_equal(pixels_of(without_metadata(data)), pixels_of(data)), path
