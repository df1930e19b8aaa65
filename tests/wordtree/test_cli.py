"""The command `wordtree`: output, files and errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wordtree.cli import main
from wordtree.tree.tree import WordTree


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def] # a function
    """Run the command line; returns exit code, stdout, stderr."""

    def run_with(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["wordtree", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run_with


@pytest.fixture
def tree_file(toy_tree: WordTree, tmp_path: Path) -> Path:
    toy_tree.save(tmp_path / "toy.json")
    return tmp_path / "toy.json"


def test_build_prints_the_tree_and_its_choices(run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("build", "dog", "n02123045", "traffic light", "car.n.01")
    assert code == 0
    assert out.splitlines()[0].startswith("whole  n00003553  ")
    assert "├── domestic animal  n01317541  2 below" in out.splitlines()
    assert "'dog': took dog.n.01 (n02084071), not frump.n.01" in err
    assert "Labels outside physical_entity.n.01, which are roots: traffic light (n06874185)." in err


@pytest.mark.parametrize("name", ["my.tree", "my.json"])
def test_build_writes_the_tree_that_it_prints(run, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    labels = tmp_path / "labels.txt"
    labels.write_text("# two labels\n\ncar.n.01\nn02123045 tabby, tabby cat\n")
    code, out, err = run("build", labels, "bus.n.01", "-o", tmp_path / name)
    assert (code, err) == (0, "")
    assert f"{tmp_path / name}" in out
    assert {"n02958343", "n02123045", "n02924116"} <= set(WordTree.load(tmp_path / name).ids)


def test_build_json_contains_report_and_tree(run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("build", "kite", "car.n.01", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["report"]["guesses"][0]["wnid"] == "n03621473"
    assert len(WordTree.from_json(json.dumps(content["tree"]))) == content["report"]["nodes"]


def test_find_lists_the_senses_with_their_paths(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("find", "mouse")
    assert code == 0
    lines = out.splitlines()
    assert "mouse.n.04  n03793489  mouse, computer mouse" in lines
    assert any(line.endswith("device > electronic device > mouse") for line in lines)
    content = json.loads(run("find", "mouse", "--json")[1])
    assert content["reason"] == "ambiguous"
    assert [sense["synset"] for sense in content["senses"]][:2] == ["mouse.n.01", "shiner.n.01"]
    assert "gloss" not in content["senses"][0]


def test_find_reports_classes_of_data_sets_and_nodes_of_a_tree(run, tree_file: Path) -> None:  # type: ignore[no-untyped-def]
    lines = run("find", "mouse")[1].splitlines()
    assert lines[-1] == "The class 'mouse' of COCO is mouse.n.04 (n03793489)."
    assert json.loads(run("find", "mouse", "--json")[1])["classes"] == {"COCO": "n03793489"}
    assert run("find", "terrier", "--tree", tree_file)[1] == "terrier  id6  < dog < animal\n"
    assert json.loads(run("find", "cat", "--tree", tree_file, "--json")[1])[0]["id"] == "id3"


def test_resolve_reports_every_class_of_a_data_set(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    classes = tmp_path / "class-descriptions.csv"
    classes.write_text("/m/03bk1,Giraffe\n/m/0k4j,Car\n/m/014j1m,Appel\n")
    code, out, err = run("resolve", classes)
    assert (code, err) == (0, "3 classes: 1 exact, 1 ambiguous, 1 unknown.\n")
    assert out.splitlines()[:2] == [
        "id,name,wnid,synset,reason,note",
        "/m/03bk1,Giraffe,n02439033,giraffe.n.01,exact,",
    ]
    assert len(out.splitlines()) == 4
    assert run("resolve", classes, "-o", tmp_path / "map.csv")[1] == ""
    assert (tmp_path / "map.csv").read_text() == out
    assert [row["reason"] for row in json.loads(run("resolve", classes, "--json")[1])] == [
        "exact",
        "ambiguous",
        "unknown",
    ]


def test_info_prints_size_and_fingerprint(run, tree_file: Path, toy_tree: WordTree) -> None:  # type: ignore[no-untyped-def]
    facts = json.loads(run("info", tree_file, "--json")[1])
    assert facts["fingerprint"] == toy_tree.fingerprint
    assert (facts["nodes"], facts["roots"], facts["leaves"], facts["sibling_groups"]) == (7, 2, 4, 4)
    assert "largest group size   2" in run("info", tree_file)[1].splitlines()


def test_show_prints_a_part_of_the_tree(run, tree_file: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("show", tree_file, "animal", "--depth", 1)[1].splitlines() == [
        "animal  id0  3 below",
        "├── dog  id2  1 below",
        "└── cat  id3",
    ]
    rows = json.loads(run("show", tree_file, "dog", "--json")[1])
    assert rows == [
        {"node": 2, "id": "id2", "name": "dog", "parent": 0, "depth": 1, "below": 1},
        {"node": 6, "id": "id6", "name": "terrier", "parent": 2, "depth": 2, "below": 0},
    ]


def test_show_writes_a_page_and_a_graph(run, tree_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page, graph, label_counts = tmp_path / "toy.html", tmp_path / "toy.dot", tmp_path / "counts.csv"
    label_counts.write_text("id,boxes\nid2,41\n")
    code, out, err = run("show", tree_file, "dog", "--html", page, "--dot", graph, "--numbers", label_counts)
    assert (code, out, err) == (0, f"{page}, {graph}\n", "")
    text = page.read_text(encoding="utf-8")
    assert "<title>toy.json</title>" in text
    assert '"numbers":{"boxes":[null,null,41,null,null,null,null]},"start":2' in text
    assert graph.read_text().count("label=") == 2
    assert json.loads(run("show", tree_file, "--html", page, "--json")[1]) == {"files": [str(page)]}


def test_a_page_has_glosses_of_an_installed_wordnet(run, installed_wordnet: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    WordTree(["own", "n02084071"], [-1, 0], ["pets", "dog"]).save(tmp_path / "pets.json")
    run("show", tmp_path / "pets.json", "--html", tmp_path / "p.html", "--wordnet", installed_wordnet)
    assert '"glosses":[null,"a member of the genus Canis' in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_query_lists_counts_and_notes(run, tree_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("query", tree_file, "animal & leaf")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["cat  id3  < animal", "terrier  id6  < dog < animal"]
    assert run("query", tree_file, "animal & leaf", "--count")[1] == "2\n"
    assert [row["id"] for row in json.loads(run("query", tree_file, "graph(hunter)", "--json")[1])] == [
        "id1",
        "id4",
        "id5",
        "id6",
    ]
    assert json.loads(run("query", tree_file, "!*", "--json")[1]) == []
    WordTree(["a", "b"], [-1, -1], ["crane", "crane"]).save(tmp_path / "cranes.json")
    code, out, err = run("query", tmp_path / "cranes.json", "crane", "--count", "--json")
    assert (code, out) == (0, "2\n")
    assert err == (
        "'crane' means 2 nodes of the tree: a (a root), b (a root); all of them are selected. "
        "Give an id to select one.\n"
    )


def test_path_prints_the_way_between_two_nodes(run, tree_file: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("path", tree_file, "terrier")[1].splitlines() == [
        "animal  id0",
        "dog  id2  < animal",
        "terrier  id6  < dog < animal",
    ]
    lines = run("path", tree_file, "terrier", "cat")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["terrier", "dog", "animal", "cat", "Their"]
    assert lines[-1] == "Their lowest common ancestor is animal; the path has 3 edges."
    assert json.loads(run("path", tree_file, "dog", "dog", "--json")[1])["distance"] == 0
    assert run("path", tree_file, "dog", "hunter")[1] == "dog and hunter have no common root.\n"
    apart = json.loads(run("path", tree_file, "dog", "hunter", "--json")[1])
    assert apart == {"path": [], "lowest_common_ancestor": None, "distance": None}


def test_lint_lists_findings(run, tree_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("lint", tree_file)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("group of one: 1  (")
    assert out.splitlines()[1:] == ["    terrier (id6) is the only child of dog (id2)"]
    assert json.loads(run("lint", tree_file, "--json")[1])[0]["ids"] == ["id6"]
    WordTree(list("abcdefgh"), [-1] * 8, ["x"] * 8).save(tmp_path / "roots.tree")
    lines = run("lint", tmp_path / "roots.tree", "--wide-group", 7)[1].splitlines()
    assert lines[6] == "    … and 3 more; --all lists them"
    assert "    8 roots" in lines
    assert not [
        line for line in run("lint", tmp_path / "roots.tree", "--all")[1].splitlines() if "more" in line
    ]
    WordTree(["a", "b"], [-1, -1]).save(tmp_path / "none.tree")
    assert json.loads(run("lint", tmp_path / "none.tree", "--json")[1])[0]["kind"] == "orphan"
    WordTree(["a", "b", "c"], [-1, 0, 0]).save(tmp_path / "good.tree")
    assert run("lint", tmp_path / "good.tree")[1] == "No findings.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Missing command", id="no command"),
        pytest.param(["build"], "Missing argument", id="no labels"),
        pytest.param(["build", "dgo"], "Did you mean 'dog'", id="unknown label"),
        pytest.param(
            ["build", "labels.txt"], "labels.txt: there is no such label file", id="absent label file"
        ),
        pytest.param(
            ["build", "car.n.01", "-o", "x.png"], "x.png: expected a name that ends in", id="bad suffix"
        ),
        pytest.param(["build", "car.n.01", "-o", "no/x.tree"], "does not exist: no", id="absent folder"),
        pytest.param(["build", "car.n.01", "--profile", "x"], "no profile 'x'", id="unknown profile"),
        pytest.param(
            ["build", "empty.txt"], "empty.txt: expected one label on each line", id="empty label file"
        ),
        pytest.param(["build", "latin.txt"], "latin.txt: line 1: not UTF-8", id="label file in latin-1"),
        pytest.param(["find", "xqzzy"], "does not know 'xqzzy'", id="unknown word"),
        pytest.param(["find", "dog", "--wordnet", "."], "found no data.noun", id="no WordNet there"),
        pytest.param(["find", "pug", "--tree", "toy.json"], "no node 'pug'", id="no such node in the tree"),
        pytest.param(
            ["resolve", "toy.json"],
            'toy.json: expected annotations of COCO or LVIS, found no list "categories"',
            id="no classes",
        ),
        pytest.param(["info", "absent.tree"], "No such file or directory: absent.tree", id="absent tree"),
        pytest.param(["info", "bad.tree"], "bad.tree: line 1: expected 'id parent'", id="bad tree"),
        pytest.param(
            ["convert", "toy.json", "x.yaml"], "x.yaml: expected a name that ends in", id="unknown suffix"
        ),
        pytest.param(["convert", "toy.json", "x.map"], "x.map: expected a name", id="a map without a tree"),
        pytest.param(
            ["convert", "toy.json", "x.csv", "--tree", "toy.json"], "toy.json: ", id="a tree is no list"
        ),
        pytest.param(
            ["build", "dog.n.01", "--graft", "absent.csv"], "directory: absent.csv", id="absent graft"
        ),
        pytest.param(
            ["build", "dog.n.01", "--explain", "wolf"],
            "'wolf' is not part of this tree",
            id="nothing to explain",
        ),
        pytest.param(["info", "."], ".: expected a tree file", id="a folder"),
        pytest.param(["show", "toy.json", "dgo"], "no node 'dgo'. Did you mean 'dog'", id="unknown node"),
        pytest.param(
            ["query", "toy.json", "dog & dgo"], "(column 7: dog & ^dgo)", id="unknown name in a query"
        ),
        pytest.param(["query", "toy.json", "score > 1"], "no field 'score' to compare", id="unknown field"),
        pytest.param(["path", "toy.json", "dog", "dgo"], "no node 'dgo'", id="path to nowhere"),
        pytest.param(
            ["show", "toy.json", "--depth", "-1"], "Invalid value for '--depth'", id="negative depth"
        ),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(  # type: ignore[no-untyped-def]
    run, arguments: list[str], message: str, tree_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tree_file.parent
    monkeypatch.chdir(folder)
    (folder / "bad.tree").write_text("a b c\n")
    (folder / "empty.txt").write_text("# none\n")
    (folder / "latin.txt").write_bytes(b"L\xf6we\n")
    before = sorted(folder.iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("wordtree: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_build_explains_its_choices(run) -> None:  # type: ignore[no-untyped-def]
    labels = ("dog.n.01", "wolf.n.01", "fox.n.01", "domestic_cat.n.01")
    code, out, err = run("build", *labels, "--explain", "dog", "--explain", "wolf")
    assert (code, err) == (0, "")
    assert out.startswith(
        "dog.n.01 (n02084071) joined the tree by one of 2 paths, at a cost of 1:\n  taken    1 node  object > "
    )
    assert "wolf.n.01 (n02114100) has a single path to the root" in out
    code, out, err = run("build", *labels, "--explain", "dog", "--json")
    assert json.loads(out)["explanations"][0]["considered"][1]["cost"] in (1, 2)


def test_build_adds_custom_classes(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "own.csv"
    own.write_text("tesla,car.n.01,Tesla\nmodel s,tesla\n")
    code, out, err = run("build", "dog.n.01", "--graft", own, "-o", tmp_path / "my.csv")
    assert (code, err) == (0, "")
    assert "+ 2 custom classes = 5 nodes" in out
    assert "model_s,tesla,model s\n" in (tmp_path / "my.csv").read_text()
    assert (
        run("build", "dog.n.01", "--graft", own, "--explain", "model s")[1]
        .splitlines()[-1]
        .endswith("Tesla (tesla)")
    )


def test_convert_chooses_formats_by_suffix(run, tree_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("a.csv", "b.json", "c.csv"):
        code, out, err = run("convert", tree_file, tmp_path / name)
        assert (code, out, err) == (0, f"{tmp_path / name}: 7 nodes, 1 additional relations\n", "")
        tree_file = tmp_path / name
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "c.csv").read_text()
    code, out, err = run("convert", tree_file, tmp_path / "d.txt", "--json")
    assert json.loads(out) == {"files": [str(tmp_path / "d.txt")], "nodes": 7, "additional_relations": 1}
    assert "without the tree's additional relations (1); .json and .csv keep them" in err
    assert "nodes                7" in run("info", tmp_path / "d.txt")[1]


def test_convert_writes_maps_of_classes(run, tree_file: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "pets.names").write_text("cat\ndog\n")
    code, out, _ = run("convert", tmp_path / "pets.names", tmp_path / "pets.map", "--tree", tree_file)
    assert (code, out) == (0, f"{tmp_path / 'pets.map'}: 2 classes\n")
    assert (tmp_path / "pets.map").read_text() == "3\n2\n"


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wordtree", "find", "giraffe"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("giraffe.n.01  n02439033")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["build", "my.names", "-o", "my.tree"], id="build: the names of its tree"),
        pytest.param(["build", "cat", "--graft", "own.csv", "-o", "own.csv"], id="build: the graft"),
        pytest.param(["build", "cat", "-o", "note.json"], id="build: a foreign file"),
        pytest.param(["convert", "own.csv", "own.csv"], id="convert: its input"),
        pytest.param(["convert", "x.tree", "my.tree"], id="convert: names beside a new tree"),
        pytest.param(["convert", "x.tree", "x.labels"], id="convert: a foreign list"),
        pytest.param(["convert", "my.names", "x.names", "--tree", "x.tree"], id="convert: the names of --tree"),
        pytest.param(["resolve", "my.names", "-o", "my.names"], id="resolve: its input"),
        pytest.param(["show", "x.tree", "--html", "x.tree"], id="show: its input"),
        pytest.param(["show", "x.tree", "--html", "x.html", "--figures", "own.csv", "--dot", "own.csv"], id="numbers"),
        pytest.param(["show", "x.tree", "--dot", "note.json"], id="show: a foreign file"),
    ],
)  # fmt: skip
def test_no_command_replaces_inputs_or_files_of_the_user(  # type: ignore[no-untyped-def]
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    texts = {
        "my.names": "cat\nzebra\n",
        "own.csv": "id,parent\na,dog.n.01\n" if "--graft" in arguments else "id,boxes\nthing,1\n",
        "note.json": "{}",
        "x.tree": "thing -1\ncat 0\nzebra 0\n",
        "x.names": "thing\nCat\nZebra\n",
        "x.labels": "cat\n",
    }
    if arguments[0] == "convert":
        texts["own.csv"] = "parent,child\nthing,cat\n"
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "or add --overwrite" in err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == texts
    assert run(*arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize("command", ["info", "show", "lint", "path", "query"])
def test_every_command_reads_every_format_of_a_hierarchy(run, tmp_path: Path, command: str) -> None:  # type: ignore[no-untyped-def]
    tree = tmp_path / "pets.csv"
    tree.write_text("child,parent\npet,\ndog,pet\ncat,pet\n")
    code, out, err = run(command, tree, *(["dog"] if command in ("path", "query") else []))
    assert (code, err) == (0, "")
    assert out
