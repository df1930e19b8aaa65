"""The models of MERGE.yaml; `wordtree.support.config_files` reads such a file."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from wordtree.support.config_files import ConfigPath, StrictModel


class BuiltTree(StrictModel):
    """A tree built from WordNet for this merge."""

    from_sources: bool = True  # the classes of the sources are labels of the tree
    labels: ConfigPath | None = None  # a file with further labels, one per line: words, synset names or wnids
    profile: str = "paper"
    root: str = "physical_entity.n.01"  # the synset whose children are the roots


def _form_of_tree(value: Any) -> str:
    if value == FLAT:
        return FLAT
    return "built" if isinstance(value, (Mapping, BuiltTree)) else "file"


FLAT = "flat"  # a tree of one level, whose nodes are the names of the classes
TreeSetting = Annotated[
    Annotated[ConfigPath, Tag("file")]
    | Annotated[BuiltTree, Tag("built")]
    | Annotated[Literal["flat"], Tag("flat")],
    Discriminator(_form_of_tree),
]


def _sum_to_one(shares: dict[str, float]) -> dict[str, float]:
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"expected shares that sum to 1, found {sum(shares.values()):g}")
    return shares


def _name_or_shares(value: Any) -> str:
    return "shares" if isinstance(value, Mapping) else "name"


SplitName = Annotated[str, Field(min_length=1)]
SplitSetting = Annotated[
    Annotated[SplitName, Tag("name")]
    | Annotated[dict[SplitName, Annotated[float, Field(gt=0)]], AfterValidator(_sum_to_one), Tag("shares")],
    Discriminator(_name_or_shares),
]


def _names_or_file(value: Any) -> str:
    return "names" if isinstance(value, Sequence) and not isinstance(value, str) else "file"


Names = Annotated[
    Annotated[ConfigPath, Tag("file")] | Annotated[tuple[str, ...], Tag("names")],
    Discriminator(_names_or_file),
]
"""Names in a list, or a text file with one name per line."""


class ClassSelection(StrictModel):
    """The classes that stay. Labels of other classes are counted, and the label map has the reason.

    `keep` alone keeps only these classes; with `top` or `min_images`, it adds them to the others.
    """

    # The classes with the most images (the paper: 9000 of ImageNet).
    top: Annotated[int, Field(gt=0)] | None = None
    min_images: Annotated[int, Field(gt=0)] | None = None  # classes with at least this many images
    keep: Names = ()  # class names or ids of nodes
    drop: Names = ()


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"expected letters, digits, `_`, `-` and `.`, found {name!r}")
    return name


Exif = Literal["auto", "upright", "stored"]


OWN = "own"
OWN_SPLITS: Mapping[str, float] = {"train": 0, "val": 0, "test": 0}


class _Source(StrictModel):
    name: Annotated[str, AfterValidator(_plain_name)]
    split: SplitSetting = "train"  # or shares, drawn by the seed: {train: 0.9, val: 0.1}
    repeat: Annotated[float, Field(gt=0)] = 1.0  # how often an epoch shows each image
    max_images: Annotated[int, Field(gt=0)] | None = None  # for trials: a sample, drawn by the seed
    classes: ClassSelection = ClassSelection()  # of this source, by its images
    # The image to which the boxes refer: rotated by EXIF (upright), or the stored pixels. auto: the one that has the
    # stated size, for all images of the source that state one; if no size decides, upright.
    exif: Exif = "auto"

    @property
    def split_shares(self) -> Mapping[str, float]:
        """Shares of the source's images by split; shares of 0: the name of an image begins with its split."""
        return self.split if isinstance(self.split, dict) else {self.split: 1.0}


class _BoxSource(_Source):
    old_names: ClassVar[Mapping[str, str]] = {"vouches": "exhaustive"}

    # Classes or ids for which every object has its box; None: as the format guarantees.
    exhaustive: tuple[str, ...] | None = None


class CocoSource(_BoxSource):
    """Boxes from a COCO instances file; Objects365 has its images in patch folders."""

    format: Literal["coco", "objects365"]
    images: ConfigPath  # the folder of the images
    annotations: ConfigPath


class LvisSource(_BoxSource):
    """Boxes from an LVIS file, which lists for each image the classes that annotators searched for."""

    format: Literal["lvis"]
    images: ConfigPath  # the folder of the images
    annotations: ConfigPath


# The number of the first pixel of an image; "edges": corners are edges of the box and not pixels.
FirstPixel = Literal[0, 1, "edges"]


class VocSource(_BoxSource):
    """Boxes from PASCAL VOC or ILSVRC XML files, one for each image."""

    format: Literal["voc"]
    images: ConfigPath  # the folder of the images
    annotations: ConfigPath  # the folder of the XML files, at any depth
    image_list: ConfigPath | None = None  # only the images named here (ImageSets/…/train.txt)
    first_pixel: FirstPixel | None = None  # by default 1, and 0 for ILSVRC; fractional corners are edges


class OpenImagesSource(_BoxSource):
    """Boxes and verified image labels from the CSV files of OpenImages."""

    format: Literal["openimages"]
    images: ConfigPath  # the folder of the images
    boxes: ConfigPath | None = None  # …-annotations-bbox.csv
    labels: ConfigPath | None = None  # …-annotations-human-imagelabels.csv: 1 shows the class, 0 does not
    class_names: ConfigPath | None = None  # class-descriptions.csv: id, name

    @model_validator(mode="after")
    def _has_labels(self) -> Self:
        if self.boxes is None and self.labels is None:
            raise ValueError("give `boxes`, `labels` or both")
        return self


class YoloSource(_BoxSource):
    """Boxes from text files: `class x y width height` in the unit square."""

    format: Literal["yolo"]
    data: ConfigPath | None = None  # data.yaml with `names` and the images of each split; or else:
    images: ConfigPath | None = None
    class_names: ConfigPath | None = None  # data.yaml with `names`, or a text file with one name per line
    # The folder of the text files; None: `images` in the path read as `labels`, or else beside the images.
    labels: ConfigPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_of_data(cls, values: Any) -> Any:
        """With `data`, the default of `split` is `own`: the splits of the data.yaml."""
        if isinstance(values, Mapping) and values.get("data") is not None:
            return {"split": OWN, **values}
        return values

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if self.data is None and (self.images is None or self.class_names is None):
            raise ValueError("give `data` (a data.yaml with `train:`), or `images` and `class_names`")
        if self.data is not None and (self.images or self.class_names or self.labels):
            raise ValueError("`data` stands for `images`, `class_names` and `labels`; give either")
        return self

    @property
    def split_shares(self) -> Mapping[str, float]:
        """Shares of the source's images by split; those of a data.yaml are 0, as it names the split of each image."""
        return OWN_SPLITS if self.data is not None and self.split == OWN else super().split_shares


CsvColumn = Literal[
    "image",
    "class",
    "xmin",
    "ymin",
    "xmax",
    "ymax",
    "x",
    "y",
    "width",
    "height",
    "bbox",
    "positive",
    "ignored",
]


class CsvSource(_BoxSource):
    """Boxes or image labels from a table with a header, one line for each box or label."""

    format: Literal["csv"]
    images: ConfigPath  # the folder of the images
    annotations: ConfigPath
    columns: dict[CsvColumn, str] = Field(default_factory=dict)  # our name: name in the table
    # Of corners: pixels, or shares of width and height; by default shares if all lie in 0..1.
    unit: Literal["px", "unit"] | None = None


class ImageNetSource(_BoxSource):
    """Image labels from a folder or tar for each class, or a tar of tars."""

    format: Literal["imagenet"]
    images: ConfigPath  # the folder of the classes, or the tar
    class_folder: Literal["top", "deepest"] = (
        "top"  # deepest: the folder of the image (kingdom/…/species/a.jpg)
    )
    boxes: ConfigPath | None = None  # a folder of XML files with the boxes of some images (CLS-LOC)


Source = Annotated[
    CocoSource | LvisSource | VocSource | OpenImagesSource | YoloSource | CsvSource | ImageNetSource,
    Field(discriminator="format"),
]


class MergeConfig(StrictModel):
    """MERGE.yaml: the data sets to merge, the tree, and the packing of the shards."""

    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"unreadable": {"skip": "drop"}}

    sources: tuple[Source, ...]
    tree: TreeSetting = BuiltTree()  # a .tree, .json, .csv or .txt file, or how to build one
    label_map: ConfigPath | None = None  # read if it exists; else `data-prep plan` writes it for review
    proposals: Literal["review", "accept"] = "review"  # the proposed nodes of ambiguous and unknown classes
    # Classes that WordNet lacks, each with its parent: an id, a word, another custom class, or `root`.
    custom_classes: dict[str, str] = Field(default_factory=dict)
    unmapped: Literal["stop", "drop"] = "stop"  # classes that have no node
    classes: ClassSelection = ClassSelection()  # of the classes that stay in their sources, by all images
    ratio: dict[str, Annotated[float, Field(gt=0)]] | None = None  # shares of the sources in an epoch
    duplicates: Literal["stop", "keep", "drop"] = (
        "stop"  # equal images; stop: only if they are in different splits or sources
    )
    unreadable: Literal["stop", "drop"] = "drop"  # images that cannot be decoded
    shard_mb: Annotated[float, Field(gt=0)] = 256  # larger: fewer files; smaller: less memory
    resize_max: Annotated[int, Field(ge=16)] | None = None  # px; longer sides are shrunk to it
    quality: Annotated[int, Field(ge=1, le=100)] = 95  # of images that are encoded as JPEG
    # Leave out EXIF data (positions, times, names, serial numbers), XMP, comments and texts; the pixels stay the same.
    strip_metadata: bool = False
    seed: int = 0  # of `max_images` and of splits by shares

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [source.name for source in self.sources]
        if not names:
            raise ValueError("sources is empty; name at least one data set")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two sources are named {', '.join(map(repr, twice))}; each name may be used once"
            )
        if unknown := sorted(set(self.ratio or ()) - set(names)):
            raise ValueError(f"ratio names {', '.join(map(repr, unknown))}, which is not a source")
        if self.ratio and any(source.repeat != 1 for source in self.sources):
            raise ValueError("ratio and repeat exclude each other: ratio sets the repeats")
        return self
