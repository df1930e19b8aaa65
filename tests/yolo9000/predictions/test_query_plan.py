"""Queries over stored results: groups of nodes and their conditions find the same as a query in memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.yolo9000.made import random_tree
from tests.yolo9000.predictions.test_store import made_records, stored
from wordtree.tree.query import parse
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import FIELDS, Detections
from yolo9000.predictions.query_plan import node_groups
from yolo9000.predictions.store import ResultStore

TREE = random_tree(40)
RECORDS = made_records(TREE, 60)

_names = st.sampled_from(
    ["leaf", "depth <= 2", "below > 1", "only(own3)", "*1*", "own0", "own1", "own2", "own9"]
)
_comparisons = st.builds(
    lambda field, sign, value: f"{field} {sign} {value:g}",
    st.sampled_from(FIELDS),
    st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    st.sampled_from([0, 0.1, 0.3, 0.5, 0.9, 5, 20]),
)
_expressions = st.recursive(
    _names | _comparisons,
    lambda part: (
        st.builds("!({})".format, part)
        | st.builds("({} {} {})".format, part, st.sampled_from(["&", "|"]), part)
        | st.builds("({} | {} | {})".format, part, part, part)
    ),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = stored(tmp_path_factory.mktemp("store") / "r.sqlite", TREE, RECORDS)
    with ResultStore.open(path) as opened:
        yield opened


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(_expressions)
def test_any_expression_finds_what_a_query_in_memory_finds(store: ResultStore, expression: str) -> None:
    counts, ranks = np.zeros(len(TREE), np.int64), {}
    for record in RECORDS:
        found = Detections.from_dict(record, TREE)
        columns = {field: getattr(found, field) for field in ("score", "absolute", "objectness")}
        columns["area"] = np.prod(found.xyxy_px[:, 2:] - found.xyxy_px[:, :2], axis=1)
        is_match = parse(expression, TREE, fields=FIELDS).rows(found.node, columns)
        np.add.at(counts, found.node[is_match], 1)
        if is_match.any():
            ranks[record["image"]] = np.flatnonzero(is_match).tolist()
    query = store.query(expression)
    assert query.counts().tolist() == counts.tolist()
    assert query.count_matching_images() == len(ranks)
    matches = query.matches()
    assert {match.record["image"]: list(match.ranks) for match in matches} == ranks
    scores = [match.best_score for match in matches]
    assert scores == sorted(scores, reverse=True)
    assert [match.record for match in query.matches(4)] == [match.record for match in matches[:4]]


def test_groups_share_no_node_and_their_conditions_name_no_set_of_nodes() -> None:
    tree = WordTree(list("adbcef"), [-1, -1, 0, 0, 1, 4])
    rule = parse("(a & score > .5) | (d & area < 9) | e", tree, fields=FIELDS).rule
    groups = node_groups(rule, tree.enter.astype(np.int64))
    found = {(group.condition, group.values): json.loads(group.spans) for group in groups}
    assert found == {
        ("1", ()): [[4, 5]],  # e and what is below
        ("d.score > ?", (0.5,)): [[0, 2]],
        ("d.area < ?", (9.0,)): [[3, 3]],
    }


def test_an_expression_of_thousands_of_comparisons_is_answered(store: ResultStore) -> None:
    many = " | ".join(f"score = {number / 5000}" for number in range(5000))
    wanted = next(record["detections"][0]["score"] for record in RECORDS if record["detections"])
    assert store.query(f"{many} | score = {wanted}").counts().sum() == 1


def test_no_detection_matches_a_contradiction(store: ResultStore) -> None:
    query = store.query("own1 & !own1")
    assert (query.counts().sum(), query.count_matching_images(), query.matches()) == (0, 0, [])
