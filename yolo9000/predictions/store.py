"""Results in an SQLite file, and queries over them without the model and without torch; docs/predicting.md.

The tree's nodes are numbered so that the descendants of a node are an interval (pre-order). A query becomes a few
intervals, which an index over (interval number, score) finds without reading other detections.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from wordtree.errors import WordTreeError
from wordtree.support.arrays import Int64Array
from wordtree.support.lines import one_line
from wordtree.tree.query import Query, parse
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import FIELDS
from yolo9000.predictions.identity import refuse_other_run
from yolo9000.predictions.query_plan import NodeGroup, node_groups
from yolo9000.predictions.result_log import Key, Record, ResultsError, key_of, parsed_record

SIGNATURE = b"SQLite format 3\0"
FORMAT_VERSION = 1
BUSY_SECONDS = 60.0  # wait for other writers
IMAGES_AT_ONCE = 64  # in one transaction

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nodes (
    pre INTEGER PRIMARY KEY,    -- number in pre-order: the descendants of a node are pre + 1 .. last
    last INTEGER NOT NULL,      -- the largest pre at or below the node
    node INTEGER NOT NULL,      -- number in the tree
    depth INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL
);
CREATE TABLE images (
    image INTEGER PRIMARY KEY,
    name TEXT NOT NULL,         -- JSON text, so that any file name is valid
    frame INTEGER,              -- of a video
    repeat INTEGER NOT NULL,    -- 0, or how often the same image came before
    record TEXT NOT NULL        -- the line of detections.jsonl
);
CREATE UNIQUE INDEX image_key ON images (name, ifnull(frame, -1), repeat);
CREATE TABLE detections (
    image INTEGER NOT NULL REFERENCES images,
    rank INTEGER NOT NULL,      -- position in the record, best score first
    pre INTEGER NOT NULL REFERENCES nodes,
    score REAL NOT NULL,        -- 0..1, as are the next two
    absolute REAL NOT NULL,
    objectness REAL NOT NULL,
    area REAL NOT NULL,         -- pixels squared
    PRIMARY KEY (image, rank)
) WITHOUT ROWID;
CREATE INDEX by_class ON detections (pre, score, absolute, objectness, area, image);
"""


@dataclass(frozen=True)
class Match:
    """An image with matching detections: its record, the ranks of the detections, and their best score."""

    record: Record
    ranks: tuple[int, ...]
    best_score: float


class ResultStore:
    """A file of results of one model with one set of settings; a context manager.

    Raises ResultsError for another file, OSError for one that cannot be opened.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection
        with _errors_of(path):
            _refuse_other_tables(connection, path)
            facts = dict(self._db.execute("SELECT name, value FROM facts"))
            if facts.get("format_version") != str(FORMAT_VERSION):
                raise ResultsError(f"{path}: expected a store of version {FORMAT_VERSION} of yolo9000.")
            try:
                self.tree = WordTree.from_json(facts["tree"])
            except WordTreeError as reason:
                raise ResultsError(f"{path}: its tree is damaged: {reason}") from None
            self.identity: dict[str, Any] = dict(json.loads(facts["identity"]))
        self._pre = self.tree.enter.astype(np.int64)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The store at a path, for reading."""
        with _errors_of(path):
            return cls(path, sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=BUSY_SECONDS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def query(self, expression: str) -> StoredQuery:
        """The matches of an expression (docs/queries.md), which may compare score, absolute, objectness and area.

        Raises QueryError.
        """
        return StoredQuery(self, parse(expression, self.tree, fields=FIELDS))

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a statement of SQL. Raises ResultsError if the file is damaged."""
        with _errors_of(self.path):
            return self._db.execute(statement, values).fetchall()

    def count_images(self) -> int:
        """The number of images, those that failed included."""
        ((number,),) = self.rows("SELECT count(*) FROM images")
        return int(number)

    def records(self) -> Iterator[Record]:
        """The records of all images, in the order in which they were stored."""
        with (
            _errors_of(self.path),
            closing(self._db.execute("SELECT record FROM images ORDER BY image")) as rows,
        ):
            yield from (parsed_record(record) for (record,) in rows)


class StoreWriter:
    """Adds results to a store, also from several processes at once; a context manager.

    resume: images that the store has already are done; otherwise, their results are replaced.
    failures: the reasons why images failed, of the results that count as done.
    """

    def __init__(self, path: Path, tree: WordTree, identity: dict[str, Any], *, resume: bool = False) -> None:
        self.path = path
        with _errors_of(path):
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._create(tree, identity)
        refuse_other_run(ResultStore(path, self._db).identity, identity, path)
        self._pre, self._node_of = tree.enter.astype(np.int64), tree.node
        self._done = self._keys() if resume else Counter()
        self.failures = self._stored_failures() if resume else {}
        self._seen: Counter[Key] = Counter()
        self._waiting: list[tuple[Record, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.flush()
        finally:
            self._db.close()

    def take_earlier_result(self, key: Key) -> bool:
        """Count off one earlier result of this image; False if none is left. An image given twice has two."""
        if not self._done[key]:
            return False
        self._done[key] -= 1
        self._seen[key] += 1
        return True

    def add(self, record: Record) -> None:
        """Add the result of an image, which is written in a batch with later ones."""
        key = record["image"], record.get("frame")
        self._waiting.append((record, self._seen[key]))
        self._seen[key] += 1
        if len(self._waiting) >= IMAGES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the results that were added."""
        if not self._waiting:
            return
        with _errors_of(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for record, repeat in self._waiting:
                    self._insert(record, repeat)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        self._waiting = []

    def _insert(self, record: Record, repeat: int) -> None:
        key = json.dumps(record["image"]), record.get("frame"), repeat
        where = "name = ? AND ifnull(frame, -1) = ifnull(?, -1) AND repeat = ?"
        old = self._db.execute(f"SELECT image FROM images WHERE {where}", key).fetchone()
        if old is not None:
            self._db.execute("DELETE FROM detections WHERE image = ?", old)
            self._db.execute("DELETE FROM images WHERE image = ?", old)
        values = (None if old is None else old[0], *key, json.dumps(record))
        image = self._db.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?)", values).lastrowid
        rows = [
            (image, rank, *self._columns(found)) for rank, found in enumerate(record.get("detections", ()))
        ]
        self._db.executemany("INSERT INTO detections VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _columns(self, found: Record) -> tuple[int, float, float, float, float]:
        left, top, right, bottom = found["xyxy_px"]
        pre = int(self._pre[self._node_of(found["id"])])
        return pre, found["score"], found["absolute"], found["objectness"], (right - left) * (bottom - top)

    def _create(self, tree: WordTree, identity: dict[str, Any]) -> None:
        """Create the tables, unless another process has."""
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("BEGIN IMMEDIATE")
        exists = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not exists:
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            facts = {"format_version": str(FORMAT_VERSION), "tree": tree.to_json()}
            facts["identity"] = json.dumps(identity)
            self._db.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            rows = zip(
                *(tree.enter.tolist(), (tree.leave - 1).tolist(), range(len(tree)), tree.depth.tolist()),
                *(tree.ids, tree.names),
                strict=True,
            )
            self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def _keys(self) -> Counter[Key]:
        with _errors_of(self.path):
            rows = self._db.execute("SELECT name, frame FROM images")
            return Counter((str(json.loads(name)), frame) for name, frame in rows)

    def _stored_failures(self) -> dict[Key, str]:
        with _errors_of(self.path):
            rows = self._db.execute(
                "SELECT record FROM images WHERE json_extract(record, '$.failure') IS NOT NULL"
            )
            records = [parsed_record(record) for (record,) in rows]
        return {key_of(record): record["failure"] for record in records}


@dataclass(frozen=True)
class StoredQuery:
    """A parsed expression over a store; each method runs one statement of SQL for each of its groups of nodes."""

    store: ResultStore
    parsed: Query

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each name that means several nodes."""
        return self.parsed.notes

    def counts(self) -> Int64Array:
        """The number of matching detections of each node, shape (N,)."""
        counts = np.zeros(len(self.store.tree), np.int64)  # by pre-order number
        with _errors_of(self.store.path):
            for group in self._groups:
                for pre, number in self._of_each_node(group, "count(*)"):
                    counts[pre] = number
        of_nodes: Int64Array = counts[self.store._pre]
        return of_nodes

    def counts_by_level(self) -> list[list[tuple[int, int]]]:
        """For each depth of the tree, (node, number of matching detections at or below it), the most frequent first."""
        tree, total = self.store.tree, self.counts()
        for node in reversed(range(len(tree))):  # children come after their parents
            if (parent := int(tree.parent[node])) >= 0:
                total[parent] += total[node]
        levels: list[list[tuple[int, int]]] = [[] for _ in range(int(tree.depth.max(initial=0)) + 1)]
        for node in np.flatnonzero(total).tolist():
            levels[tree.depth[node]].append((int(node), int(total[node])))
        return [sorted(level, key=lambda entry: (-entry[1], entry[0])) for level in levels if level]

    def matches(self, limit: int | None = None) -> list[Match]:
        """The images with matching detections, the best score first; at most `limit`."""
        with _errors_of(self.store.path):
            return [self._match(image, score) for image, score in self._best_images(limit).items()]

    def count_matching_images(self) -> int:
        """The number of images with at least one matching detection."""
        found = [np.zeros(0, np.int64)]
        with _errors_of(self.store.path):
            for group in self._groups:
                # SQLite gives one text faster than many rows.
                for _, images in self._of_each_node(group, "group_concat(d.image)"):
                    found.append(np.fromstring(images or "", np.int64, sep=","))
        return len(np.unique(np.concatenate(found)))

    def _best_images(self, limit: int | None) -> dict[int, float]:
        """Images and their best score, best first. SQLite sorts few rows faster than it groups many."""
        rows = -1 if limit is None else 4 * limit
        while True:
            best: dict[int, float] = {}
            order = f"ORDER BY d.score DESC, d.image LIMIT {rows}"
            ordered = [self._select(group, "d.image, d.score", order) for group in self._groups]
            found = list(islice(merge(*ordered, key=_best_first), None if limit is None else rows))
            for image, score in found:
                best.setdefault(image, score)
            if limit is None or len(best) >= limit or len(found) < rows:
                return dict(list(best.items())[:limit])
            rows *= 8

    def _match(self, image: int, score: float) -> Match:
        columns = "rank, pre, score, absolute, objectness, area"
        statement = f"SELECT {columns} FROM detections WHERE image = ? ORDER BY rank"
        ((text,),) = self.store.rows("SELECT record FROM images WHERE image = ?", (image,))
        record, rows = parsed_record(text), self.store.rows(statement, (image,))
        ranks, pre, *fields = (np.array(column, np.float64) for column in zip(*rows, strict=True))
        node = np.argsort(self.store._pre)[pre.astype(np.int64)]
        is_match = self.parsed.rows(node, dict(zip(FIELDS, fields, strict=True)))
        if len(rows) != len(record.get("detections", ())) or (ranks != np.arange(len(rows))).any():
            raise ValueError("the detections of an image do not fit its record")
        return Match(record, tuple(np.flatnonzero(is_match).tolist()), float(score))

    def _of_each_node(self, group: NodeGroup, aggregate: str) -> list[Any]:
        """Pre-order number of each node of a group, and the aggregate of its matching detections."""
        table = "detections d INDEXED BY by_class"
        inner = f"SELECT {aggregate} FROM {table} WHERE d.pre = n.pre AND {group.condition}"
        statement = f"{_SPANS} SELECT n.pre, ({inner}) FROM {_NODES_IN_SPANS}"  # faster than GROUP BY
        return self.store.rows(statement, [group.spans, *group.values])

    def _select(self, group: NodeGroup, columns: str, rest: str) -> list[Any]:
        """Rows of the matching detections of a group: its nodes, joined with the index over their detections."""
        join = f"{_NODES_IN_SPANS} CROSS JOIN detections d INDEXED BY by_class ON d.pre = n.pre"
        statement = f"{_SPANS} SELECT {columns} FROM {join} WHERE {group.condition} {rest}"
        return self.store.rows(statement, [group.spans, *group.values])

    @cached_property
    def _groups(self) -> list[NodeGroup]:
        return node_groups(self.parsed.rule, self.store._pre)


def _best_first(row: tuple[int, float]) -> tuple[float, int]:
    image, score = row
    return -score, image


_SPANS = "WITH spans (first, last) AS (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
_NODES_IN_SPANS = "spans CROSS JOIN nodes n ON n.pre BETWEEN spans.first AND spans.last"


def is_store(path: Path) -> bool:
    """Whether a file is an SQLite file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def remove_store(path: Path) -> None:
    """Delete a store, so that another can be written. Raises ResultsError for any other file."""
    if not path.exists():
        return
    with ResultStore.open(path):
        pass
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _refuse_other_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Raise ResultsError unless the file has exactly our tables: a view of a stranger may have rows without end."""
    found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    expected = [statement for statement in SCHEMA.split(";") if statement.strip()]
    if sorted(_plain_sql(str(sql)) for (sql,) in found) != sorted(map(_plain_sql, expected)):
        raise ResultsError(f"{path}: cannot be used as a store of results: it has other tables.")


def _plain_sql(statement: str) -> str:
    """The statement without comments, on one line."""
    return one_line(re.sub("--[^\n]*", "", statement))


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turns errors of SQLite, and of values that our programs do not write, into ResultsError with the path."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as reason:
        raise ResultsError(
            f"{path}: cannot be used as a store of results: {one_line(reason)[:200]}."
        ) from None
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        raise ResultsError(f"{path}: the store of results is damaged.") from None


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(str(path.absolute()))
