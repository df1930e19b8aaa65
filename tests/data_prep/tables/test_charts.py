import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import LabelCounts, ShardReader
from data_prep.tables.charts import chart_svg, write_chart
from data_prep.tables.histograms import Histogram, histograms_of, short
from tests.data_prep.conftest import picture
from wordtree import WordTree

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def histograms(shards):
    return {histogram.file: histogram for histogram in histograms_of(ShardReader(shards), "train")}


def as_table(histogram):
    return {name: column.tolist() for name, column in zip(histogram.bins, histogram.counts.T, strict=True)}


# --- the numbers. The world has 6 images with 0, 1, 2, 0, 1 and 0 boxes, the first of them a crowd, and 6 with labels


def test_every_kind_of_histogram_is_there(histograms):
    assert sorted(histograms) == [
        "box_shapes.svg",
        "box_sizes.svg",
        "boxes_per_class.svg",
        "boxes_per_picture.svg",
        "classes_per_picture.svg",
        "evidence_by_depth.svg",
        "image_labels_per_class.svg",
        "picture_sizes.svg",
    ]


def test_boxes_are_counted_by_image_and_class_without_crowds(histograms):
    assert as_table(histograms["boxes_per_picture.svg"]) == {"0": [4], "1": [1], "2": [1]}
    assert as_table(histograms["classes_per_picture.svg"]) == {"0": [4], "1": [1], "2": [1]}
    assert as_table(histograms["boxes_per_class.svg"]) == {"1": [1], "2–3": [1]}  # a dog, two cats
    assert as_table(histograms["image_labels_per_class.svg"]) == {"2–3": [2]}
    assert "3 boxes of 2 classes" in histograms["boxes_per_class.svg"].fact


def test_sizes_and_shapes_are_those_of_the_pixels(histograms):
    sizes = as_table(histograms["box_sizes.svg"])  # 20 × 15 of 40 × 30 px: √300 = 17.3 of 40 px, 43 %
    assert {name: count for name, count in sizes.items() if count[0]} == {"35–50": [3]}
    shapes = as_table(histograms["box_shapes.svg"])
    assert {name: count for name, count in shapes.items() if count[0]} == {
        "1.4:1": [3]
    }  # 1.33 is nearer than 1
    assert as_table(histograms["picture_sizes.svg"]) == {"23–32": [0, 6], "32–45": [6, 0]}


def test_evidence_is_that_of_the_ledger(shards, histograms):
    label_counts = ShardReader(shards).label_counts
    expected = {}
    for node in range(len(label_counts.tree)):
        row = expected.setdefault(str(label_counts.tree.depth[node]), [0, 0, 0])
        row[("boxes", "image labels", "none").index(label_counts.supervision(node))] += 1
    assert as_table(histograms["evidence_by_depth.svg"]) == expected


def test_a_split_of_label_images_alone_has_no_charts_of_boxes(shards):
    from data_prep.dataset.index_file import read_index
    from data_prep.maintenance.relabel import relabel, write_relabelled
    from data_prep.maintenance.relabel_settings import change_of

    index = read_index(shards)
    change = change_of(index, ["sources.coco.split=val", "sources.labels.split=train"])
    write_relabelled(shards, relabel(shards, index, change))
    found = {histogram.file for histogram in histograms_of(ShardReader(shards), "train")}
    assert found == {"image_labels_per_class.svg", "evidence_by_depth.svg", "picture_sizes.svg"}


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(0, 3000), min_size=7, max_size=7))
def test_each_labelled_class_stands_in_the_bin_of_its_count(counts):
    from data_prep.tables.histograms import _of_labels

    histogram = _of_labels(np.array(counts), "boxes")
    assert histogram.counts.sum() == sum(count > 0 for count in counts)
    for name, number in as_table(histogram).items():
        if "k" not in name:
            low, _, high = name.partition("–")
            assert number == [sum(int(low) <= count <= int(high or low) for count in counts)]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1500, "1.5k"), (12_345, "12k"), (2_000_000, "2M")],
)
def test_large_numbers_are_short(number, text):
    assert short(number) == text


# --- the images


def made(counts, series=("boxes",), bins=None):
    counts = np.array(counts)
    names = bins or [str(number) for number in range(counts.shape[1])]
    return Histogram("made.svg", "Made <up> & shown", "a fact", "x", "y", names, series, counts)


def bars(svg):
    root = ElementTree.fromstring(svg)
    return [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]


def test_a_chart_is_one_file_that_needs_nothing_else(tmp_path, histograms):
    for histogram in histograms.values():
        path = write_chart(tmp_path, histogram)
        text = path.read_text(encoding="utf-8")
        assert ElementTree.fromstring(text).get("viewBox") == "0 0 760 420"
        assert not re.search(r"(href|src|url\(|@import)", text)
        assert histogram.fact.replace("'", "&#x27;") in text


@settings(max_examples=50, deadline=None)
@given(
    counts=st.integers(1, 30).flatmap(
        lambda bins: st.lists(
            st.lists(st.integers(0, 10**7), min_size=bins, max_size=bins), min_size=1, max_size=3
        )
    )
)
def test_bars_are_as_high_as_their_counts_and_stay_inside(counts):
    series = ("boxes", "image labels", "none")[: len(counts)]
    found = bars(chart_svg(made(counts, series)))
    assert len(found) == sum(count > 0 for row in counts for count in row)
    message = [int(bar.find(f"{SVG}title").text.split(": ")[1].split()[0].replace(",", "")) for bar in found]
    heights = [float(bar.get("height")) for bar in found]
    for bar in found:
        left, top = float(bar.get("x")), float(bar.get("y"))
        assert 60 <= left <= left + float(bar.get("width")) <= 740
        assert 100 <= top <= top + float(bar.get("height")) <= 349
    if message and max(message) > 0:
        scale = max(heights) / max(message)
        assert heights == pytest.approx([max(count * scale, 1) for count in message], abs=1.1)


def test_names_of_bins_do_not_overlap():
    root = ElementTree.fromstring(chart_svg(made([[1] * 30], bins=[f"{n}000–{n}999" for n in range(30)])))
    places = sorted(float(text.get("x")) for text in root.iter(f"{SVG}text") if text.text.endswith("999"))
    assert len(places) >= 5
    assert min(np.diff(places)) > 9 * 6.7


def test_titles_are_text_and_no_markup():
    assert "Made &lt;up&gt; &amp; shown" in chart_svg(made([[1]]))


# --- the command


def test_info_writes_charts_table_and_tree(shards, tmp_path, command):
    charts, table, tree = tmp_path / "charts", tmp_path / "ledger.csv", tmp_path / "tree.json"
    code, text, err = command("info", shards, "--charts", charts, "--csv", table, "--tree", tree)
    assert (code, err) == (0, "")
    assert len(list(charts.glob("*.svg"))) == 8
    assert WordTree.load(tree) == ShardReader(shards).tree
    assert len(table.read_text(encoding="utf-8").splitlines()) == 1 + len(WordTree.load(tree))
    assert "nodes with labels are deeper" not in text


def test_info_shows_so_much_of_a_tree_as_is_asked(shards, command):
    reader = ShardReader(shards)
    parent = reader.tree.names[reader.tree.parent[reader.tree.node("n02121808")]]
    _, text, _ = command("info", shards, "--under", parent)
    assert "n02121808" in text
    assert "n02958343" not in text
    _, text, _ = command("info", shards, "--depth", "0")
    assert "n02121808" not in text
    assert "nodes with labels are deeper: see --depth" in text
    code, _, err = command("info", shards, "--under", "unicorn")
    assert code == 2
    assert "unicorn" in err
    assert len(err.strip().splitlines()) == 1


def test_info_of_a_large_tree_shows_what_fits(shards, command, monkeypatch):
    monkeypatch.setattr("data_prep.tables.dataset_tables.SHOWN_NODES", 3)
    assert "nodes with labels are deeper" in command("info", shards)[1]


def test_info_reads_from_afar(shards, command):
    fsspec = pytest.importorskip("fsspec")
    for path in shards.glob("*.h5"):
        fsspec.filesystem("memory").pipe_file(f"/info/{path.name}", path.read_bytes())
    assert command("info", "memory://info", "--json")[1] == command("info", shards, "--json")[1]


def test_a_split_that_is_not_there_has_no_charts(shards, tmp_path, command):
    code, _, err = command("info", shards, "--charts", tmp_path / "charts", "--split", "val")
    assert code == 2
    assert "no split 'val'; there are: train" in err
    assert not (tmp_path / "charts").exists()


def test_an_empty_ledger_has_charts_of_what_there_is():
    from data_prep.tables.histograms import _supervision_by_depth

    histogram = _supervision_by_depth(LabelCounts(WordTree(["a", "b"], [-1, 0]), [0, 0], [0, 0]))
    assert as_table(histogram) == {"0": [0, 0, 1], "1": [0, 0, 1]}


def test_info_tells_what_each_source_gave(tmp_path, command):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        (tmp_path / "photos" / f"{index}.jpg").write_bytes(picture(index))
    (tmp_path / "labels.csv").write_text(
        "ImageID,Source,LabelName,Confidence\n0,x,/m/01yrx,1\n1,x,/m/01yrx,0\n2,x,/m/0bt9lr,0\n"
    )
    (tmp_path / "boxes.csv").write_text(
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
        "0,x,/m/01yrx,1,0.1,0.5,0.1,0.5,0,0,0,0,0\n"
    )
    (tmp_path / "names.csv").write_text("/m/01yrx,Cat\n/m/0bt9lr,Dog\n")
    source = {
        "name": "open",
        "format": "openimages",
        "images": "photos",
        "boxes": "boxes.csv",
        "labels": "labels.csv",
        "class_names": "names.csv",
    }
    (tmp_path / "map.yaml").write_text("open: {Cat: n02121808, Dog: n02084071}\n")
    (tmp_path / "merge.yaml").write_text(json.dumps({"sources": [source], "label_map": "map.yaml"}))
    assert command("merge", tmp_path / "merge.yaml", "-o", tmp_path / "out")[0] == 0
    (row,) = json.loads(command("info", tmp_path / "out", "--json")[1])["sources"]
    assert (row["images"], row["boxes"]) == (3, 1)
    assert (row["image_labels"], row["negative_labels"]) == (3, 2)
    assert row["exhaustive_labels"] == 1
    assert row["boxed_images"] >= 1
    assert "3 (2 negative)" in command("info", tmp_path / "out")[1]
