"""The HTML page of a tree: its content, refused numbers, and (slow) its behaviour in headless Chromium."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wordtree.views.browser import Page
from wordtree.tree.tree import WordTree
from wordtree.views.page import NumbersError, PageContent, read_numbers, tree_page
from wordtree.wordnet.graph import WordNet


def content_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="tree">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    content: dict[str, Any] = json.loads(match[1])
    return content


# --- content


def test_the_page_contains_the_whole_tree(toy_tree: WordTree) -> None:
    numbers = {"boxes": np.arange(7), "image labels": [None, 1.5, 0, 0, 0, 0, 0]}
    shown = PageContent("Toy", glosses={"id2": "barks"}, numbers=numbers, start=2, level=3)
    content = content_of(tree_page(toy_tree, shown))
    assert content["ids"] == list(toy_tree.ids)
    assert content["names"] == list(toy_tree.names)
    assert content["parents"] == toy_tree.parent.tolist()
    assert content["relations"] == [[6, 1]]
    assert content["glosses"] == [None, None, "barks", None, None, None, None]
    assert content["numbers"] == {"boxes": [0, 1, 2, 3, 4, 5, 6], "image labels": [None, 1.5, 0, 0, 0, 0, 0]}
    assert (content["start"], content["level"]) == (2, 3)


def test_a_page_without_a_start_opens_at_its_roots(toy_tree: WordTree) -> None:
    content = content_of(tree_page(toy_tree, PageContent("Toy")))
    assert (content["glosses"], content["numbers"]) == (None, {})
    assert (content["start"], content["level"]) == (-1, 0)
    one_root = WordTree(["a", "b"], [-1, 0])
    assert content_of(tree_page(one_root, PageContent("Toy")))["level"] == 1


def test_the_page_needs_no_network(toy_tree: WordTree) -> None:
    page = tree_page(toy_tree, PageContent("Toy"))
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)|url\(|@import|fetch\(|https?:""", page)


def test_names_with_markup_stay_text() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    tree = WordTree(["a", "b"], [-1, 0], [hostile, "{{ title }}"])
    page = tree_page(tree, PageContent("<b>{{ script }}</b>"))
    assert content_of(page)["names"] == [hostile, "{{ title }}"]
    assert page.count("</script>") == 2
    assert "<title>&lt;b&gt;{{ script }}&lt;/b&gt;</title>" in page


def test_wordnets_notice_goes_with_its_ids(toy_tree: WordTree) -> None:
    assert "Princeton" not in tree_page(toy_tree, PageContent("Toy"))
    assert "Princeton" in tree_page(WordTree(["n02084071"], [-1], ["dog"]), PageContent("Dog"))


def test_the_page_contains_the_words_of_wordnet_and_the_class_names_of_data_sets() -> None:
    tree = WordTree(["own", "n02084071", "n02121808"], [-1, 0, 0], ["pet", "Dog", "domestic cat"])
    dog, cat = content_of(tree_page(tree, PageContent("Pets")))["synonyms"][1:]
    assert dog == ["domestic dog", "Canis familiaris"]
    assert cat == ["house cat", "Felis domesticus", "Felis catus", "cat"]
    assert content_of(tree_page(WordTree(["own"], [-1]), PageContent("Own")))["synonyms"] is None


# --- numbers


def test_numbers_are_read_by_id(toy_tree: WordTree, tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("AP,ID ,boxes\n0.5,id6,3\n,id0,12\n")
    assert read_numbers(path, toy_tree) == {
        "boxes": [12, None, None, None, None, None, 3],
        "AP": [None, None, None, None, None, None, 0.5],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "expected a header with 'id' in it", id="empty"),
        pytest.param("id\nid0\n", "expected a header", id="no numbers"),
        pytest.param("node,boxes\nid0,1\n", "expected a header", id="no ids"),
        pytest.param("boxes,id\n1\n", "line 2: the tree has no node ''", id="no id in a row"),
        pytest.param("id,boxes\nid0,1\nid9,1\n", "line 3: the tree has no node 'id9'", id="unknown id"),
        pytest.param("id,boxes\nid0,many\n", "line 2, boxes: expected a number, found 'many'", id="a word"),
        pytest.param("id,boxes\nid0,nan\n", "line 2, boxes: expected a number", id="not a number"),
        pytest.param(
            "id,boxes\nid0,1,2\n", "line 2: has more fields than the 2 in the header", id="a field too many"
        ),
        pytest.param('id,boxes\nid0,"1\n', "expected a CSV file", id="an open quote"),
        pytest.param(b"id,boxes\n\xff,1\n", "expected a CSV file in UTF-8", id="latin-1"),
    ],
)
def test_files_without_numbers_are_refused(
    toy_tree: WordTree, tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(NumbersError, match=r"bad\.csv: ") as caught:
        read_numbers(path, toy_tree)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        pytest.param([1, 2], "'boxes': expected 7 numbers, one for each node, found 2", id="too few"),
        pytest.param(np.full(7, np.nan), "'boxes': expected finite numbers", id="NaN"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(toy_tree: WordTree, column: Any, message: str) -> None:
    with pytest.raises(NumbersError, match=message):
        tree_page(toy_tree, PageContent("Toy", numbers={"boxes": column}))


# --- in the browser


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


DRIVER = """
const results = {};
const list = document.getElementById("list"), search = document.getElementById("search");
const details = () => document.getElementById("details").innerText;
const summary = () => document.getElementById("summary").innerText;
const shown = () => [...document.querySelectorAll("#sheet .row .name")].map((name) => name.innerText);
const type = (text) => { search.value = text; search.dispatchEvent(new Event("input")); };
const press = (where, key) => where.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const timed = (name, act) => { const start = performance.now(); act(); results[name] = performance.now() - start; };
const rows = () => [...document.querySelectorAll("#sheet .row")];
const row = (name) => rows().find((one) => one.querySelector(".name").innerText === name);
try { %s } catch (error) { results.error = String(error); }
const output = document.createElement("pre");
output.id = "results";
output.textContent = JSON.stringify(results);
document.body.append(output);
"""


def drive(chromium: str, page: str, script: str, folder: Path) -> dict[str, Any]:
    """The results of a script that runs after that of the page and fills `results`."""
    file = folder / "page.html"
    file.write_text(page.replace("</body>", f"<script>{DRIVER % script}</script></body>"), encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    more = f"--disable-component-update --disable-sync --window-size=1200,800 --user-data-dir={folder / 'profile'}"
    command = [chromium, *flags.split(), *more.split(), "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<pre id="results">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, done.stderr[-2000:]
    results: dict[str, Any] = json.loads(unescape(match[1]))
    assert "error" not in results, results["error"]
    return results


@pytest.mark.slow
def test_search_opening_and_keys_work_in_a_browser(chromium: str, toy_tree: WordTree, tmp_path: Path) -> None:
    shown = PageContent("Toy", glosses={"id4": "hunts with birds"}, numbers={"boxes": [0, 0, 5, 2, 0, 0, 1]})
    script = """
    results.first = shown();
    results.summary = summary();
    row("animal").querySelector(".toggle").click();
    results.opened = shown();
    row("dog").click();
    results.dog = details();
    list.focus();
    press(list, "ArrowRight"); press(list, "ArrowRight");
    results.walked = details();
    press(list, "ArrowLeft"); press(list, "ArrowLeft");
    results.closed = shown();
    type("er");
    results.found = shown();
    type("birds");
    results.by_gloss = shown();
    press(search, "Enter");
    results.revealed = shown();
    results.falconer = details();
    results.hash = location.hash;
    type("zzz");
    results.nothing = [shown(), summary()];
    document.getElementById("open-all").click();
    results.all = shown();
    results.pill = row("animal").querySelector(".number").innerText;
    document.getElementById("close-all").click();
    results.none = shown();
    """
    results = drive(chromium, tree_page(toy_tree, shown), script, tmp_path)
    assert results["first"] == results["none"] == ["animal", "hunter"]
    assert results["summary"] == "7 nodes, 4 leaves, 2 roots; 2 shown"
    assert results["opened"] == results["closed"] == ["animal", "dog", "cat", "hunter"]
    assert [line for line in results["dog"].split("\n") if line][:2] == ["dog", "id2 · node 2"]
    assert re.search(r"boxes\s+5\s+6\b", results["dog"])
    assert results["walked"].startswith("terrier")
    assert re.search(r"Also a kind of, outside the tree\s+hunter", results["walked"])
    assert results["found"] == ["hunter", "angler", "terrier", "falconer"]
    assert results["by_gloss"] == ["falconer"]
    assert results["revealed"] == ["animal", "dog", "cat", "hunter", "falconer", "angler"]
    assert "hunts with birds" in results["falconer"]
    assert re.search(r"hunter\s*›\s*falconer", results["falconer"])
    assert results["hash"] == "#id4"
    assert results["nothing"] == [[], "0 of 7 nodes found"]
    assert results["all"] == ["animal", "dog", "terrier", "cat", "hunter", "falconer", "angler"]
    assert results["pill"] == "boxes 8"


@pytest.mark.slow
def test_a_tree_of_nine_thousand_nodes_responds_within_half_a_second(
    chromium: str, published: Path, tmp_path: Path
) -> None:
    tree = WordTree.load(published / "9k.tree")
    script = """
    timed("open_all", () => document.getElementById("open-all").click());
    results.summary = summary();
    results.drawn = shown().length;
    timed("scroll", () => { list.scrollTop = 100000; list.dispatchEvent(new Event("scroll")); });
    results.further = shown()[0];
    timed("search", () => type("terrier"));
    results.found = summary();
    timed("reveal", () => press(search, "Enter"));
    results.terrier = details();
    timed("step", () => press(list, "ArrowDown"));
    """
    results = drive(chromium, tree_page(tree, PageContent("9k.tree")), script, tmp_path)
    assert results["summary"] == "9,418 nodes, 7,573 leaves, 4 roots; 9,418 shown"
    assert results["drawn"] < 100
    assert results["further"] != tree.names[0]
    wordnet = WordNet.shipped()
    words = [" ".join(wordnet.lemmas(wordnet.synset(id_))) for id_ in tree.ids if id_ in wordnet]
    terriers = sum("terrier" in text.lower() for text in words)  # every node with such a name is in WordNet
    assert results["found"] == f"{terriers} of 9,418 nodes found"
    assert results["terrier"].startswith("terrier")
    for act in ("open_all", "scroll", "search", "reveal", "step"):
        assert results[act] < 500, f"{act} took {results[act]:.0f} ms"


SUMMARY = "document.getElementById('summary').innerText"


def page_of(chromium: str, tree: WordTree, folder: Path) -> Page:
    file = folder / "page.html"
    file.write_text(tree_page(tree, PageContent("Toy")), encoding="utf-8")
    return Page(chromium, file)


@pytest.mark.slow
def test_a_double_click_opens_and_closes_a_node(chromium: str, toy_tree: WordTree, tmp_path: Path) -> None:
    with page_of(chromium, toy_tree, tmp_path) as page:
        for row, shown in (("#row-0 .name", 4), ("#row-2", 5), ("#row-2 .id", 4), ("#row-0 .count", 2)):
            page.click(row, times=2)
            assert page.run(SUMMARY).endswith(f"; {shown} shown")
            page.click(row)  # a third click, or a single one, opens nothing
            assert page.run(SUMMARY).endswith(f"; {shown} shown")
        page.click("#row-0 .toggle")
        assert page.run(SUMMARY).endswith("; 4 shown")


@pytest.mark.slow
def test_a_double_click_on_a_search_result_shows_that_node(
    chromium: str, toy_tree: WordTree, tmp_path: Path
) -> None:
    with page_of(chromium, toy_tree, tmp_path) as page:
        page.click("#search")
        page.send("Input.insertText", text="angler")
        page.click("#row-5", times=2)
        assert page.run("document.querySelector('#details h2').innerText") == "angler"
        assert page.run("[...document.querySelectorAll('.row .name')].map((name) => name.innerText)") == [
            *("animal", "hunter", "falconer", "angler")
        ]


@pytest.mark.slow
def test_a_tap_anywhere_on_the_row_opens_and_closes_a_node(
    chromium: str, toy_tree: WordTree, tmp_path: Path
) -> None:
    with page_of(chromium, toy_tree, tmp_path) as page:
        page.send("Emulation.setTouchEmulationEnabled", enabled=True)
        for row, shown in (("#row-0", 4), ("#row-0 .count", 2), ("#row-0 .toggle", 4), ("#row-2 .name", 5)):
            page.tap(row)
            assert page.run(SUMMARY).endswith(f"; {shown} shown")
        assert page.run("document.querySelector('#details h2').innerText") == "dog"


@pytest.mark.slow
def test_search_finds_synonyms_and_shows_them(chromium: str, tmp_path: Path) -> None:
    tree = WordTree(["own", "n02084071", "n02121808"], [-1, 0, 0], ["canis", "dog", "domestic cat"])
    with page_of(chromium, tree, tmp_path) as page:
        page.click("#search")
        page.send("Input.insertText", text="canis f")
        assert page.run("document.querySelector('.row').innerText").split("\n")[:3] == [
            *("dog", "Canis familiaris", "n02084071")
        ]
        assert page.run(SUMMARY) == "1 of 3 nodes found"
        page.click("#row-1")
        assert "also domestic dog, Canis familiaris" in page.run(
            "document.getElementById('details').innerText"
        )
        page.click("#search")
        page.send("Input.insertText", text="cat")  # COCO's name, and a part of the node's own
        assert page.run(SUMMARY) == "1 of 3 nodes found"


@pytest.mark.slow
def test_hostile_names_stay_text_in_a_browser(chromium: str, tmp_path: Path) -> None:
    names = [
        "<img src=x onerror=hit()>",
        "</script><script>hit()</script>",
        "${hit()} {{ 7*7 }} '\"`",
        "&lt;b&gt;",
    ]
    tree = WordTree(["a", "b", "c", "<i>"], [-1, 0, 0, 0], names)
    file = tmp_path / "page.html"
    content = PageContent(
        names[0], numbers={names[1]: [1, 2, 3, 4]}, glosses=dict.fromkeys(tree.ids, names[0])
    )
    file.write_text(
        tree_page(tree, content).replace("<body>", "<body><script>hit = () => { seen = 1; };</script>")
    )
    with Page(chromium, file) as page:
        page.click("#open-all")
        page.click("#row-3")
        shown = page.run("[...document.querySelectorAll('.row .name')].map((name) => name.innerText)")
        assert shown == names
        assert page.run("typeof seen") == "undefined"
        assert page.run("document.querySelectorAll('img, b, i').length") == 0
        assert page.run("document.title") == names[0]
