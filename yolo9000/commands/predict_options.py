"""The options of `yolo9000 predict` and `yolo9000 query`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from yolo9000.commands.shared import AsJson


class FormatChoice(StrEnum):
    jsonl = "jsonl"
    json = "json"
    coco = "coco"
    csv = "csv"
    yolo = "yolo"
    megadetector = "megadetector"


class PrecisionChoice(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    auto = "auto"


Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Checkpoint: runs/NAME/best.pt; or NAME.onnx of `yolo9000 export`."),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES", help="Images, folders, patterns, lists of paths (.txt), addresses, videos."
    ),
]
QueriedImages = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[IMAGES]", help="Images, folders, patterns, lists, addresses, videos; with a MODEL."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", help="Folder for detections.jsonl, files in the chosen format, and annotated images."
    ),
]
ResultFormat = Annotated[
    FormatChoice | None,
    typer.Option(
        "--format", help="Format of the results: in the folder of -o (json by default), else on stdout."
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        min=0, max=1, help="Smallest objectness × P(most general class); of a query, × P(any of its nodes)."
    ),
]
MinAbsolute = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Absolute probability that a more specific class must exceed. Higher: more general classes, "
        "which are more probable and so have higher scores.",
    ),
]
Accuracy = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Requested accuracy: share of predicted classes that must be correct, such as 0.95; "
        "`yolo9000 calibrate` must have been run for it.",
    ),
]
NmsIou = Annotated[
    float | None,
    typer.Option("--nms-iou", min=0, max=1, help="IoU above which a better box suppresses another."),
]
MaxDetections = Annotated[int | None, typer.Option(min=1, help="Largest number of detections in an image.")]
Size = Annotated[
    int | None, typer.Option(min=1, metavar="PX", help="Side of the input; by default the model's.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default the GPU if there is one.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Number of images in a batch of the network.")]
PrecisionOption = Annotated[
    PrecisionChoice | None, typer.Option(help="auto: bfloat16 where the device supports it.")
]
EngineName = Annotated[
    str | None,
    typer.Option(
        metavar="ENGINE",
        help="torch (default), onnxruntime, openvino, torch_compile; auto: the fastest that is installed, and the "
        "default of predict for an .onnx file (docs/predicting.md).",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        metavar="CHOICE",
        help="Only predict these classes: a file with one on each line, coco, voc, depth:3 (all down to depth 3), or "
        "an expression.",
    ),
]
Regions = Annotated[Path | None, typer.Option(help="YAML file with the classes that occur in regions.")]
RegionCode = Annotated[str | None, typer.Option(metavar="CODE", help="Only predict classes of this region.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Also take images in subfolders.")]
Every = Annotated[
    float | None, typer.Option(min=0, metavar="SECONDS", help="Time between the frames taken of a video.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder of -o.")]
Part = Annotated[
    str | None,
    typer.Option(metavar="K/N", help="Only part K of N parts of the images, which are about equal."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results of another run.")]
Report = Annotated[
    bool, typer.Option("--report", help="Also write the page report.html into the folder of -o.")
]
Store = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Also store the results in an SQLite file, for `yolo9000 query`."),
]
PrintCounts = Annotated[
    bool, typer.Option("--counts", help="Print the number of detections of each class, by depth.")
]
Files = Annotated[
    bool, typer.Option("--files", help="Print the names of images with detections, the best first.")
]
Sheet = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the best images with their boxes on one page (.jpg, .png)."),
]
NoAnnotated = Annotated[bool, typer.Option("--no-images", help="Write no annotated images.")]


OF_PREDICT = ("min_absolute", "accuracy")
OF_QUERY = ("counts", "files", "sheet")


@dataclass(frozen=True)
class Options:
    """The options of both commands. Each field is a parameter of a command (`with_options`)."""

    out: Out = None
    format: ResultFormat = None
    min_score: MinScore = None
    min_absolute: MinAbsolute = None  # of predict
    accuracy: Accuracy = None  # of predict
    nms_iou: NmsIou = None
    max_detections: MaxDetections = None
    size: Size = None
    device: Device = None
    batch: BatchSize = None
    precision: PrecisionOption = None
    engine: EngineName = None
    classes: Classes = None
    regions: Regions = None
    region: RegionCode = None
    recursive: Recursive = False
    every: Every = None
    resume: Resume = False
    part: Part = None
    overwrite: Overwrite = False
    no_images: NoAnnotated = False
    report: Report = False
    store: Store = None
    counts: PrintCounts = False  # of query, as the next two
    files: Files = False
    sheet: Sheet = None
    as_json: AsJson = False

    @property
    def is_summarised(self) -> bool:
        """Whether counts, files or a sheet are wanted instead of a line for each image."""
        return self.counts or self.files or self.sheet is not None

    def changes(self) -> dict[str, Any]:
        """The fields of PredictConfig that were given."""
        given = {
            "min_score": self.min_score,
            "min_absolute": self.min_absolute,
            "nms_iou": self.nms_iou,
            "max_detections": self.max_detections,
            "input_size_px": self.size,
            "batch_size": self.batch,
            "precision": self.precision,
        }
        return {name: value for name, value in given.items() if value is not None}


def with_options(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace the parameter `options` of a command by a parameter for each field of Options that is not left out."""
    types = get_type_hints(Options, include_extras=True)
    chosen = [field for field in fields(Options) if field.name not in left_out]
    parameters = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
        for field in chosen
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_parameters(**given: Any) -> None:
            options = Options(**{field.name: given.pop(field.name) for field in chosen})
            command(**given, options=options)

        own = [
            each for each in signature(command, eval_str=True).parameters.values() if each.name != "options"
        ]
        expanded = Signature([*own, *parameters])
        with_parameters.__signature__ = expanded  # type: ignore[attr-defined]
        with_parameters.__annotations__ = {
            each.name: each.annotation for each in expanded.parameters.values()
        }
        return with_parameters

    return decorate
