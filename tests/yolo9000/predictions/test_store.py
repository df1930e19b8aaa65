"""Results in SQLite: queries equal those in memory, several writers, hostile names, and no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.yolo9000.made import random_tree
from wordtree.tree.query import QueryError
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import Detections
from yolo9000.predictions.contact_sheet import write_contact_sheet
from yolo9000.predictions.query_output import QueryOutput, print_query, write_matches
from yolo9000.predictions.result_log import ResultsError
from yolo9000.predictions.store import ResultStore, StoreWriter, is_store, remove_store

IDENTITY = {"model_sha256": "ab", "min_score": 0.2}


def made_records(tree: WordTree, images: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Records with up to five random detections each."""
    rng = np.random.default_rng(seed)
    records = []
    for image in range(images):
        count = int(rng.integers(0, 6))
        node, score = rng.integers(0, len(tree), count), np.sort(rng.random(count))[::-1]
        low = rng.random((count, 2)) * 40
        detections = Detections(
            tree=tree,
            image=f"cards/{image}.jpg",
            image_size_px=(64, 48),
            xyxy_px=np.concatenate([low, low + rng.random((count, 2)) * 8], axis=1),
            node=node,
            objectness=rng.uniform(score, 1),
            absolute=rng.random(count),
            score=score,
            conditional=tuple(np.full(tree.depth[one] + 1, 0.9) for one in node),
        )
        records.append(detections.to_dict())
    return records


def stored(path: Path, tree: WordTree, records: list[dict[str, Any]], **options: Any) -> Path:
    with StoreWriter(path, tree, IDENTITY, **options) as writer:
        for record in records:
            if not writer.take_earlier_result((record["image"], record.get("frame"))):
                writer.add(record)
    return path


EXPRESSIONS = (
    "own1",
    "own0 & !own7",
    "own0 & score >= 0.3",
    "!(own0 & score >= 0.3)",
    "(own1 & score > 0.5) | (own2 & area < 20)",
    "leaf & objectness > 0.9 & absolute <= 0.5",
    "score > 2",
    "depth >= 0",
    "!(own1 | !(score = 0.5) | leaf) | depth = 1 & score != 0.1",
    "depth > 90",
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_stored_query_finds_what_a_query_in_memory_finds(tmp_path: Path, expression: str) -> None:
    tree = random_tree(60)
    records = made_records(tree, 150)
    expected: dict[str, list[int]] = {}
    counts = np.zeros(len(tree), np.int64)
    for record in records:
        found = Detections.from_dict(record, tree)
        kept = found.select(expression)
        np.add.at(counts, kept.node, 1)
        ranks = [rank for rank in range(len(found)) if len(found[rank].select(expression))]
        if ranks:
            expected[record["image"]] = ranks
    with ResultStore.open(stored(tmp_path / "r.sqlite", tree, records)) as store:
        query = store.query(expression)
        matches = query.matches()
        assert query.counts().tolist() == counts.tolist()
        assert {match.record["image"]: list(match.ranks) for match in matches} == expected
        assert query.count_matching_images() == len(expected)
        scores = [match.best_score for match in matches]
        assert scores == sorted(scores, reverse=True)
        assert [match.record for match in query.matches(3)] == [match.record for match in matches[:3]]
        for level in query.counts_by_level():
            for node, number in level:
                assert number == counts[tree.descendants(node)].sum() + counts[node]


ENDLESS = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS name, x AS value FROM c"
)
SPOILED = {
    "a view without end": f"DROP TABLE facts; CREATE VIEW facts AS {ENDLESS}",
    "no index": "DROP INDEX by_class",
    "a trigger": "CREATE TRIGGER t AFTER DELETE ON images BEGIN DELETE FROM facts; END",
    "no tree": "DELETE FROM facts WHERE name = 'tree'",
    "another tree": "UPDATE facts SET value = '[]' WHERE name = 'tree'",
    "an identity that is a list": "UPDATE facts SET value = '[1]' WHERE name = 'identity'",
    "a deep identity": "UPDATE facts SET value = replace(hex(zeroblob(9999)), '0', '[') WHERE name = 'identity'",
    "records that are no JSON": "UPDATE images SET record = '{'",
    "records without sizes": "UPDATE images SET record = json_remove(record, '$.width_px')",
    "records of three corners": "UPDATE images SET record = json_remove(record, '$.detections[0].xyxy_px[0]')",
    "scores that are texts": "UPDATE detections SET score = 'x'",
    "detections of other images": "UPDATE detections SET image = image + 100",
    "other ranks": "UPDATE detections SET rank = rank + 7",
    "texts that are not UTF-8": "UPDATE images SET record = CAST(x'ff' AS TEXT)",
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_store_that_a_stranger_has_changed_is_refused_in_one_line(tmp_path: Path, spoil: str) -> None:
    import sqlite3

    tree = random_tree(20)
    path = stored(
        tmp_path / "r.sqlite", tree, [record for record in made_records(tree, 9) if record["detections"]]
    )
    with sqlite3.connect(path) as changed:
        changed.executescript(spoil)
    changed.close()
    with pytest.raises(ResultsError, match=r"r\.sqlite: ") as caught:
        read_all(path, tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1


def read_all(path: Path, out: Path) -> None:
    """Read all records of a store, and all matches of a query."""
    with ResultStore.open(path) as store:
        list(store.records())
        query = store.query("depth >= 0")
        query.counts_by_level()
        write_matches(query, out, "csv")


def test_names_are_values_and_never_part_of_a_statement(tmp_path: Path) -> None:
    evil, id_ = "x'; DROP TABLE images; --", "x';DROP/**/TABLE/**/images;--"
    tree = WordTree(["a", id_, 'b"c'], [-1, 0, 0], names=["all", evil, "'); DELETE FROM nodes; --"])
    record = {
        "image": "'); DROP TABLE detections; --.jpg",
        "width_px": 4,
        "height_px": 4,
        "detections": [
            {
                "xyxy_px": [0, 0, 1, 1],
                "id": id_,
                "name": evil,
                "conditional": [1.0, 0.5],
                "score": 0.5,
                "absolute": 0.5,
                "objectness": 1.0,
            },
        ],
    }
    with ResultStore.open(stored(tmp_path / "r.sqlite", tree, [record])) as store:
        quoted = f'"{evil}"'
        assert store.query(quoted).counts().tolist() == [0, 1, 0]
        assert store.query('"all" & score >= .5').matches()[0].record == record
        with pytest.raises(QueryError):
            store.query("all; DROP TABLE images")
        assert store.count_images() == 1


def test_file_names_that_are_not_utf_8_are_stored(tmp_path: Path) -> None:
    tree = random_tree(5)
    name = os.fsdecode(b"caf\xe9.jpg")
    record = {"image": name, "failure": "cannot be read"}
    with ResultStore.open(stored(tmp_path / "r.sqlite", tree, [record])) as store:
        assert list(store.records()) == [record]


def test_a_resumed_run_takes_what_is_stored_and_another_run_replaces_it(tmp_path: Path) -> None:
    tree = random_tree(20)
    records = made_records(tree, 30)
    path = stored(tmp_path / "r.sqlite", tree, records)
    with StoreWriter(path, tree, IDENTITY, resume=True) as writer:
        assert all(writer.take_earlier_result((record["image"], None)) for record in records)
        assert not writer.take_earlier_result((records[0]["image"], None))
    stored(path, tree, records[:10])
    with ResultStore.open(path) as store:
        assert sorted(record["image"] for record in store.records()) == sorted(r["image"] for r in records)
        assert store.query("depth >= 0").counts().sum() == sum(len(r["detections"]) for r in records)


def test_an_image_that_is_given_twice_is_stored_twice(tmp_path: Path) -> None:
    tree = random_tree(20)
    (record,) = made_records(tree, 1)
    with ResultStore.open(stored(tmp_path / "r.sqlite", tree, [record, record])) as store:
        assert list(store.records()) == [record, record]


def test_results_of_another_model_and_other_files_are_refused(tmp_path: Path) -> None:
    tree = random_tree(20)
    path = stored(tmp_path / "r.sqlite", tree, made_records(tree, 2))
    with pytest.raises(ResultsError, match=r"model_sha256 was ab, is cd"):
        StoreWriter(path, tree, {**IDENTITY, "model_sha256": "cd"})
    (tmp_path / "text.sqlite").write_text("a text that is longer than the head of a database" * 9)
    assert not is_store(tmp_path / "text.sqlite")
    import sqlite3

    with sqlite3.connect(tmp_path / "mine.sqlite") as mine:
        mine.execute("CREATE TABLE mine (a)")
    mine.close()
    before = (tmp_path / "mine.sqlite").read_bytes()
    for name in ("text.sqlite", "mine.sqlite"):
        for use in (lambda p: StoreWriter(p, tree, IDENTITY), ResultStore.open, remove_store):
            with pytest.raises(ResultsError, match="cannot be used as a store of results"):
                use(tmp_path / name)
    assert (tmp_path / "mine.sqlite").read_bytes() == before
    remove_store(path)
    assert not path.exists()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    tree = random_tree(30)
    tree.save(tmp_path / "tree.json")
    code = (
        "import sys, json; from pathlib import Path; from wordtree import WordTree\n"
        "from yolo9000.predictions.store import StoreWriter\n"
        "tree = WordTree.load(sys.argv[1])\n"
        f"with StoreWriter(Path(sys.argv[2]), tree, {IDENTITY}) as writer:\n"
        "    for line in Path(sys.argv[3]).read_text().splitlines():\n"
        "        writer.add(json.loads(line))\n"
        "        writer.flush()\n"
        "assert 'torch' not in sys.modules\n"
    )
    records = made_records(tree, 240)
    running = []
    for number in range(3):
        lines = tmp_path / f"{number}.jsonl"
        lines.write_text("\n".join(json.dumps(record) for record in records[number::3]))
        command = [sys.executable, "-c", code, tmp_path / "tree.json", tmp_path / "r.sqlite", lines]
        running.append(subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True))
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    with ResultStore.open(tmp_path / "r.sqlite") as store:
        found = {record["image"]: record for record in store.records()}
        assert found == {record["image"]: record for record in records}


def test_a_query_is_answered_without_torch(tmp_path: Path) -> None:
    tree = random_tree(30)
    path = stored(tmp_path / "r.sqlite", tree, made_records(tree, 20))
    code = (
        "import sys; from yolo9000.cli import main\n"
        f"sys.argv = ['yolo9000', 'query', {str(path)!r}, 'depth >= 0', '--files']\n"
        f"sys.argv += ['--sheet', {str(tmp_path / 's.jpg')!r}]\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "False"
    assert "cards/" in lines[0]
    with Image.open(tmp_path / "s.jpg") as sheet:
        assert sheet.width == 6 * 240


def test_the_answer_has_counts_for_each_level_and_files(
    tmp_path: Path, toy_tree: WordTree, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(node: int, score: float) -> dict[str, Any]:
        box = {"xyxy_px": [1, 1, 5, 5], "absolute": score, "objectness": 1.0, "score": score}
        conditional = [1.0] * toy_tree.depth[node] + [score]
        return {**box, "id": toy_tree.ids[node], "name": toy_tree.names[node], "conditional": conditional}

    size = {"width_px": 64, "height_px": 64}
    records = [
        {"image": "a.jpg", **size, "detections": [found(6, 0.9), found(4, 0.8)]},
        {"image": "b.jpg", **size, "detections": [found(2, 0.5)]},
        {"image": "c.jpg", "failure": "gone"},
    ]
    path = stored(tmp_path / "r.sqlite", toy_tree, records)
    with ResultStore.open(path) as store:
        print_query(store.query("depth >= 0"), QueryOutput())
        assert capsys.readouterr().out.splitlines() == [
            "3 detections in 2 of 3 images",
            "depth 0: animal 2, vehicle 1",
            "depth 1: dog 2, car 1",
            "depth 2: terrier 1",
            "0.90  a.jpg",
            "0.50  b.jpg",
        ]
        print_query(store.query("animal"), QueryOutput(as_json=True))
        content = json.loads(capsys.readouterr().out)
        assert (content["detections"], content["images"]) == (2, 2)
        assert [len(one["detections"]) for one in content["files"]] == [1, 1]
        written = write_matches(store.query("dog & score > .6"), tmp_path / "out", "csv")
        assert [path.name for path in written] == ["detections.csv"]
        assert len(written[0].read_text().splitlines()) == 2


def test_a_contact_sheet_shows_images_and_gaps(
    tmp_path: Path, scene: Image.Image, toy_tree: WordTree
) -> None:
    scene.save(tmp_path / "a.png")
    found = [{"xyxy_px": [8, 8, 40, 40], "id": toy_tree.ids[0], "name": "animal", "score": 0.9}]
    found[0] |= {"absolute": 0.9, "objectness": 1.0, "conditional": [0.9]}
    size = {"width_px": 64, "height_px": 64, "detections": found}
    records = [{"image": str(tmp_path / name), **size} for name in ("a.png", "gone.png")]
    with ResultStore.open(stored(tmp_path / "r.sqlite", toy_tree, records)) as store:
        write_contact_sheet(tmp_path / "sheet.png", store.query("animal").matches())
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (480, 274)
        assert sheet.getpixel((4 + 8 * 232 // 64, 100)) == (255, 205, 40)  # the left edge of the box
        assert sheet.getpixel((240 + 120, 30)) == (60, 62, 68)
