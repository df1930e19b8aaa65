"""Settings of training data and of augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from wordtree.support.config_files import ConfigLocation, ConfigPath, StrictModel
from yolo9000.config.values import Share


class DataConfig(StrictModel):
    """Training data: shards, batches and the mixture of sources."""

    old_names: ClassVar[Mapping[str, str]] = {"balance": "repeat_factor_power"}

    # Folder that `data-prep merge` wrote, relative to the configuration file, or an address that fsspec reads: s3://…
    shards: ConfigLocation
    # Split to train on.
    train_split: str = "train"
    # Images in a step, summed over all processes. Darknet's yolo9000.cfg: batch=64.
    batch_size: PositiveInt = 64
    # Parts of a batch that are computed one after another to save memory. Darknet: subdivisions.
    accumulate: PositiveInt = 1
    # Relative number of images from each source, for example {coco: 1, imagenet: 4}; None: the ratio of the merge.
    ratio: dict[str, PositiveFloat] | None = None
    # Repeat-factor sampling within a source: 0 shows each image once per epoch, 1 shows rare nodes as often as common
    # ones (decision 23).
    repeat_factor_power: Share = 0.0
    # Use only this many images of each source, evenly spaced, for trial runs and overfitting tests.
    limit: PositiveInt | None = None
    # Number of different batches, which training then repeats in turn; None: every batch is new. With a frozen backbone
    # (model.freeze: all), its features of these batches are computed once and kept (decision 37).
    distinct_batches: PositiveInt | None = None
    # Unreadable images that are replaced by others before the run stops (decision 30).
    max_damaged: int = Field(10, ge=0)
    # Threads that decode and augment images.
    loader_threads: PositiveInt = 2
    # Text file with the authors and licences of the images, for report.html, which shows images.
    attribution: ConfigPath | None = None


class AugmentConfig(StrictModel):
    """Augmentation of a detector's images. Defaults are Darknet's; tiles are off (decision 5).

    A *tile* is an image of the tile sources, or a crop of another image, that is shrunk onto a canvas, put into a
    mosaic or pasted into another image. The *other sources* are those that are not tile sources.
    """

    old_names: ClassVar[Mapping[str, str]] = {"mosaic_cuts": "mosaic_crops", "scene_cuts": "scene_crops"}

    # Largest change of width and height in the random crop, as a share. Darknet's yolo9000.cfg: .2.
    jitter: float = Field(0.2, ge=0, lt=1)
    # Flip half of the images horizontally.
    flip: bool = True
    # Largest shift of the hue, as a share of the colour circle. Darknet's yolov2.cfg: .1.
    hue: float = Field(0.1, ge=0, le=0.5)
    # Largest factor for the saturation, or its inverse. Darknet's yolov2.cfg: 1.5.
    saturation: float = Field(1.5, ge=1)
    # Largest factor for the brightness, or its inverse. Darknet's yolov2.cfg: 1.5.
    exposure: float = Field(1.5, ge=1)
    # Sources whose images may become tiles; None: all sources without boxes.
    tile_sources: tuple[str, ...] | None = None
    # Share of the tile sources' images that are shrunk, so that their objects have the size of boxed objects.
    zoom_out: Share = 0.0
    # Range of a shrunk image's side, as a share of the canvas.
    zoom_out_side: tuple[PositiveFloat, PositiveFloat] = (0.35, 0.75)
    # Largest share of its side by which a single tile may reach over the edge of the canvas, as objects in scenes do.
    tile_overhang: float = Field(0.0, ge=0, le=0.5)
    # Share of the shrunk images that are placed on an image of the other sources, with its boxes, instead of on grey.
    zoom_out_onto: Share = 0.0
    # Share of the tile sources' images that are put into a 2×2 mosaic.
    mosaic: Share = 0.0
    # Share of a mosaic's other three tiles that are crops of the other sources' images, around one of their boxes.
    mosaic_crops: Share = 0.0
    # Share of the other sources' images that get a tile pasted in.
    paste: Share = 0.0
    # Share of the pasted tiles that are replaced by a crop around a box of the other sources, and of the tiles of
    # `zoom_out_onto` that get such a crop beside them.
    scene_crops: Share = 0.0
    # Largest width of the soft edge of a tile on another image, as a share of the tile's side.
    soft_edges: float = Field(0.0, ge=0, le=0.5)
    # Smallest side of a box after the crop, as a share of the image; smaller boxes are dropped. Darknet: .001.
    min_box_side: Share = 0.001

    @model_validator(mode="after")
    def _shares_fit(self) -> AugmentConfig:
        if self.mosaic + self.zoom_out > 1:
            raise ValueError(
                "mosaic and zoom_out are shares of the same images, at most 1 together, "
                f"found {self.mosaic + self.zoom_out:g}"
            )
        least, most = self.zoom_out_side
        if not least <= most <= 1:
            raise ValueError(f"zoom_out_side must be [least, most], at most 1, found {[least, most]}")
        return self


class CropConfig(StrictModel):
    """Augmentation of a classifier's images. Defaults are those of Darknet's darknet19.cfg."""

    old_names: ClassVar[Mapping[str, str]] = {"cut_boxes": "crop_boxes"}

    # Also train on images with boxes, with a crop around one of their boxes (decision 32).
    crop_boxes: bool = False
    # Range of the shorter side after scaling, in input sides; a square of the input size is cropped from the scaled
    # image. Darknet: min_crop=128 and max_crop=448 for an input of 256.
    shorter_side: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.75)
    # Largest factor for the ratio of width to height, or its inverse. Darknet: .75.
    aspect: float = Field(1.33, ge=1)
    # Largest rotation in degrees, in both directions. Darknet: 7.
    angle: float = Field(7.0, ge=0, le=180)
    # Flip half of the images horizontally.
    flip: bool = True
    # Largest shift of the hue, as a share of the colour circle. Darknet: .1.
    hue: float = Field(0.1, ge=0, le=0.5)
    # Largest factor for the saturation, or its inverse. Darknet: .75.
    saturation: float = Field(1.33, ge=1)
    # Largest factor for the brightness, or its inverse. Darknet: .75.
    exposure: float = Field(1.33, ge=1)

    @model_validator(mode="after")
    def _shorter_side_is_a_range(self) -> CropConfig:
        if self.shorter_side[0] > self.shorter_side[1]:
            raise ValueError(f"shorter_side must be [least, most], found {list(self.shorter_side)}")
        return self
