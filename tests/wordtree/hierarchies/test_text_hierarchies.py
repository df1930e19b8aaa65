"""Text files as people have them: headers, ranks, names with `#`, files of columns; and the law of the round trip."""

import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtree.errors import TreeError, TreeFileError
from wordtree.hierarchies.convert import read_hierarchy, write_hierarchy
from wordtree.hierarchies.labels import read_labels
from wordtree.tree.tree import WordTree


def read(folder: Path, name: str, text: str) -> WordTree:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_hierarchy(path)


def edges(tree: WordTree) -> dict[tuple[str, str], str | None]:
    """The parent of each node, by its id and name."""
    nodes = zip(tree.ids, tree.names, tree.parent.tolist(), strict=True)
    return {(id_, name): tree.ids[up] if up >= 0 else None for id_, name, up in nodes}


# --- CSV

PETS = {("pet", "pet"): None, ("dog", "Dog"): "pet", ("cat", "cat"): "pet"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("child,parent,name\npet,,\ndog,pet,Dog\ncat,pet,\n", id="as we write it"),
        pytest.param("Child,PARENT,Name\npet,,\ndog,pet,Dog\ncat,pet,\n", id="in any case"),
        pytest.param("name,parent,child\n,,pet\nDog,pet,dog\n,pet,cat\n", id="in another order"),
        pytest.param("parent,id,name\n,pet,\npet,dog,Dog\npet,cat,\n", id="id for child"),
        pytest.param("Parent ID;ID;Name\n;pet;\npet;dog;Dog\npet;cat;\n", id="semicolons"),
        pytest.param("child\tparent\tname\npet\t\t\ndog\tpet\tDog\ncat\tpet\n", id="tabs"),
        pytest.param(
            "\ufeff# pets\n\nchild,parent,name\npet,,\n# two\ndog,pet,Dog\ncat,pet,\n", id="comments"
        ),
        pytest.param("pet,,\ndog,pet,Dog\ncat,pet\n", id="no header"),
    ],
)
def test_csv_headers_may_have_any_case_and_order(tmp_path: Path, text: str) -> None:
    assert edges(read(tmp_path, "x.csv", text)) == PETS


def test_names_and_parents_suffice(tmp_path: Path) -> None:
    tree = read(tmp_path, "x.csv", "name,parent\nhot dog,\nchili dog,hot dog\n")
    assert edges(tree) == {("hot_dog", "hot dog"): None, ("chili_dog", "chili dog"): "hot_dog"}


def test_columns_that_are_not_read_are_listed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"x\.csv: columns that were not read: 'count', 'note'\.$"):
        tree = read(tmp_path, "x.csv", "child,count,parent,note\npet,3,,\ndog,2,pet,good\n")
    assert tree.ids == ("pet", "dog")


@pytest.mark.parametrize("header", ["source,target", "Target;Source", "from\tto"])
def test_a_list_of_edges_must_say_which_end_is_the_parent(tmp_path: Path, header: str) -> None:
    path = tmp_path / "edges.csv"
    path.write_text(f"{header}\nanimal,dog\n")
    with pytest.raises(TreeFileError, match="line 1: expected the columns 'child' and 'parent', found "):
        read_hierarchy(path)


def test_columns_may_be_called_hyponym_and_hypernym(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_text("hypernym,hyponym\nanimal,dog\n")
    assert read_hierarchy(path).ids == ("animal", "dog")


def test_a_row_with_more_fields_than_the_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TreeFileError, match=r"x\.csv: line 2: has 3 fields, but the header has 2 \('a,b,c'\)"
    ):
        read(tmp_path, "x.csv", "child,parent\na,b,c\n")


def test_rank_columns_are_a_taxonomy(tmp_path: Path) -> None:
    text = (
        "Kingdom,Class,Genus,Species,Common name\nAnimalia,Aves,,,Bird\nAnimalia,Mammalia,Panthera,leo,lion\n"
    )
    assert edges(read(tmp_path, "x.csv", text)) == {
        ("Animalia", "Animalia"): None, ("Aves", "Aves"): "Animalia", ("Bird", "Bird"): "Aves",
        ("Mammalia", "Mammalia"): "Animalia", ("Panthera", "Panthera"): "Mammalia",
        ("Panthera_leo", "lion"): "Panthera",
    }  # fmt: skip


def test_a_missing_rank_does_not_double_the_taxa_below(tmp_path: Path) -> None:
    tree = read(tmp_path, "x.csv", "class;order;family\nMammalia;Carnivora;Felidae\nMammalia;;Felidae\n")
    assert tree.ids == ("Mammalia", "Carnivora", "Felidae")
    assert len(tree.relations) == 0


def test_a_million_nodes_and_lines_for_second_parents_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("support.lines", "hierarchies.hierarchy"):
        monkeypatch.setattr(f"wordtree.{module}.MAX_NODES", 1003)
    rows = [f"s{node},{parent}\n" for parent in "ab" for node in range(1000)]
    head = "child,parent\ntop,\na,top\nb,top\n"
    tree = read(tmp_path, "x.csv", head + "".join(rows))
    assert (len(tree), len(tree.relations)) == (1003, 1000)
    with pytest.raises(TreeError, match=r"x\.csv: line 2005: a tree has at most 1003 nodes"):
        read(tmp_path, "x.csv", head + "".join(rows) + "more,top\n")


def test_a_node_with_many_thousand_parents_is_read_in_linear_time(tmp_path: Path) -> None:
    started = time.process_time()
    tree = read(tmp_path, "x.csv", "".join(f"child,parent{number}\n" for number in range(20_000)))
    assert len(tree.relations) == 19_999
    assert time.process_time() - started < 10


# --- names files


def test_a_names_file_may_have_its_columns_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("DisplayName,LabelName\nDog,/m/dog\nOther,/m/other\n")
    (tmp_path / "x.json").write_text('{"LabelName": "/m/pet", "Subcategory": [{"LabelName": "/m/dog"}]}')
    assert read_hierarchy(tmp_path / "x.json", tmp_path / "names.csv").names == ("/m/pet", "Dog")
    (tmp_path / "names.csv").write_text("Dog,/m/dog\n")
    with pytest.raises(TreeFileError, match=r"names\.csv: expected rows 'id,name' for the nodes, found none"):
        read_hierarchy(tmp_path / "x.json", tmp_path / "names.csv")


# --- text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("n00015388 n02084071\nn02084071 n02113624\n", "pairs of ids", id="ImageNet's is_a"),
        pytest.param("0 1\n0 2\n", "pairs of ids", id="numbers"),
        pytest.param("0\tn02087122\t2\thunting dog\n", "several tabs", id="Tencent ML-Images"),
        pytest.param("animal\n  dog\ta\tb\n", "several tabs", id="tabs below a name"),
        pytest.param("0a;mammalia;felidae;lion\n0b;aves;;bird\n", "fields with ';'", id="SpeciesNet"),
        pytest.param(
            "n02084071 dog, domestic dog\nn02121808 cat\n", "an id before each name", id="synset words"
        ),
        pytest.param("n02084071\tdog\nn02121808\tcat\n", "an id before each name", id="words.txt"),
        pytest.param("0\tperson\n1\tbicycle\n", "an id before each name", id="numbered classes"),
        pytest.param("thing -1\na 0\nb 0\n", "the lines of a Darknet tree; name the file .tree", id="a tree"),
        pytest.param("dog,animal\ncat,animal\n", "fields with ','", id="CSV"),
        pytest.param("dog|animal\ncat|animal\n", "fields with '|'", id="bars"),
    ],
)
def test_text_of_several_columns_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(
        TreeFileError, match=r"x\.txt: expected a name, or a name, a tab and an id, in each line"
    ) as caught:
        read(tmp_path, "x.txt", text)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_with_commas_numbers_and_hashes_stays_names(tmp_path: Path) -> None:
    text = "# toys\nBoeing 747\n  dog, domestic dog\n  #1 fan\n  \\# alone\n  a\u00a0b\n#\nn02084071\n"
    tree = read(tmp_path, "x.txt", text)
    assert tree.names == ("Boeing 747", "n02084071", "dog, domestic dog", "#1 fan", "# alone", "a b")


def test_labels_may_begin_with_a_hash(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("# two labels\n#1 fan\ncat\n#\n")
    assert read_labels(tmp_path / "labels.txt") == ["#1 fan", "cat"]


# --- the round trip

LETTERS = "#\\\"',;|\t a1-_é\U0001f600"
names = (
    st.text(LETTERS.replace("\t", ""), min_size=1, max_size=6)
    .map(str.strip)
    .filter(bool)
)  # fmt: skip
ids = st.text(LETTERS.replace("\t", "").replace(" ", ""), min_size=1, max_size=6)


@st.composite
def trees(draw: st.DrawFn) -> WordTree:
    own_ids = draw(st.lists(ids, min_size=1, max_size=8, unique=True))
    size = len(own_ids)
    parents = [-1, *sorted(draw(st.integers(-1, node - 1)) for node in range(1, size))]
    pairs = st.tuples(*[st.integers(0, size - 1)] * 2).filter(lambda pair: pair[0] > pair[1])
    relations = draw(st.lists(pairs, max_size=3)) if size > 1 else []
    own_names = draw(st.lists(names, min_size=size, max_size=size))
    bare = WordTree(own_ids, parents, own_names)
    return WordTree(
        own_ids, parents, own_names, [pair for pair in relations if not bare.is_at_or_under(*pair)]
    )


@given(trees())
def test_every_format_returns_the_nodes_names_and_parents_that_were_written(tree: WordTree) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("x.json", "x.tree", "x.csv"):
            write_hierarchy(tree, Path(folder, name))
            read_back = read_hierarchy(Path(folder, name))
            assert edges(read_back) == edges(tree)
            assert read_back.fingerprint == tree.fingerprint
            assert name == "x.tree" or read_back == tree
        text = Path(folder, "x.txt")
        with suppress(TreeError):  # names that look like columns: nothing is written
            write_hierarchy(tree, text)
        assert not text.exists() or edges(read_hierarchy(text)) == edges(tree)


@pytest.mark.parametrize("name", ["a;b", "a,b", "12", "n02084071 x"])
def test_names_that_would_be_read_as_columns_are_not_written_as_text(tmp_path: Path, name: str) -> None:
    tree = WordTree(["own"], [-1], [name])
    with pytest.raises(TreeError, match=r"the names of the tree would be .*; write \.csv or \.json"):
        write_hierarchy(tree, tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()


@pytest.mark.parametrize("suffix", [".CSV", ".Txt", ".JSON", ".TREE", ".tsv"])
def test_suffixes_may_be_in_capitals(tmp_path: Path, suffix: str) -> None:
    tree = read(tmp_path, "pets.csv", "child,parent,name\npet,,\ndog,pet,Dog\ncat,pet,\n")
    if suffix == ".tsv":
        again = read(tmp_path, "pets.tsv", "child\tparent\tname\npet\t\t\ndog\tpet\tDog\ncat\tpet\t\n")
    else:
        write_hierarchy(tree, tmp_path / f"PETS{suffix}")
        again = read_hierarchy(tmp_path / f"PETS{suffix}")
    assert edges(again) == edges(tree) == PETS


def test_a_tree_in_capitals_has_its_names_beside_it(tmp_path: Path) -> None:
    (tmp_path / "PETS.TREE").write_text("pet -1\ndog 0\ncat 0\n")
    (tmp_path / "PETS.NAMES").write_text("pet\nDog\ncat\n")
    assert edges(read_hierarchy(tmp_path / "PETS.TREE")) == PETS
