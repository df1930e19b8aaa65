"""`Detections`: the objects that a detector found in one image, as NumPy arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wordtree.errors import WordTreeError
from wordtree.support.arrays import Float32Array, Int64Array
from wordtree.support.lines import one_line, quoted
from wordtree.tree.query import Query, parse
from wordtree.tree.tree import WordTree
from yolo9000.errors import Yolo9000Error

if TYPE_CHECKING:
    import pandas
    import supervision

FIELDS = ("score", "absolute", "objectness", "area")  # that a query may compare, besides `depth` and `below`
StopReason: TypeAlias = Literal["threshold", "class list", "leaf", "root"]
ROUNDING = 1e-4  # float32 softmax and products may leave 0..1 by less than this


class InvalidDetections(Yolo9000Error):
    """Columns of `Detections` do not fit together, or hold values that no detector gives."""


@dataclass(frozen=True, eq=False)
class Detections:
    """K detections in one image, best score first. All arrays are read-only.

    tree            the tree of N nodes that `node` refers to
    image           path of the image file, or the name that the caller gave the image
    image_size_px   width and height of the image
    xyxy_px         (K, 4) float32, image pixels, inside the image
    node            (K,) int64, 0..N-1, the detected class: a node at any depth of the tree
    objectness      (K,) float32, 0..1, P(object) × IoU of the box, or P(object) (docs/architecture.md)

    absolute        (K,) float32, 0..1, P(node | object): the product of `conditional`
    score           (K,) float32, 0..1, objectness × absolute; with a query, objectness × P(query | object); with
                    `descent: darknet`, objectness
    conditional     K arrays float32, 0..1: P(node | parent) along the path from the root to the detected node
    frame, time_s   of a frame of a video: its number from 0, and its time in seconds; else None

    Below the detected node; None if unknown:

    best_leaf           (K,) int64, the leaf at the end of the most probable path below the node; the node if it is one
    conditional_below   K arrays float32: P(node | parent) from below the node to `best_leaf`
    stopped             K reasons why the class is not more specific. `threshold`: the next class is not probable
                        enough; `class list`: it may not be predicted; `leaf`: there is none; `root`: no class at all
                        is probable enough, and the best of the topmost is given

    In the examples `found` has a terrier and a car in street.jpg, 64 × 48 pixels.

    >>> found.names, found.stopped
    (['terrier', 'car'], ('leaf', 'leaf'))

    Raises InvalidDetections.
    """

    tree: WordTree
    image: str
    image_size_px: tuple[int, int]
    xyxy_px: Float32Array
    node: Int64Array
    objectness: Float32Array
    absolute: Float32Array
    score: Float32Array
    conditional: tuple[Float32Array, ...]
    best_leaf: Int64Array | None = None
    conditional_below: tuple[Float32Array, ...] | None = None
    stopped: tuple[StopReason, ...] | None = None
    frame: int | None = None
    time_s: float | None = None

    def __post_init__(self) -> None:
        boxes = np.asarray(self.xyxy_px)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise self._invalid(f"expected boxes of shape (K, 4), found {boxes.shape}")
        self._set("xyxy_px", boxes, np.float32)
        self._set("node", self.node, np.int64)
        for column in ("objectness", "absolute", "score"):
            self._set(column, getattr(self, column), np.float32)
        for column in ("conditional", "conditional_below"):
            if (paths := getattr(self, column)) is not None:
                object.__setattr__(self, column, tuple(_read_only(path, np.float32) for path in paths))
        if self.best_leaf is not None:
            self._set("best_leaf", self.best_leaf, np.int64)
        for check in (self._check_lengths, self._check_nodes, self._check_values):
            check()

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, rows: int | slice | npt.NDArray[Any]) -> Detections:
        """The detections of a mask (K,), of a slice, or of one rank.

        >>> found[found.score > 0.5].names, found[1].names
        (['terrier'], ['car'])
        """
        if isinstance(rows, int | np.integer):
            rank = range(len(self))[int(rows)]  # IndexError, as sequences do
            rows = slice(rank, rank + 1)
        kept = np.arange(len(self))[rows]
        return replace(
            self,
            xyxy_px=self.xyxy_px[kept],
            node=self.node[kept],
            objectness=self.objectness[kept],
            absolute=self.absolute[kept],
            score=self.score[kept],
            conditional=tuple(self.conditional[row] for row in kept),
            best_leaf=None if self.best_leaf is None else self.best_leaf[kept],
            conditional_below=_rows_of(self.conditional_below, kept),
            stopped=_rows_of(self.stopped, kept),
        )

    def __iter__(self) -> Iterator[Detections]:
        """Each detection as a Detections of length 1."""
        return (self[rank] for rank in range(len(self)))

    def __repr__(self) -> str:
        best = ", ".join(
            f"{name} {score:.2f}" for name, score in zip(self.names[:3], self.score, strict=False)
        )
        more = ", …" if len(self) > 3 else ""
        return f"Detections({self.image}: {len(self)}{' = ' if len(self) else ''}{best}{more})"

    def select(self, expression: str) -> Detections:
        """The detections that match an expression such as "vehicle & !car & score >= 0.3" (docs/queries.md).

        The expression may compare the fields score, absolute, objectness, area (pixels), and depth and below of the
        detected node. Raises wordtree.QueryError, which points at the column.

        >>> found.select("animal & score >= 0.3").names
        ['terrier']
        """
        left, top, right, bottom = self.xyxy_px.T
        columns = {
            "score": self.score,
            "absolute": self.absolute,
            "objectness": self.objectness,
            "area": (right - left) * (bottom - top),
        }
        return self[_parsed(expression, self.tree).rows(self.node, columns)]

    @property
    def names(self) -> list[str]:
        """Display name of each detected node."""
        return [self.tree.names[node] for node in self.node]

    @property
    def best_leaf_absolute(self) -> Float32Array | None:
        """P(best_leaf | object) of each detection, shape (K,).

        >>> found.best_leaf_absolute
        array([0.9, 0.5], dtype=float32)
        """
        if self.conditional_below is None:
            return None
        below = [np.prod(path, dtype=np.float32) for path in self.conditional_below]
        return self.absolute * np.array(below, np.float32)

    def to_dicts(self) -> list[dict[str, Any]]:
        """A plain dict for each detection, for JSON; `path` and `conditional` run from the root to the node.

        >>> [(row["name"], row["path"], row["score"]) for row in found.to_dicts()]
        [('terrier', ['animal', 'dog', 'terrier'], 0.81), ('car', ['vehicle', 'car'], 0.4)]
        """
        return [self._to_dict_of(row) for row in range(len(self))]

    def _to_dict_of(self, row: int) -> dict[str, Any]:
        node = int(self.node[row])
        content: dict[str, Any] = {
            "xyxy_px": [round(float(value), 2) for value in self.xyxy_px[row]],
            "id": self.tree.ids[node],
            "name": self.tree.names[node],
            "path": [self.tree.names[step] for step in self.tree.path(node)],
            "conditional": [_six_digits(value) for value in self.conditional[row]],
            "objectness": _six_digits(self.objectness[row]),
            "absolute": _six_digits(self.absolute[row]),
            "score": _six_digits(self.score[row]),
        }
        if self.stopped is not None:
            content["stopped"] = self.stopped[row]
        if self.best_leaf is not None and self.conditional_below is not None:
            leaf, below = int(self.best_leaf[row]), [_six_digits(p) for p in self.conditional_below[row]]
            content["best_leaf"] = {
                "id": self.tree.ids[leaf],
                "name": self.tree.names[leaf],
                "absolute": _six_digits(content["absolute"] * math.prod(below)),
                "conditional_below": below,
            }
        return content

    def to_dict(self) -> dict[str, Any]:
        """The image and its detections as one plain dict, ready for JSON; a line of detections.jsonl.

        >>> sorted(found.to_dict())
        ['detections', 'height_px', 'image', 'width_px']
        """
        width, height = self.image_size_px
        video = {} if self.frame is None else {"frame": self.frame, "time_s": self.time_s}
        size = {"width_px": int(width), "height_px": int(height)}
        return {"image": self.image, **video, **size, "detections": self.to_dicts()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], tree: WordTree) -> Detections:
        """The detections in a dict of `to_dict`, for the tree of the detector. Raises InvalidDetections.

        >>> Detections.from_dict(found.to_dict(), tree)
        Detections(street.jpg: 2 = terrier 0.81, car 0.40)
        """
        try:
            with np.errstate(over="ignore"):  # infinite numbers are refused
                return _from_dict(content, tree)
        except (WordTreeError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as reason:
            name = content.get("image", "?") if isinstance(content, Mapping) else "?"
            raise InvalidDetections(
                f"Detections of {name}: expected a dict as `to_dict` gives it, found a wrong or missing entry: "
                f"{one_line(reason)}."
            ) from None

    def to_json(self) -> str:
        """The image and its detections as one line of JSON.

        >>> Detections.from_json(found.to_json(), tree).names
        ['terrier', 'car']
        """
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str, tree: WordTree) -> Detections:
        """The detections in a line of JSON, for the tree of the detector. Raises InvalidDetections.

        >>> Detections.from_json("{", tree)
        Traceback (most recent call last):
        yolo9000.inference.detections.InvalidDetections: Expected a JSON object, found '{'.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            raise InvalidDetections(f"Expected a JSON object, found {quoted(text)}.") from None
        return cls.from_dict(content, tree)

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Rows of COCO's results format: `bbox` is left, top, width, height in pixels, `category_id` is node + 1.

        >>> found.to_coco(image_id=7)[0]
        {'image_id': 7, 'category_id': 7, 'bbox': [1.0, 2.0, 29.0, 38.0], 'score': 0.81}
        """
        boxes = self.xyxy_px.astype(np.float64).round(2)
        sizes = (boxes[:, 2:] - boxes[:, :2]).round(2)
        return [
            {
                "image_id": image_id,
                "category_id": int(node) + 1,
                "bbox": [*box[:2].tolist(), *size.tolist()],
                "score": _six_digits(score),
            }
            for node, box, size, score in zip(self.node, boxes, sizes, self.score, strict=True)
        ]

    def to_yolo(self) -> str:
        """Lines `node x y width height score` of the centre and size in 0..1 of the image, as YOLO label files have.

        >>> print(found.to_yolo(), end="")
        6 0.242188 0.437500 0.453125 0.791667 0.810000
        4 0.546875 0.562500 0.781250 0.708333 0.400000
        """
        width, height = self.image_size_px
        unit = self.xyxy_px.astype(np.float64) / [width, height, width, height]
        centre, size = (unit[:, :2] + unit[:, 2:]) / 2, unit[:, 2:] - unit[:, :2]
        return "".join(
            f"{node} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {score:.6f}\n"
            for node, (x, y), (w, h), score in zip(self.node, centre, size, self.score, strict=True)
        )

    def to_pandas(self) -> pandas.DataFrame:
        """A table with a row for each detection. Needs pandas.

        >>> found.to_pandas()[["image", "name", "left", "score"]].values.tolist()
        [['street.jpg', 'terrier', 1.0, 0.81], ['street.jpg', 'car', 10.0, 0.4]]
        """
        import pandas

        return pandas.DataFrame(self.to_rows(), columns=list(ROW_COLUMNS))

    def to_rows(self) -> list[dict[str, Any]]:
        """A flat dict for each detection, with the keys ROW_COLUMNS: the rows of detections.csv.

        >>> found.to_rows()[0]["path"], found.to_rows()[0]["right"]
        ('animal;dog;terrier', 30.0)
        """
        rows = []
        for content in self.to_dicts():
            leaf = content.get("best_leaf", {})
            left, top, right, bottom = content["xyxy_px"]
            edges = {"left": left, "top": top, "right": right, "bottom": bottom}
            image = {"image": self.image, "frame": self.frame, "time_s": self.time_s}
            best = {"best_leaf": leaf.get("name"), "best_leaf_absolute": leaf.get("absolute")}
            values = {**image, **edges, **content, **best, "path": ";".join(content["path"])}
            rows.append({column: values.get(column) for column in ROW_COLUMNS})
        return rows

    def to_supervision(self) -> supervision.Detections:
        """The boxes as `supervision.Detections`, with `class_name` among its data. Needs supervision.

        >>> found.to_supervision().data["class_name"].tolist()
        ['terrier', 'car']
        """
        import supervision

        names = np.array(self.names, dtype=str) if len(self) else np.zeros(0, str)
        return supervision.Detections(
            xyxy=self.xyxy_px.copy(),
            confidence=self.score.copy(),
            class_id=self.node.copy(),
            data={"class_name": names},
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Detections]) -> Detections:
        """The detections of several parts in one image, best score first. Raises InvalidDetections.

        >>> Detections.concatenate([found[1], found[0]]).names
        ['terrier', 'car']
        """
        parts = list(parts)
        if not parts:
            raise InvalidDetections("Expected at least one part to concatenate, found none.")
        first = parts[0]
        for part in parts[1:]:
            same = (part.image, part.frame, part.image_size_px) == (
                first.image,
                first.frame,
                first.image_size_px,
            )
            if not same or part.tree != first.tree:
                raise part._invalid(f"expected detections in {first.image} with the same tree and size")
        return _concatenated(first, parts)

    def _set(self, column: str, values: npt.ArrayLike, dtype: type[np.generic]) -> None:
        object.__setattr__(self, column, _read_only(values, dtype))

    def _check_lengths(self) -> None:
        found = {
            column: getattr(self, column).shape for column in ("node", "objectness", "absolute", "score")
        } | {"conditional": (len(self.conditional),)}
        for column in ("best_leaf", "conditional_below", "stopped"):
            if (values := getattr(self, column)) is not None:
                found[column] = (len(values),)
        wrong = [f"{column} {shape}" for column, shape in found.items() if shape != (len(self.xyxy_px),)]
        if wrong:
            raise self._invalid(
                f"expected {len(self.xyxy_px)} rows, one for each box, found {', '.join(wrong)}"
            )

    def _check_nodes(self) -> None:
        foreign = np.flatnonzero((self.node < 0) | (self.node >= len(self.tree)))
        if len(foreign):
            raise self._invalid(
                f"expected nodes 0..{len(self.tree) - 1}, found {self.node[foreign[0]]} in row {foreign[0]}"
            )
        for row, (node, path) in enumerate(zip(self.node, self.conditional, strict=True)):
            if len(path) != self.tree.depth[node] + 1:
                raise self._invalid(
                    f"expected {self.tree.depth[node] + 1} conditional probabilities down to "
                    f"{self.tree.ids[node]}, found {len(path)} in row {row}"
                )
        if self.best_leaf is not None and not self.tree.is_at_or_under(self.best_leaf, self.node).all():
            raise self._invalid("expected each best leaf at or below its node, found another")

    def _check_values(self) -> None:
        if not np.isfinite(self.xyxy_px).all():
            raise self._invalid("expected finite boxes, found infinity or NaN")
        if (self.xyxy_px[:, 2:] < self.xyxy_px[:, :2]).any():
            raise self._invalid(
                "expected boxes as left, top, right, bottom, found right < left or bottom < top"
            )
        columns = [self.objectness, self.absolute, self.score, *self.conditional]
        flat = np.concatenate([*columns, *(self.conditional_below or ())])
        outside = flat[~((flat >= -ROUNDING) & (flat <= 1 + ROUNDING))]  # NaN is outside too
        if len(outside):
            raise self._invalid(f"expected probabilities in 0..1, found {outside[0]:g}")
        if (np.diff(self.score) > 0).any():
            raise self._invalid("expected the best score first, found scores out of order")

    def _invalid(self, problem: str) -> InvalidDetections:
        return InvalidDetections(f"Detections of {self.image}: {problem}.")


ROW_COLUMNS = (
    *("image", "frame", "time_s", "left", "top", "right", "bottom", "id", "name", "path"),
    *("objectness", "absolute", "score", "stopped", "best_leaf", "best_leaf_absolute"),
)


def coco_categories(tree: WordTree) -> list[dict[str, Any]]:
    """COCO's list of categories for a tree: `id` is node + 1, `supercategory` the parent's name."""
    return [
        {
            "id": node + 1,
            "name": tree.names[node],
            "wnid": tree.ids[node],
            "supercategory": tree.names[parent] if (parent := int(tree.parent[node])) >= 0 else "",
        }
        for node in range(len(tree))
    ]


def _from_dict(content: Mapping[str, Any], tree: WordTree) -> Detections:
    rows = content["detections"]
    leaves = [row["best_leaf"] for row in rows if "best_leaf" in row]
    knows_leaves, knows_reasons = len(leaves) == len(rows), all("stopped" in row for row in rows)
    return Detections(
        tree=tree,
        image=content["image"],
        image_size_px=(content["width_px"], content["height_px"]),
        xyxy_px=np.array([row["xyxy_px"] for row in rows], np.float32).reshape(len(rows), 4),
        node=np.array([tree.node(row["id"]) for row in rows], np.int64),
        objectness=np.array([row["objectness"] for row in rows], np.float32),
        absolute=np.array([row["absolute"] for row in rows], np.float32),
        score=np.array([row["score"] for row in rows], np.float32),
        conditional=tuple(np.array(row["conditional"], np.float32) for row in rows),
        best_leaf=np.array([tree.node(leaf["id"]) for leaf in leaves], np.int64) if knows_leaves else None,
        conditional_below=tuple(np.array(leaf["conditional_below"], np.float32) for leaf in leaves)
        if knows_leaves
        else None,
        stopped=tuple(row["stopped"] for row in rows) if knows_reasons else None,
        frame=content.get("frame"),
        time_s=content.get("time_s"),
    )


def _concatenated(first: Detections, parts: list[Detections]) -> Detections:
    score = np.concatenate([part.score for part in parts])
    order = np.argsort(-score, kind="stable")
    joined: dict[str, Any] = {}
    for column in ("xyxy_px", "node", "objectness", "absolute", "score"):
        joined[column] = np.concatenate([getattr(part, column) for part in parts])[order]
    for column in ("conditional", "best_leaf", "conditional_below", "stopped"):
        values = [getattr(part, column) for part in parts]
        known = all(value is not None for value in values)
        joined[column] = _rows_of(tuple(chain(*values)), order) if known else None
    if joined["best_leaf"] is not None:
        joined["best_leaf"] = np.array(joined["best_leaf"], np.int64)
    return replace(first, **joined)


def _rows_of(values: tuple[Any, ...] | None, rows: npt.NDArray[Any]) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values[row] for row in rows)


def _read_only(values: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    array = np.asarray(values, dtype).view()
    array.flags.writeable = False
    return array


@lru_cache(maxsize=8)
def _parsed(expression: str, tree: WordTree) -> Query:
    """The expression, parsed once for the detections of all images."""
    return parse(expression, tree, fields=FIELDS)


def _six_digits(value: np.float32 | float) -> float:
    """The value rounded to six significant digits, the precision of float32."""
    return float(f"{value:.6g}")
