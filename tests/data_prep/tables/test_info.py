"""`data-prep info`: tables, charts and JSON of a merged data set."""

import json

import pytest

from data_prep import ShardReader
from tests.data_prep.conftest import encoded_image
from wordtree import WordTree


def test_info_writes_charts_table_and_tree(shards, tmp_path, command):
    charts, table, tree = tmp_path / "charts", tmp_path / "counts.csv", tmp_path / "tree.json"
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


def test_info_tells_what_each_source_gave(tmp_path, command):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        (tmp_path / "photos" / f"{index}.jpg").write_bytes(encoded_image(index))
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
