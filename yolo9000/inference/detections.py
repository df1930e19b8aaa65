"""`Detections`: the objects that a detector found in one image, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import Float32Array, Int64Array
from wordtree.tree.query import Query, parse
from wordtree.tree.tree import WordTree
from yolo9000.errors import Yolo9000Error

FIELDS = ("score", "absolute", "objectness", "area")  # that a query may compare, besides `depth` and `below`
_ROUNDING = 1e-4  # float32 softmax and products may leave 0..1 by less than this


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
    objectness      (K,) float32, 0..1, P(object)
    absolute        (K,) float32, 0..1, P(node | object): the product of `conditional`
    score           (K,) float32, 0..1, objectness × absolute; with a query, objectness × P(query | object); with
                    `level: darknet`, objectness
    conditional     K arrays float32, 0..1: P(node | parent) along the path from the root to the detected node

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

    def __post_init__(self) -> None:
        boxes = np.asarray(self.xyxy_px)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise self._invalid(f"expected boxes of shape (K, 4), found {boxes.shape}")
        self._set("xyxy_px", boxes, np.float32)
        self._set("node", self.node, np.int64)
        for column in ("objectness", "absolute", "score"):
            self._set(column, getattr(self, column), np.float32)
        object.__setattr__(
            self, "conditional", tuple(_read_only(path, np.float32) for path in self.conditional)
        )
        for check in (self._check_lengths, self._check_nodes, self._check_values):
            check()

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, rows: int | slice | npt.NDArray[Any]) -> Detections:
        """The detections of a mask (K,), of a slice, or of one rank."""
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

    def to_dicts(self) -> list[dict[str, Any]]:
        """A plain dict for each detection, for JSON; `path` and `conditional` run from the root to the node."""
        return [
            {
                "xyxy_px": [round(float(value), 2) for value in self.xyxy_px[row]],
                "id": self.tree.ids[node],
                "name": self.tree.names[node],
                "path": [self.tree.names[step] for step in self.tree.path(int(node))],
                "conditional": [_six_digits(value) for value in self.conditional[row]],
                "objectness": _six_digits(self.objectness[row]),
                "absolute": _six_digits(self.absolute[row]),
                "score": _six_digits(self.score[row]),
            }
            for row, node in enumerate(self.node)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The image and its detections as one plain dict, ready for JSON."""
        width, height = self.image_size_px
        return {
            "image": self.image,
            "width_px": int(width),
            "height_px": int(height),
            "detections": self.to_dicts(),
        }

    def _set(self, column: str, values: npt.ArrayLike, dtype: type[np.generic]) -> None:
        object.__setattr__(self, column, _read_only(values, dtype))

    def _check_lengths(self) -> None:
        found = {
            column: getattr(self, column).shape for column in ("node", "objectness", "absolute", "score")
        } | {"conditional": (len(self.conditional),)}
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

    def _check_values(self) -> None:
        if not np.isfinite(self.xyxy_px).all():
            raise self._invalid("expected finite boxes, found infinity or NaN")
        if (self.xyxy_px[:, 2:] < self.xyxy_px[:, :2]).any():
            raise self._invalid(
                "expected boxes as left, top, right, bottom, found right < left or bottom < top"
            )
        flat = np.concatenate([self.objectness, self.absolute, self.score, *self.conditional])
        outside = flat[~((flat >= -_ROUNDING) & (flat <= 1 + _ROUNDING))]  # NaN is outside too
        if len(outside):
            raise self._invalid(f"expected probabilities in 0..1, found {outside[0]:g}")
        if (np.diff(self.score) > 0).any():
            raise self._invalid("expected the best score first, found scores out of order")

    def _invalid(self, problem: str) -> InvalidDetections:
        return InvalidDetections(f"Detections of {self.image}: {problem}.")


def _read_only(values: npt.ArrayLike, dtype: type[np.generic]) -> npt.NDArray[Any]:
    array = np.asarray(values, dtype).view()
    array.flags.writeable = False
    return array


@lru_cache(maxsize=8)
def _parsed(expression: str, tree: WordTree) -> Query:
    """The expression, parsed once for the detections of all images."""
    return parse(expression, tree, fields=FIELDS)


def _six_digits(value: np.float32) -> float:
    """The value rounded to six significant digits, the precision of float32."""
    return float(f"{value:.6g}")
