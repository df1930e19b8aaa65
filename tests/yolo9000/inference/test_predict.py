"""Images in, detections out: files, folders, image formats, and the output folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wordtree.errors import ConfigError
from yolo9000 import Predictor
from yolo9000.data.pixels import UnreadableImage
from yolo9000.inference.stream import DECODE_THREADS


@pytest.fixture(scope="module")
def predictor(made_detector: Path) -> Predictor:
    return Predictor(made_detector, changes={"min_score": 0.01, "batch_size": 2})


def test_the_error_for_an_unreadable_image_names_the_file(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50))
    with pytest.raises(UnreadableImage, match=r"broken\.jpg"):
        list(predictor(tmp_path))


# --- what comes out


def test_detections_are_in_the_order_of_the_images_and_do_not_depend_on_the_batch(
    photos: Path, predictor: Predictor
) -> None:
    found = list(predictor(photos))
    assert [Path(d.image).name for d in found] == ["a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg"]
    for detections in found:
        (alone,) = predictor(Path(detections.image))
        assert alone.node.tolist() == detections.node.tolist()
        assert np.allclose(alone.xyxy_px, detections.xyxy_px, atol=1e-3)
    assert sum(map(len, found)) > 0


def test_lossless_formats_of_one_image_give_the_same_detections(
    scene: Image.Image, tmp_path: Path, predictor: Predictor
) -> None:
    scene.save(tmp_path / "rgb.png")
    scene.save(tmp_path / "rgb.bmp")
    scene.save(tmp_path / "rgb.webp", lossless=True)
    scene.save(tmp_path / "rgb.tiff")
    rgba = scene.copy()
    rgba.putalpha(255)
    rgba.save(tmp_path / "rgba.png")
    found = list(predictor(tmp_path))
    assert len(found) == 5
    first = found[0]
    assert len(first)
    for detections in found[1:]:  # an image alone in its batch is summed in another order
        assert detections.node.tolist() == first.node.tolist()
        np.testing.assert_allclose(detections.xyxy_px, first.xyxy_px, atol=1e-3)
        np.testing.assert_allclose(detections.score, first.score, rtol=1e-4)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "CMYK"])
def test_images_of_other_colour_models_are_read(
    scene: Image.Image, tmp_path: Path, predictor: Predictor, mode: str
) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    path = tmp_path / f"image.{suffix}"
    grey = scene.convert("L")
    image = (
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else scene.convert(mode)
    )
    image.save(path)
    (found,) = predictor(path)
    assert found.image_size_px == (64, 64)
    if mode in ("L", "LA", "I;16"):
        grey.save(tmp_path / "grey.png")
        (expected,) = predictor(tmp_path / "grey.png")
        assert found.to_dict()["detections"] == expected.to_dict()["detections"]


def test_exif_orientation_is_applied(scene: Image.Image, tmp_path: Path, predictor: Predictor) -> None:
    upright = scene.resize((48, 64))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated by 90° to the left
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned, expected = predictor([tmp_path / "turned.png", tmp_path / "upright.png"])
    assert turned.image_size_px == (48, 64)
    assert turned.to_dict()["detections"] == expected.to_dict()["detections"]


def test_boxes_are_in_pixels_of_images_of_any_shape(made_detector: Path) -> None:
    predictor = Predictor(made_detector, changes={"min_score": 0})
    images = [
        torch.randint(0, 255, (3, height, width)).byte() for width, height in ((200, 20), (7, 90), (64, 64))
    ]
    for detections in predictor.detect(images, ["wide", "high", "square"]):
        width, height = detections.image_size_px
        assert len(detections) > 0
        assert (detections.xyxy_px >= 0).all()
        assert (detections.xyxy_px <= [width, height, width, height]).all()
        assert detections.xyxy_px[:, 2].max() > width / 2


# --- settings


def test_changed_settings_differ_from_those_of_the_checkpoint(made_detector: Path) -> None:
    assert Predictor(made_detector).settings == Predictor(made_detector).config.predict
    changed = Predictor(made_detector, changes={"min_absolute": 0.9})
    assert changed.settings == changed.config.predict.model_copy(update={"min_absolute": 0.9})


def test_changed_settings_may_have_former_names_and_values(made_detector: Path) -> None:
    with pytest.warns(FutureWarning, match="changes: .*level is now descent"):
        changed = Predictor(made_detector, changes={"level": "threshold", "max_places": 7})
    assert (changed.settings.descent, changed.settings.max_locations) == ("paper", 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_scores": 0.1}, "min_scores.*did you mean 'min_score'"),
        ({"min_score": 2}, "min_score"),
        ({"min_score": "high", "batch_size": 0}, "2 problems"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(
    made_detector: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Predictor(made_detector, changes=changes)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("size", "message"),
    [(40, "multiples of 16 for this network, found 40"), ("wide", "expected a side in pixels")],
)
def test_an_impossible_input_size_is_reported(made_detector: Path, size: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Predictor(made_detector, changes={"input_size_px": size})


def test_the_input_size_can_be_changed(made_detector: Path, scene: Image.Image) -> None:
    usual, larger = (
        next(Predictor(made_detector, changes={"min_score": 0, **size})(scene))
        for size in ({}, {"input_size_px": [128, 96]})
    )
    assert usual.image_size_px == larger.image_size_px == (64, 64)
    assert usual.xyxy_px.tolist() != larger.xyxy_px.tolist()


def test_bfloat16_gives_nearly_the_same_detections(made_detector: Path, scene: Image.Image) -> None:
    exact, rounded = (
        next(Predictor(made_detector, changes={"min_score": 0, "precision": precision})(scene))
        for precision in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact.score, rounded.score)
    assert rounded.score[0] == pytest.approx(exact.score[0], abs=0.02)


def test_an_unknown_device_is_reported_in_one_line(made_detector: Path) -> None:
    for name in ("tpu9", "cuda:77", "abacus"):
        with pytest.raises(ConfigError, match=rf"^device: expected cpu, cuda or cuda:N .* found '{name}'"):
            Predictor(made_detector, device=name)


# --- images in memory


def test_arrays_tensors_and_pil_images_give_the_same_detections(
    scene: Image.Image, predictor: Predictor
) -> None:
    array = np.asarray(scene)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    images = [scene, array, tensor, array / 255, tensor.float() / 255, array.astype(np.int64)]
    found = list(predictor(images))
    assert [one.image for one in found] == [f"image {number}" for number in range(6)]
    for one in found[1:]:
        assert one.node.tolist() == found[0].node.tolist()
        np.testing.assert_allclose(one.xyxy_px, found[0].xyxy_px, atol=1e-3)
    assert len(found[0])


def test_an_endless_iterable_is_read_as_far_as_needed(scene: Image.Image, predictor: Predictor) -> None:
    taken = 0

    def camera() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            yield scene

    stream = predictor(camera())
    assert [next(stream).image for _ in range(5)] == [f"image {number}" for number in range(5)]
    assert taken < 5 + 4 * predictor.settings.batch_size + 2 * DECODE_THREADS


def test_an_image_in_memory_that_cannot_be_used_is_named(predictor: Predictor, scene: Image.Image) -> None:
    with pytest.raises(UnreadableImage, match=r"^image 1: expected floating-point pixels in 0\.\.1"):
        list(predictor([scene, np.full((8, 8, 3), 2.0)]))


# --- what is reported below the detected class


def test_each_detection_has_its_best_leaf_and_the_reason_of_its_class(
    made_detector: Path, scene: Image.Image
) -> None:
    predictor = Predictor(made_detector, changes={"min_score": 0, "min_absolute": 0.9, "max_detections": 20})
    (found,) = predictor([scene])
    tree = predictor.tree
    assert found.best_leaf is not None
    assert found.conditional_below is not None
    assert found.stopped is not None
    assert tree.is_leaf[found.best_leaf].all()
    assert tree.is_at_or_under(found.best_leaf, found.node).all()
    deeper = next(
        Predictor(made_detector, changes={"min_score": 0, "min_absolute": 0, "max_detections": 20})([scene])
    )
    leaf_of = {
        tuple(box): leaf for box, leaf in zip(deeper.xyxy_px.tolist(), deeper.node.tolist(), strict=True)
    }
    shared = [row for row, box in enumerate(found.xyxy_px.tolist()) if tuple(box) in leaf_of]
    assert shared
    for row in shared:
        assert found.best_leaf[row] == leaf_of[tuple(found.xyxy_px[row].tolist())]
    for row, reason in enumerate(found.stopped):
        if reason == "leaf":
            assert tree.is_leaf[found.node[row]]
        elif reason == "root":
            assert found.absolute[row] <= 0.9
        else:
            assert reason == "threshold"
            assert found.absolute[row] * found.conditional_below[row][0] <= 0.9
