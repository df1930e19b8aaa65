"""Images in, detections out: files, folders, image formats, and the output folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import yolo9000.inference.predict as predict
from tests.yolo9000.made import made_config
from wordtree.errors import ConfigError
from yolo9000 import Predictor, read_image
from yolo9000.data.image import UnreadableImage
from yolo9000.inference.predict import NoImages, find_images, predict_to_folder
from yolo9000.training.train import train


@pytest.fixture(scope="module")
def best(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt of a short training."""
    folder = tmp_path_factory.mktemp("run")
    train(made_config(shards), folder)
    return folder / "best.pt"


@pytest.fixture(scope="module")
def predictor(best: Path) -> Predictor:
    return Predictor(best, changes={"min_score": 0.01, "batch_size": 2})


@pytest.fixture
def scene(shards: Path) -> Image.Image:
    """A test scene: a square on noise, 64 × 64."""
    with Image.open(shards.parent / "test" / "images" / "0.png") as opened:
        return opened.convert("RGB")


@pytest.fixture
def photos(scene: Image.Image, tmp_path: Path) -> Path:
    """A folder with five images of several formats, a text and a folder."""
    folder = tmp_path / "photos"
    (folder / "more.png").mkdir(parents=True)
    (folder / "notes.txt").write_text("no image")
    for name in ("e.jpg", "d.PNG", "c.webp", "b.bmp", "a.jpeg"):
        scene.save(folder / name)
    return folder


# --- which images


def test_a_folder_stands_for_the_images_directly_in_it_sorted_by_name(photos: Path) -> None:
    names = [path.name for path in find_images([photos])]
    assert names == ["a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg"]


def test_files_and_folders_come_in_the_given_order(photos: Path) -> None:
    paths = find_images([photos / "e.jpg", photos, str(photos / "a.jpeg")])
    assert [path.name for path in paths] == ["e.jpg", "a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg", "a.jpeg"]


def test_an_empty_folder_and_a_missing_path_are_reported(tmp_path: Path, predictor: Predictor) -> None:
    with pytest.raises(
        NoImages, match=r"expected images in this folder, found none with a suffix among \.bmp, \.gif, \.jpeg"
    ):
        list(predictor(tmp_path))
    with pytest.raises(NoImages, match=r"none\.jpg: no such image or folder\.$"):
        list(predictor(tmp_path / "none.jpg"))


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


def test_boxes_are_in_pixels_of_images_of_any_shape(best: Path) -> None:
    predictor = Predictor(best, changes={"min_score": 0})
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


def test_changed_settings_differ_from_those_of_the_checkpoint(best: Path) -> None:
    assert Predictor(best).settings == Predictor(best).config.predict
    changed = Predictor(best, changes={"min_absolute": 0.9})
    assert changed.settings == changed.config.predict.model_copy(update={"min_absolute": 0.9})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_scores": 0.1}, "min_scores.*did you mean 'min_score'"),
        ({"min_score": 2}, "min_score"),
        ({"min_score": "high", "batch_size": 0}, "2 problems"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(
    best: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Predictor(best, changes=changes)
    assert len(str(caught.value).splitlines()) == 1


# --- the output folder


def test_the_output_folder_has_every_image_and_the_detections_as_json(
    photos: Path, tmp_path: Path, predictor: Predictor
) -> None:
    out = tmp_path / "new" / "out"
    found = predict_to_folder(predictor, [photos], out)
    expected = ["a.png", "b.png", "c.png", "d.png", "detections.json", "e.png"]
    assert sorted(path.name for path in out.iterdir()) == expected
    rows = json.loads((out / "detections.json").read_text("utf-8"))
    assert rows == [detections.to_dict() for detections in found]
    assert {"image", "width_px", "height_px", "detections"} == set(rows[0])
    assert rows[0]["width_px"] == 64
    some = next(row for row in rows if row["detections"])["detections"][0]
    assert set(some) == {"xyxy_px", "id", "name", "path", "conditional", "objectness", "absolute", "score"}
    assert some["path"][-1] == some["name"]
    assert read_image(out / "a.png").shape[1] >= 480  # small images are enlarged before names are written


def test_an_image_is_decoded_once_also_if_it_is_drawn(
    photos: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(path: Path) -> torch.Tensor:
        decoded.append(path.name)
        return read_image(path)

    monkeypatch.setattr(predict, "read_image", counted)
    predict_to_folder(predictor, [photos], tmp_path / "out")
    assert decoded == ["a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg"]


def test_images_of_one_name_do_not_overwrite_each_other(
    scene: Image.Image, tmp_path: Path, predictor: Predictor
) -> None:
    for name in ("a/x.png", "a/x.jpg", "b/x.png", "a/x-2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        scene.save(tmp_path / name)
    predict_to_folder(predictor, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


def test_an_image_that_is_given_twice_has_two_results(
    photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    twice = [photos / "a.jpeg"] * 2
    assert len(list(predictor(twice))) == 2
    assert len(predict_to_folder(predictor, twice, tmp_path / "out")) == 2


def test_an_input_image_is_never_overwritten(photos: Path, predictor: Predictor) -> None:
    (photos / "d.PNG").rename(photos / "d.png")
    before = {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    predict_to_folder(predictor, [photos], photos)
    for name, content in before.items():
        assert (photos / name).read_bytes() == content
    assert (photos / "d-2.png").exists()


def test_predicting_twice_writes_the_same_files(photos: Path, tmp_path: Path, predictor: Predictor) -> None:
    def content() -> dict[str, bytes]:
        predict_to_folder(predictor, [photos], tmp_path / "out")
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    assert content() == content()
