"""The query language: selected nodes, and errors with their column; the grammar is in docs/queries.md."""

import re
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtree.tree.query import FUNCTIONS, NODE_FIELDS, QueryError, parse
from wordtree.tree.tree import WordTree

ANIMALS = [  # id, parent, name
    ("whole", -1, "whole"),
    ("animal", 0, "animal"),
    ("artifact", 0, "artifact"),
    ("n02084071", 1, "dog"),
    ("n02121808", 1, "domestic cat"),
    ("n02012849", 1, "crane"),
    ("n03126707", 2, "crane"),
    ("n07697537", 2, "hot dog"),
    ("pet", 2, "pet"),
    ("terrier", 3, "terrier"),
    ("toy", 3, "toy terrier"),
    ("leaf", 8, "leaf"),
    ("odd", 8, "M&M (red)"),
]


@pytest.fixture(scope="module")
def animals() -> WordTree:
    """Dog and cat are children of animal and, by relations, also pets."""
    ids, parents, names = zip(*ANIMALS, strict=True)
    return WordTree(ids, parents, names, relations=[(3, 8), (4, 8)])


def names(tree: WordTree, nodes: np.ndarray) -> list[str]:
    return [tree.names[node] for node in nodes]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("dog", [3, 9, 10], id="a name: the node and all below"),
        pytest.param("DOG", [3, 9, 10], id="case does not matter"),
        pytest.param("n02084071", [3, 9, 10], id="a wnid"),
        pytest.param("dog.n.01", [3, 9, 10], id="a synset name"),
        pytest.param("domestic dog", [3, 9, 10], id="another word of WordNet"),
        pytest.param("hot   dog", [7], id="a name of two words"),
        pytest.param("'hot dog'", [7], id="in single quotes"),
        pytest.param('"hot dog"', [7], id="in double quotes"),
        pytest.param('"M&M (red)"', [12], id="signs in quotes"),
        pytest.param("crane", [5, 6], id="a shared name: all so called"),
        pytest.param("n03126707", [6], id="an id: one of them"),
        pytest.param("dog | crane", [3, 5, 6, 9, 10], id="or"),
        pytest.param("animal & !dog", [1, 4, 5], id="and not"),
        pytest.param("animal&!dog&!crane", [1, 4], id="without blanks"),
        pytest.param("crane | animal & leaf", [4, 5, 6, 9, 10], id="and binds tighter than or"),
        pytest.param("(crane | animal) & leaf", [4, 5, 6, 9, 10], id="parentheses"),
        pytest.param("!!pet", [8, 11, 12], id="not not"),
        pytest.param("!whole", [], id="nothing"),
        pytest.param("leaf & pet", [11, 12], id="leaf is a kind of node"),
        pytest.param('"leaf"', [11], id="quoted it is a name"),
        pytest.param("*terrier", [9, 10], id="any beginning"),
        pytest.param("t?y*", [10], id="one character"),
        pytest.param("n0??????1", [3, 9, 10], id="ids match too"),
        pytest.param("*", list(range(13)), id="everything"),
        pytest.param("* dog", [7], id="a pattern of two words"),
        pytest.param("depth = 1", [1, 2], id="depth"),
        pytest.param("depth == 1 | depth<1", [0, 1, 2], id="depth twice"),
        pytest.param("depth >= 2 & depth != 3 & below > 0", [3, 8], id="how many are below"),
        pytest.param("only(dog)", [3], id="the node itself"),
        pytest.param("only( crane )", [5, 6], id="both so called"),
        pytest.param("below(dog)", [9, 10], id="below"),
        pytest.param("children(animal)", [3, 4, 5], id="children"),
        pytest.param("siblings('hot dog')", [6, 8], id="siblings"),
        pytest.param("siblings(crane)", [3, 4, 7, 8], id="siblings of either"),
        pytest.param("above(terrier)", [0, 1, 3], id="ancestors"),
        pytest.param("above(*terrier) & children(whole)", [1], id="functions of a pattern"),
        pytest.param("graph(pet)", [3, 4, 8, 9, 10, 11, 12], id="kinds by the graph"),
        pytest.param("graph_above(terrier)", [0, 1, 2, 3, 8], id="ancestors by the graph"),
        pytest.param("graph(pet) & !pet", [3, 4, 9, 10], id="relations only"),
        pytest.param("\tdog\n|\npet ", [3, 8, 9, 10, 11, 12], id="any blanks"),
        pytest.param("!" * 2000 + "whole", list(range(13)), id="many signs"),
        pytest.param(" | ".join(["dog"] * 1000), [3, 9, 10], id="many names"),
    ],
)
def test_an_expression_selects_nodes(animals: WordTree, expression: str, expected: list[int]) -> None:
    assert animals.select(expression).tolist() == expected


def test_a_name_of_several_nodes_gives_a_note_and_an_id_does_not(animals: WordTree) -> None:
    (note,) = parse("crane & !dog & only(crane)", animals).notes
    assert note == (
        "'crane' means 2 nodes of the tree: n02012849 (under animal), n03126707 (under artifact); "
        "all of them are selected. Give an id to select one."
    )
    assert parse("n02012849 | *terrier", animals).notes == ()


def test_fields_of_the_caller_are_compared_row_by_row(animals: WordTree) -> None:
    query = parse("animal & !only(dog) & score >= 0.3 | area > 1e4", animals, fields=("score", "area", "x"))
    assert query.fields == {"score", "area"}
    columns = {"score": np.array([0.9, 0.3, 0.29, 0.9]), "area": np.array([1, 1, 1, 2e4])}
    assert query.rows([3, 9, 9, 7], columns).tolist() == [False, True, False, True]
    nobody = query.rows([], {"score": np.empty(0), "area": np.empty(0)})
    assert nobody.tolist() == []
    with pytest.raises(QueryError, match=r"Nodes have no area, score; select rows"):
        query.nodes()


def test_rows_without_fields_are_selected_by_their_node_alone(animals: WordTree) -> None:
    query = parse("dog & depth >= 3", animals)
    assert query.rows(np.array([3, 9, 7, 9]), {}).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        pytest.param("", 1, "Expected a name, leaf or a comparison, found the end.", id="nothing"),
        pytest.param("  ", 3, "found the end.", id="blanks"),
        pytest.param("dog &", 6, "found the end.", id="nothing after and"),
        pytest.param("& dog", 1, "found '&'.", id="nothing before and"),
        pytest.param("dog | | pet", 7, "found '|'.", id="two signs"),
        pytest.param("animal & !dgo", 11, "no node 'dgo'. Did you mean 'dog'?", id="misspelt name"),
        pytest.param("dog pet", 1, "no node 'dog pet'.", id="no sign between names"),
        pytest.param("(dog | pet", 11, "Expected ')' for the '(' in column 1, found the end.", id="open"),
        pytest.param("dog)", 4, "Expected '&', '|' or the end, found ')'.", id="closed too often"),
        pytest.param('dog "pet"', 5, "Expected '&', '|' or the end", id="a name and a quoted one"),
        pytest.param('dog & "pet', 7, "This quote is never closed.", id="open quote"),
        pytest.param("zebra*", 1, "no name or id that matches 'zebra*'.", id="pattern of nothing"),
        pytest.param(
            "dog & scroe > 1", 7, "no field 'scroe' to compare. Did you mean 'score'?", id="misspelt field"
        ),
        pytest.param(
            "weight > 1", 1, "no field 'weight' to compare. Known here: depth, below, score.", id="no field"
        ),
        pytest.param(
            "dog & score", 7, "'score' is a field: compare it, as in score >= 0.5.", id="bare field"
        ),
        pytest.param("depth > high", 9, "Expected a number to compare 'depth' with", id="no number"),
        pytest.param("depth > 'high'", 9, "found ''high''.", id="a quoted number"),
        pytest.param("depth > 1 2", 9, "found '1 2'.", id="two numbers"),
        pytest.param("depth > nan", 9, "found 'nan'.", id="not a number"),
        pytest.param("1 < depth", 1, "no field '1' to compare", id="the number first"),
        pytest.param("undr(dog)", 1, "no function 'undr'; quote a name that has parentheses.", id="function"),
        pytest.param("only(dog | pet)", 10, "found '|'; it takes one name.", id="function of two"),
        pytest.param("only()", 6, "Expected a name within only( ), found ')'.", id="function of nothing"),
        pytest.param("only(dgo)", 6, "no node 'dgo'", id="function of a misspelt name"),
        pytest.param("(" * 101 + "dog" + ")" * 101, 101, "More than 100 parentheses", id="nested too deep"),
    ],
)
def test_malformed_expressions_are_refused_with_their_column(
    animals: WordTree, expression: str, column: int, message: str
) -> None:
    with pytest.raises(QueryError) as caught:
        parse(expression, animals, fields=("score",))
    assert caught.value.column == column
    assert message in str(caught.value)
    assert f"(column {column}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("!" * 300_000 + "dog", id="negations"),
        pytest.param(" | ".join(["dog"] * 50_000), id="names"),
        pytest.param("*" + "a*" * 100_000, id="stars"),
        pytest.param("*" + "?" * 200_000, id="any characters"),
    ],
)
def test_the_time_for_a_long_expression_is_in_proportion_to_its_length(
    animals: WordTree, expression: str
) -> None:
    began = time.monotonic()
    with suppress(QueryError):
        animals.select(expression)
    assert time.monotonic() - began < 5


def test_the_memory_for_many_names_does_not_grow_with_their_number() -> None:
    tree = WordTree([f"id{node}" for node in range(20_000)], [-1] * 20_000)
    tracemalloc.start()
    try:
        assert len(tree.select(" | ".join(["id3"] * 2000))) == 1
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_a_caret_marks_the_error(animals: WordTree) -> None:
    with pytest.raises(QueryError, match=re.escape("(column 10: animal & ^dgo & leaf)")):
        animals.select("animal & dgo & leaf")
    long = " & ".join([*["dog"] * 100, "dgo", *["dog"] * 100])
    with pytest.raises(QueryError, match=re.escape("(column 601: …")) as caught:
        animals.select(long)
    assert "dog & ^dgo & dog" in str(caught.value)
    assert len(str(caught.value)) < 160


def test_a_node_with_the_name_of_a_field_is_selected_by_name(toy_tree: WordTree) -> None:
    tree = WordTree(["a", "b"], [-1, -1], ["score", "depth"])
    assert parse("score", tree, fields=("score",)).nodes().tolist() == [0]
    assert tree.select("depth").tolist() == [1]


# --- the value of every expression


def trees() -> st.SearchStrategy[WordTree]:
    def tree(children: list[int]) -> WordTree:
        parents = [-1, -1]
        for node, number in enumerate(children):
            parents += [node] * number if node < len(parents) else []
        relations = [(node, (node * 7 + 1) % 2) for node in range(3, len(parents), 3)]
        return WordTree([f"x{node}" for node in range(len(parents))], parents, relations=relations)

    return st.lists(st.integers(0, 3), min_size=2, max_size=9).map(tree)


def expected_nodes(function: str, tree: WordTree, node: int) -> set[int]:
    """The result of a function, by the slow methods of the tree."""
    everything = range(len(tree))
    if function == "siblings":
        return {other for other in everything if tree.parent[other] == tree.parent[node]} - {node}
    ups = [{*tree.ancestors(child), child} for child in everything]
    edges = tree.relations.tolist()
    for _ in everything:
        for other in everything:
            for child, parent in edges:
                if child in ups[other]:
                    ups[other] |= {parent, *tree.ancestors(parent)}
    if function == "graph":
        return {other for other in everything if node in ups[other]}
    if function == "graph_above":
        return ups[node] - {node}
    return {
        "only": {node},
        "children": set(tree.children(node)),
        "below": set(tree.descendants(node).tolist()),
        "above": set(tree.ancestors(node)),
    }[function]


@given(trees(), st.data())
def test_functions_agree_with_the_methods_of_the_tree(tree: WordTree, data: st.DataObject) -> None:
    node = data.draw(st.integers(0, len(tree) - 1))
    for function in FUNCTIONS:
        found = set(tree.select(f"{function}(x{node})").tolist())
        if function == "graph_above":  # a loop of relations leads a node above itself
            found -= {node}
        assert found == expected_nodes(function, tree, node), function
    assert set(tree.siblings(node).tolist()) == expected_nodes("siblings", tree, node)


EXPRESSIONS = st.recursive(
    st.sampled_from(["x0", "x1", "x*", "leaf", "depth >= 1", "below < 2", "only(x0)", "score > 0.5"]),
    lambda inner: st.one_of(
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, st.sampled_from("&|"), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
    ),
    max_leaves=12,
)


@given(trees(), EXPRESSIONS)
def test_operators_agree_with_those_of_python(tree: WordTree, expression: str) -> None:
    score = np.linspace(0, 1, len(tree))
    rows = parse(expression, tree, fields=("score",)).rows(np.arange(len(tree)), {"score": score})
    for node in range(len(tree)):
        facts = {
            "only(x0)": node == 0,
            "x0": bool(tree.is_at_or_under(node, 0)),
            "x1": bool(tree.is_at_or_under(node, 1)),
            "x*": True,
            "leaf": bool(tree.is_leaf[node]),
            "depth >= 1": bool(tree.depth[node] >= 1),
            "below < 2": len(tree.descendants(node)) < 2,
            "score > 0.5": bool(score[node] > 0.5),
        }
        python = expression
        for text, fact in facts.items():
            python = python.replace(text, str(fact))
        assert bool(rows[node]) == eval(
            python.replace("!", " not ").replace("&", " and ").replace("|", " or ")
        )


@given(st.text(alphabet="dogpet *?!&|()<>=\"'\\.0123 \n", max_size=30))
def test_any_text_is_a_query_or_a_query_error(animals: WordTree, text: str) -> None:
    try:
        outcome = f"column {len(animals.select(text))}"
    except QueryError as error:
        outcome = str(error)
    assert re.search(r"column \d+", outcome)
    assert "\n" not in outcome


# --- the published tree, and the page


def test_queries_of_the_published_tree(published: Path) -> None:
    tree = WordTree.load(published / "9k.tree")
    vehicles, cars = tree.select("n04524313"), tree.select("n02958343")
    assert len(vehicles) > len(cars) > 10
    without = tree.select("vehicle & !car")
    assert set(vehicles.tolist()) - set(tree.select("car").tolist()) <= set(without.tolist())
    assert not set(cars.tolist()) & set(without.tolist())
    food = tree.select("(fruit | vegetable) & depth <= 8")
    assert food.size
    assert tree.depth[food].max() <= 8


def test_the_docs_name_every_function_and_field_and_their_examples_are_valid() -> None:
    page = (Path(__file__).parents[3] / "docs" / "queries.md").read_text(encoding="utf-8")
    for word in (*FUNCTIONS, *NODE_FIELDS):
        assert f"`{word}" in page
    examples = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(examples) >= 15
    tree = WordTree(
        ["v", "c", "f", "g", "s", "t", "h", "d"],
        [-1] * 8,
        ["vehicle", "car", "fruit", "vegetable", "traffic light", "terrier", "hot dog", "dog"],
    )
    for example in examples:
        parse(example.replace("\\|", "|"), tree, fields=("score",))
