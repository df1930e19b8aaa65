"""Harnesses of the files that runs write and read again: results, stores, metrics, regions, lists of images."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from data_prep import LabelCounts
from tests.fuzz.harness import Harness, write
from tests.fuzz.mutations import fields, lines
from tests.fuzz.structure import deep, json_value, yaml_value
from tests.fuzz.trees import TOY
from yolo9000.data.pixels import UnreadableImage
from yolo9000.inference.detections import Detections
from yolo9000.inference.sources import FoundImages, find_images
from yolo9000.inference.vocabulary import VocabularyChoice, chosen_classes
from yolo9000.predictions.annotated import AnnotatedFiles
from yolo9000.predictions.contact_sheet import write_contact_sheet
from yolo9000.predictions.formats import FORMATS, write_format
from yolo9000.predictions.identity import read_run
from yolo9000.predictions.query_output import _as_dict, write_matches
from yolo9000.predictions.report import ReportFacts, write_report
from yolo9000.predictions.result_log import ResultLog, key_of
from yolo9000.predictions.store import ResultStore, StoreWriter
from yolo9000.predictions.thumbnails import FOLDER, thumbnail_name
from yolo9000.reports.page import read_series
from yolo9000.training.run_folder import read_metrics

_IDENTITY = {"model_sha256": "0", "query": None}


def _row(node: int, leaf: int, score: float) -> dict[str, Any]:
    path, below = TOY.path(node), TOY.path(leaf)[len(TOY.path(node)) :]
    return {
        "id": TOY.ids[node],
        "name": TOY.names[node],
        "xyxy_px": [1.0, 2.0, 20.0, 25.0],
        "objectness": 0.9,
        "absolute": 0.5,
        "score": score,
        "conditional": [0.9] * len(path),
        "stopped": "leaf",
        "best_leaf": {
            "id": TOY.ids[leaf],
            "name": TOY.names[leaf],
            "absolute": 0.4,
            "conditional_below": [0.5] * len(below),
        },
    }


def records() -> list[dict[str, Any]]:
    """Results of three images and of a frame of a video, as our own writer writes them."""
    found = Detections.from_dict(
        {"image": "a.jpg", "width_px": 40, "height_px": 30, "detections": [_row(2, 6, 0.8), _row(4, 4, 0.3)]},
        TOY,
    )
    empty = {"image": "b.jpg", "width_px": 9, "height_px": 9, "detections": []}
    frame = {
        "image": "c.mp4",
        "frame": 5,
        "time_s": 0.5,
        "width_px": 40,
        "height_px": 30,
        "detections": [_row(2, 2, 0.5)],
    }
    return [found.to_dict(), empty, frame, {"image": "d.jpg", "failure": "cannot be decoded"}]


def _log(folder: Path) -> list[bytes]:
    (folder / FOLDER).mkdir()
    for record in records():
        (folder / FOLDER / thumbnail_name(key_of(record))).write_bytes(b"small")
    text = "".join(json.dumps(record) + "\n" for record in records())
    return [text.encode(), b"", text.splitlines(keepends=True)[0].encode()]


def _read_log(folder: Path, data: bytes) -> None:
    """Resume the log, write every format of it, and the report."""
    log = write(folder, "x.jsonl", data)
    with ResultLog(log):
        pass
    for name, made in FORMATS.items():
        write_format(name, log, [folder / file.format(part="") for file in made.files], TOY)
    zeros = np.zeros(len(TOY), np.int64)
    write_report(
        folder / "x.html", log, ReportFacts(TOY, LabelCounts(TOY, zeros, zeros), None, 0.2, 0.2, "x")
    )


def _read_run(folder: Path, data: bytes) -> None:
    kept = read_run(write(folder, "run.json", data)).get("kept_files", [])
    AnnotatedFiles(folder, FoundImages(), kept)


def _store(folder: Path) -> list[bytes]:
    path = folder / "made.sqlite"
    with StoreWriter(path, TOY, _IDENTITY) as store:
        for record in records():
            store.add(record)
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA journal_mode = DELETE")
    opened.close()
    return [path.read_bytes()]


def _read_store(folder: Path, data: bytes) -> None:
    with ResultStore.open(write(folder, "x.sqlite", data)) as store:
        store.count_images()
        list(store.records())
        for expression in ("animal & score >= 0.1", "!dog | area > 5"):
            query = store.query(expression)
            _as_dict(query)
            write_contact_sheet(folder / "x.jpg", query.matches(5))
            write_matches(query, folder / "matches", "csv", overwrite=True)


def _stored_value(rng: Random, data: bytes) -> bytes:
    """Change a value or the schema of a store with SQLite."""
    import tempfile

    odd = rng.choice(
        (None, -1, 2**62, 1e300, float("nan"), "", "x", b"\xff", "9" * 30, "[]", "{}", '{"image": 1}', "\0")
    )
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as file:
        Path(file.name).write_bytes(data)
        opened = sqlite3.connect(file.name)
        try:
            table = rng.choice(("facts", "nodes", "images", "detections"))
            columns = [row[1] for row in opened.execute(f"PRAGMA table_info({table})")]
            column = rng.choice(columns) if columns else "x"
            match rng.randrange(8):
                case 0:
                    opened.execute(f"DROP TABLE {table}")
                    opened.execute(
                        f"CREATE VIEW {table} AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
                        f" SELECT {', '.join(f'x AS {name}' for name in columns)} FROM c"
                    )
                case 1:
                    opened.execute(f"DELETE FROM {table}")
                case 2:
                    opened.execute("DROP INDEX by_class")
                case 3 if table in ("facts", "images"):
                    text = "value" if table == "facts" else "record"
                    rows = opened.execute(
                        f"SELECT rowid, {text} FROM images"
                        if table == "images"
                        else "SELECT name, value FROM facts"
                    ).fetchmany(9)
                    key, value = rng.choice(rows)
                    changed = json_value(rng, str(value).encode()).decode("utf-8", "replace")
                    opened.execute(
                        f"UPDATE {table} SET {text} = ? WHERE {'rowid' if table == 'images' else 'name'} = ?",
                        (changed, key),
                    )
                case _:
                    opened.execute(f"UPDATE {table} SET {column} = ?", (odd,))
            opened.commit()
        except (sqlite3.Error, OverflowError, ValueError, IndexError, MemoryError):
            return data
        finally:
            opened.close()
        return Path(file.name).read_bytes()


def _metrics(folder: Path, data: bytes) -> None:
    rows = read_metrics(write(folder, "metrics.csv", data))
    [int(row["step"]) for row in rows]
    read_series("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) if rows else "")


def _series(folder: Path, data: bytes) -> None:
    read_series(write(folder, "metrics.csv", data).read_text("utf-8", "replace"))


def _regions(folder: Path, data: bytes) -> None:
    VocabularyChoice(regions=write(folder, "x.yaml", data), region="USA-CA").of(TOY)


def _detections(folder: Path, data: bytes) -> None:
    Detections.from_json(data.decode("utf-8", "replace"), TOY)


def _image_list(folder: Path, data: bytes) -> None:
    for item in find_images([write(folder, "x.txt", data)]):
        if not item.name.startswith("http"):
            with suppress(UnreadableImage, OSError):
                item.read()


_METRICS = b"step,images,loss_total,ap50\n1,8,3.5,\n2,16,3.1,12.5\n3,24,2.0,13\n"
_REGIONS = b"regions:\n  USA:\n    allow: [animal, hunter]\n    block: [cat]\n  USA-CA:\n    block: [dog]\n"
_RUN = b'{"model": "best.pt", "identity": {"model_sha256": "0", "query": null}, "kept_files": ["a.jpg"]}\n'

HARNESSES = (
    Harness(
        "result-log",
        "yolo9000",
        _log,
        _read_log,
        (json_value, json_value, lines, deep),
        (b"frame", b'"image"', b"\n"),
    ),
    Harness(
        "run-json",
        "yolo9000",
        lambda _: [_RUN],
        _read_run,
        (json_value, deep),
        named="run.json",
    ),
    Harness("store", "yolo9000", _store, _read_store, (_stored_value, _stored_value)),
    Harness(
        "detections-json",
        "yolo9000",
        lambda _: [json.dumps(record).encode() for record in records()[:3]],
        _detections,
        (json_value, json_value, deep),
    ),
    Harness("metrics", "yolo9000", lambda _: [_METRICS], _metrics, (lines, fields), named="metrics.csv"),
    Harness("series", "yolo9000", lambda _: [_METRICS], _series, (lines, fields), named="metrics.csv"),
    Harness(
        "regions",
        "yolo9000",
        lambda _: [_REGIONS],
        _regions,
        (yaml_value, lines, deep),
        (b"&a [*a]", b"depth:2"),
    ),
    Harness(
        "class-file",
        "yolo9000",
        lambda _: [b"dog\ncat\n"],
        lambda f, d: chosen_classes(str(write(f, "x.txt", d)), TOY),
        (lines,),
    ),
    Harness("image-list", "yolo9000", lambda _: [b"a.jpg\n# no\nhttp://x/y.jpg\n"], _image_list, (lines,)),
)
