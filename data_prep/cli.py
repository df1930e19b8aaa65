"""The command `data-prep`: arguments, output and exit codes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_prep.errors import DataPrepError
from wordtree.errors import WordTreeError
from wordtree.support.commands import run_app
from wordtree.support.printing import print_json

if TYPE_CHECKING:
    from data_prep.config import MergeConfig
    from data_prep.planning.plan import Plan

app = typer.Typer(
    name="data-prep",
    help="Merge data sets into HDF5 shards with one tree of classes, and inspect them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

MergeFile = Annotated[Path, typer.Argument(metavar="MERGE.yaml", help="The data sets to merge, and how.")]
Shards = Annotated[Path, typer.Argument(metavar="SHARDS", help="A folder that `data-prep merge` wrote.")]
ShardsAnywhere = Annotated[
    str, typer.Argument(metavar="SHARDS", help="The folder, or an address that fsspec reads (s3://…).")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: sources.coco.split=val, seed=1, …"),
]
UnannotatedShare = Annotated[
    float | None,
    typer.Option(
        "--unannotated-share",
        "--unlabelled-share",
        help="Share of a training scene's objects without a box, 0 to 1.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Also replace inputs, and files that no command wrote or that were changed since."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


def main() -> None:
    """The console command."""
    run_app(app, DataPrepError, WordTreeError)


@app.command()
def plan(
    merge_yaml: MergeFile,
    overrides: Overrides = None,
    hash_: Annotated[
        bool, typer.Option("--hash", help="Also read the images, to find images with equal bytes.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read images, with --hash.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Show what a merge would do, without decoding images; write the label map of MERGE.yaml if it is missing."""
    from data_prep.config import MergeConfig
    from data_prep.planning.duplicates import find_planned_duplicates
    from data_prep.planning.left_out import LEFT_OUT_NAME, planned_rows, write_left_out
    from data_prep.tables.plan_tables import plan_json, print_plan
    from wordtree.support.config_files import load_config
    from wordtree.support.progress import ProgressBar

    config = load_config(merge_yaml, MergeConfig, overrides or ())
    new_map = None if config.label_map is None or config.label_map.exists() else config.label_map
    left_out = merge_yaml.with_name(LEFT_OUT_NAME)
    merge_plan = _plan_with_files(config, new_map=new_map, left_out=left_out)
    counts = dict(zip((source.name for source in merge_plan.sources), merge_plan.counts, strict=True))
    has_list = write_left_out(left_out, planned_rows(counts))
    duplicates = None
    if hash_:
        with ProgressBar("images", len(merge_plan.images)) as bar:
            duplicates = find_planned_duplicates(
                merge_plan.images, merge_plan.origins, threads=workers, progress=bar.advance
            )
    if as_json:
        _print_json(plan_json(merge_plan, duplicates))
    else:
        print_plan(merge_plan, new_map, duplicates, left_out if has_list else None)


def _plan_with_files(config: "MergeConfig", *, new_map: Path | None, left_out: Path) -> "Plan":
    """The plan, and the label map that does not exist yet; a merge that cannot be planned writes what explains it."""
    from data_prep.classes.label_map import write_label_map
    from data_prep.classes.matching import LabelMapError
    from data_prep.classes.tree_and_nodes import NothingToBuild
    from data_prep.planning.left_out import planned_rows, write_left_out
    from data_prep.planning.plan import NothingUsable, make_plan
    from wordtree.support.progress import ProgressBar

    try:
        with ProgressBar("images found") as bar:
            merge_plan = make_plan(config, bar.advance)
    except NothingUsable as nothing:
        if write_left_out(left_out, planned_rows({nothing.source: nothing.counts})):
            text = f"{nothing} {left_out} lists all that is left out."
            raise NothingUsable(text, nothing.source, nothing.counts) from None
        raise
    except NothingToBuild as nothing:
        if new_map is None:
            raise
        write_label_map(new_map, nothing.matches)
        raise LabelMapError(
            f"{nothing} Label map written to {new_map}: enter the nodes of the classes there."
        ) from None
    if new_map is not None:
        write_label_map(new_map, merge_plan.matches)
    return merge_plan


@app.command()
def merge(
    merge_yaml: MergeFile,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="SHARDS", help="The folder to write into.")],
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read and write images.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Merge data sets into a folder of shards; run the command again to resume an interrupted merge."""
    from data_prep.config import MergeConfig
    from data_prep.merging.merge import execute_plan
    from data_prep.planning.plan import make_plan
    from data_prep.tables.dataset_tables import index_json, print_merge
    from wordtree.support.config_files import load_config
    from wordtree.support.progress import ProgressBar

    config = load_config(merge_yaml, MergeConfig, overrides or ())
    with ProgressBar("images found") as bar:
        merge_plan = make_plan(config, bar.advance)
    with ProgressBar("images", len(merge_plan.images)) as bar:
        index = execute_plan(merge_plan, out, workers=workers, progress=bar.advance)
    if as_json:
        _print_json(index_json(index))
    else:
        print_merge(index, out)


@app.command()
def check(
    shards: Shards,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write a new index without the damaged images.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read shards.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Read every byte of the shards, and report every change since the merge and every damaged image."""
    from data_prep.dataset.index_file import read_index
    from data_prep.maintenance.check import check_shards
    from data_prep.maintenance.repair import repair as write_repaired
    from data_prep.shards.format import ShardError
    from data_prep.tables.check_tables import check_json, print_check, summary
    from wordtree.support.progress import ProgressBar

    index = read_index(shards)
    with ProgressBar("images", len(index)) as bar:
        bar.advance(0)
        report = check_shards(shards, index, workers=workers, progress=bar.advance)
    repaired = repair and bool(report.damages)
    if repaired:
        write_repaired(report)
    if as_json:
        _print_json(check_json(report, repaired=repaired))
    else:
        print_check(report, repaired=repaired)
    if report.damages and not repaired:
        raise ShardError(summary(report))


@app.command()
def relabel(
    shards: Shards,
    tree: Annotated[
        Path | None, typer.Option(metavar="TREE", help="Another tree: .tree, .json, .csv or .txt.")
    ] = None,
    label_map: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="MAP.yaml",
            help="The label map: used if the file exists; otherwise only written, for review.",
        ),
    ] = None,
    unmapped: Annotated[
        str | None, typer.Option(metavar="stop|drop", help="What to do with classes that have no node.")
    ] = None,
    exhaustive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=A,B", help="Classes for which a source is exhaustively annotated; may be empty."
        ),
    ] = None,
    vouches: Annotated[  # the former name of --exhaustive
        list[str] | None, typer.Option(metavar="SOURCE=A,B", hidden=True)
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=SPLIT", help="The split of a source, or shares: coco=train:0.9,val:0.1"),
    ] = None,
    overrides: Overrides = None,
    keep_tree: Annotated[
        bool, typer.Option("--keep-tree", help="Keep the tree, even if classes are mapped to other nodes.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Write the index and links to the shards into this folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a new index with another tree, label map, split or exhaustive annotation; reads no image."""
    from data_prep.classes.label_map import write_label_map
    from data_prep.dataset.index_file import read_index
    from data_prep.maintenance.relabel import relabel as relabel_index
    from data_prep.maintenance.relabel import write_relabelled
    from data_prep.maintenance.relabel_settings import change_of, exhaustive_override, split_override
    from data_prep.tables.relabel_tables import print_relabelled, print_review, relabel_json

    index = read_index(shards)
    settings = _given(tree=tree, label_map=label_map, unmapped=unmapped)
    all_overrides = [
        *(overrides or ()),
        *map(exhaustive_override, [*(exhaustive or ()), *(vouches or ())]),
        *map(split_override, split or ()),
    ]
    relabelled = relabel_index(
        shards, index, change_of(index, all_overrides, **settings), keep_tree=keep_tree
    )
    is_review = label_map is not None and not label_map.exists()
    if label_map is not None and is_review:
        write_label_map(label_map, relabelled.matches)
    else:
        write_relabelled(shards, relabelled, out)
    if as_json:
        _print_json(relabel_json(index, relabelled, written=not is_review))
    elif label_map is not None and is_review:
        print_review(relabelled, label_map)
    else:
        print_relabelled(index, relabelled, out or shards, replaces=out is None)


@app.command()
def info(
    shards: ShardsAnywhere,
    under: Annotated[
        str | None, typer.Option(metavar="NODE", help="Only this node and the nodes below it.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Number of levels to show; by default as many as fit.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the label counts of all nodes as a table.")] = None,
    tree: Annotated[Path | None, typer.Option(help="Write the tree to FILE.json, for `wordtree`.")] = None,
    charts: Annotated[Path | None, typer.Option(help="Write histograms as SVG files into a folder.")] = None,
    split: Annotated[str, typer.Option(help="Split that the charts show.")] = "train",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show the label counts and the supervision (boxes, image labels or none) of each node."""
    from data_prep.dataset.index import label_counts_of
    from data_prep.dataset.index_file import read_index
    from data_prep.dataset.storage import files_of_shards
    from data_prep.tables.dataset_tables import index_json, print_info
    from wordtree.support.outputs import write_outputs
    from wordtree.tree.lookup import node_of

    index = read_index(shards)
    node = None if under is None else node_of(under, index.tree)
    contents: dict[Path, str] = {}
    if csv is not None:
        contents[csv] = label_counts_of(index).csv_text()
    if tree is not None:
        contents |= index.tree.file_texts(tree)
    if charts is not None:
        contents |= _chart_files(shards, split, charts)
        charts.mkdir(parents=True, exist_ok=True)
    write_outputs(contents, inputs=files_of_shards(shards), overwrite=overwrite)
    if as_json:
        _print_json(index_json(index))
    else:
        print_info(index, node, depth)


@app.command()
def anchors(
    shards: ShardsAnywhere,
    k: Annotated[
        int | None, typer.Option("-k", min=1, max=100, help="Number of anchors; 5 by default.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the network's input, px.")] = 416,
    stride: Annotated[int, typer.Option(min=1, help="Side of a grid cell, px.")] = 32,
    split: Annotated[str, typer.Option(help="The split whose boxes are clustered.")] = "train",
    seed: Annotated[int, typer.Option(help="Seed of the restarts of k-means.")] = 0,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Try 1 to 15 anchors; without -k, choose the elbow.")
    ] = False,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the result of a sweep, with the elbow.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Cluster the sizes of the boxes into anchors, in grid cells."""
    from data_prep.anchors import box_sizes_px, elbow, kmeans_anchors, sweep_anchors
    from data_prep.dataset.reader import ShardReader
    from data_prep.dataset.storage import files_of_shards
    from data_prep.tables.anchor_tables import AnchorResult, anchors_json, print_anchors
    from data_prep.tables.charts import sweep_svg
    from wordtree.support.outputs import check_outputs, write_outputs

    inputs = files_of_shards(shards)
    check_outputs([chart] if chart else [], inputs=inputs, overwrite=overwrite)
    boxes_cell = box_sizes_px(ShardReader(shards), split, size) / stride
    swept = sweep_anchors(boxes_cell, seed=seed) if sweep or chart else {}
    count = k or (elbow(swept) if swept else 5)
    chosen = swept.get(count) or kmeans_anchors(boxes_cell, count, seed)
    if chart is not None:
        ious = {number: clusters.average_iou for number, clusters in swept.items()}
        write_outputs({chart: sweep_svg(ious, elbow(swept))}, inputs=inputs, overwrite=overwrite)
    result = AnchorResult(chosen, swept, len(boxes_cell), size, stride, split)
    if as_json:
        _print_json(anchors_json(result))
    else:
        print_anchors(result)


@app.command()
def emoji_world(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write into: new or empty.")],
    seed: Annotated[int | None, typer.Option(help="Another seed draws other images.")] = None,
    scenes: Annotated[int | None, typer.Option(help="Training images with boxes.")] = None,
    test_scenes: Annotated[
        int | None, typer.Option(help="Test images, with the boxes of all classes.")
    ] = None,
    labels_per_class: Annotated[int | None, typer.Option(help="Label images of each class.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square images, px.")] = None,
    unannotated_share: UnannotatedShare = None,
    drawings: Annotated[
        Path | None,
        typer.Option(help="Folder of PNG files named by code point; by default Twemoji's."),
    ] = None,
    pictures: Annotated[Path | None, typer.Option(hidden=True)] = None,  # the former name of --drawings
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
) -> None:
    """Draw a data set of emoji scenes and label images, ready to merge; a detector learns it in minutes."""
    from data_prep.synthetic.emoji_plan import EmojiWorldConfig
    from data_prep.synthetic.emoji_world import write_emoji_world
    from wordtree.support.config_files import validate

    settings = _given(
        seed=seed,
        scenes=scenes,
        test_scenes=test_scenes,
        labels_per_class=labels_per_class,
        size_px=size,
        unannotated_share=unannotated_share,
        drawings=drawings or pictures,
    )
    write_emoji_world(out, validate(settings, EmojiWorldConfig, where="emoji-world"), workers=workers)
    typer.echo(f"{out}: merge it with `data-prep merge {out / 'merge.yaml'} -o shards/`")


@app.command()
def mosaic_world(
    photographs: Annotated[
        Path, typer.Argument(metavar="PHOTOGRAPHS", help="A folder in Tiny ImageNet's layout.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write into: new or empty.")],
    seed: Annotated[
        int | None, typer.Option(help="Another seed chooses other boxed classes and draws other scenes.")
    ] = None,
    scenes: Annotated[int | None, typer.Option(help="Training images with boxes.")] = None,
    test_scenes: Annotated[
        int | None, typer.Option(help="Test images, with the boxes of all classes.")
    ] = None,
    labels_per_class: Annotated[
        int | None, typer.Option(help="Label images of each class; all by default.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square scenes, px.")] = None,
    unannotated_share: UnannotatedShare = None,
) -> None:
    """Paste photographs of single objects into scenes: half of the classes get boxes, the others image labels."""
    from data_prep.synthetic.mosaic_world import MosaicWorldConfig, write_mosaic_world
    from wordtree.support.config_files import validate

    settings = _given(
        seed=seed,
        scenes=scenes,
        test_scenes=test_scenes,
        labels_per_class=labels_per_class,
        size_px=size,
        unannotated_share=unannotated_share,
    )
    write_mosaic_world(photographs, out, validate(settings, MosaicWorldConfig, where="mosaic-world"))
    typer.echo(f"{out}: merge it with `data-prep merge {out / 'merge.yaml'} -o shards/`")


def _chart_files(shards: str, split: str, folder: Path) -> dict[Path, str]:
    """The charts of a split as the contents of files."""
    from data_prep.dataset.reader import ShardReader
    from data_prep.tables.charts import histogram_svg
    from data_prep.tables.histograms import histograms_of

    histograms = histograms_of(ShardReader(shards), split)
    return {folder / histogram.file: histogram_svg(histogram) for histogram in histograms}


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given, by the names of their settings."""
    return {name: value for name, value in options.items() if value is not None}


def _print_json(value: Any) -> None:
    print_json(value, indent=1)
