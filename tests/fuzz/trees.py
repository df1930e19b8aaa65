"""Harnesses of `wordtree`: trees and hierarchies in every format, lists of classes, queries, configurations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from data_prep.classes.class_selection import read_names as read_selection
from data_prep.classes.label_map import read_label_map
from data_prep.config import MergeConfig
from tests.fuzz.harness import Harness, write
from tests.fuzz.mutations import fields, lines
from tests.fuzz.structure import deep, json_value, yaml_value
from wordtree import WordTree
from wordtree.building.graft import read_custom_classes
from wordtree.hierarchies.convert import hierarchy_texts, read_hierarchy
from wordtree.hierarchies.darknet_classes import nodes_of_classes, read_classes, read_map
from wordtree.hierarchies.dataset_classes import read_dataset_classes, resolve_classes
from wordtree.hierarchies.labels import read_labels
from wordtree.support.config_files import load_config
from wordtree.tree.lint import lint
from wordtree.tree.lookup import node_of
from wordtree.views.page import read_numbers
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import resolve
from yolo9000.config import read_config, read_pretrain_config

ROOT = Path(__file__).parents[2]
_NAMES = ["animal", "hunter", "dog", "cat", "falconer", "angler", "terrier"]
TOY = WordTree([f"id{node}" for node in range(7)], [-1, -1, 0, 0, 1, 1, 2], _NAMES, [(6, 1)])
_JSON_TOKENS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"null",
    b'"a":',
    b"[[",
    b"NaN",
    b'"children":',
    b'"id":',
)
_YAML_TOKENS = (
    *(
        b"&a ",
        b"*a",
        b"<<: *a\n",
        b"!!python/name:os.system ",
        b"!!binary ",
        b"!!set ",
        b"!!int ",
        b"? ",
        b"- ",
        b": ",
    ),
    *(
        b"|\n",
        b">\n",
        b"---\n",
        b"...\n",
        b"%YAML 9.9\n",
        b"{a: &b [*b]}",
        b"2026-12-01",
        b"1:30:00",
        b".inf",
        b"~",
        b"{}",
    ),
    *(b"&a [*a, *a]", b"0777", b"\t", b"!", b"@", b"`", b"=", b"[" * 60),
)


def _with_wordnet(*seeds: bytes) -> Callable[[Path], list[bytes]]:
    """A function that loads WordNet, which takes seconds, and returns these seeds."""

    def prepare(folder: Path) -> list[bytes]:
        resolve("a word that WordNet does not know", WordNet.shipped())
        return list(seeds)

    return prepare


def _tree_seeds(suffix: str) -> list[bytes]:
    def of(tree: WordTree) -> bytes:
        return hierarchy_texts(tree, Path(f"x{suffix}"))[Path(f"x{suffix}")].encode()

    chain = WordTree([f"c{node}" for node in range(40)], range(-1, 39))
    wide = WordTree(["root", *(f"n{node:08}" for node in range(60))], [-1, *[0] * 60])
    return [of(TOY), of(chain), of(wide)]


def _read_tree(name: str, folder: Path, data: bytes) -> None:
    tree = read_hierarchy(write(folder, name, data))
    WordTree.from_json(tree.to_json())
    list(lint(tree))
    for suffix in (".json", ".csv", ".tree"):  # .txt cannot hold every name
        hierarchy_texts(tree, Path(f"x{suffix}"))


def _darknet_tree(folder: Path) -> list[bytes]:
    return [*_tree_seeds(".tree"), b"a -1\nb 0\nc 0\n", b"a -1\r\nb -1\r\n"]


def _csv_tree(folder: Path) -> list[bytes]:
    ranks = b"kingdom,order,family,genus,species,common name\nAnimalia,Carnivora,Canidae,Canis,lupus,wolf\n"
    ranks += b"Animalia,Carnivora,Felidae,Felis,catus,cat\nAnimalia,,,Felis,silvestris,\n"
    return [
        *_tree_seeds(".csv"),
        ranks,
        b"child;parent\nb;a\nc;a\n",
        b"parent,child\na,b\na,c\n",
        b"b,a,B\nc,a\n",
    ]


def _indented_tree(folder: Path) -> list[bytes]:
    return [*_tree_seeds(".txt"), b"animal\n  dog\n    terrier\n  cat\n", b"a\n\tb\n\t\tc\nd\n"]


_DIALECTS = (
    {"LabelName": "/m/0", "Subcategory": [{"LabelName": "/m/1", "Part": [{"LabelName": "/m/2"}]}]},
    {"name": "thing", "children": [{"name": "dog", "id": "d", "children": ["terrier"]}, "cat"]},
    {
        "categories": [
            {"id": 1, "name": "dog", "supercategory": "animal"},
            {"id": 2, "name": "car", "supercategory": "v"},
        ]
    },
    {
        "categories": [
            {
                "id": 1,
                "name": "Felis catus",
                "kingdom": "Animalia",
                "genus": "Felis",
                "specific_epithet": "catus",
            }
        ]
    },
    {"father2child": {"a": ["b", "c"], "b": ["d"]}, "id2name": {"a": "A", "d": "D"}},
    {"child2father": {"b": "a", "c": ["a"]}},
    [{"id": 1, "parent": None, "name": "a"}, {"id": 2, "parent": 1, "name": "b"}],
    {"nodes": [{"id": 1, "label": "a"}, {"id": 2}], "links": [{"source": 1, "target": 2}]},
    {"animal": {"dog": ["terrier", "hound"], "cat": None}, "vehicle": {}},
)


def _dialects(folder: Path) -> list[bytes]:
    return [json.dumps(content).encode() for content in _DIALECTS]


def _names_of_hierarchy(folder: Path) -> list[bytes]:
    write(folder, "tree.csv", b"child,parent\nb,a\nc,a\n")
    return [
        b"LabelName,DisplayName\na,Animal\nb,Bird\nc,Cat\n",
        b"a,Animal\nb,Bird\n",
        b"id;name\na;A\nb;B\nc;C\n",
    ]


def _classes(folder: Path, data: bytes) -> None:
    path = write(folder, "x.names", data)
    read_classes(path)
    nodes_of_classes(path, TOY)


def _dataset_classes(suffix: str, folder: Path, data: bytes) -> None:
    resolve_classes(read_dataset_classes(write(folder, f"x{suffix}", data))[:100], WordNet.shipped())


def _coco_and_lvis_classes(folder: Path) -> list[bytes]:
    _with_wordnet()(folder)
    lvis = [
        {"id": 1, "name": "dog", "synset": "dog.n.01", "synonyms": ["dog", "domestic_dog"]},
        {"id": 2, "name": "x y"},
    ]
    return [
        json.dumps(content).encode()
        for content in ({"categories": [{"id": 1, "name": "cat"}]}, {"categories": lvis})
    ]


def _query(folder: Path, data: bytes) -> None:
    TOY.select(data.decode("utf-8", "replace"))


_QUERIES = (
    *(
        "animal & !dog",
        "(cat | dog) & depth <= 2",
        "leaf & depth < 3",
        '"dog"',
        "*er",
        "d?g",
        "only(dog)",
        "above(terrier)",
    ),
    *(
        "below(animal)",
        "children(animal)",
        "siblings(cat)",
        "graph(hunter)",
        "graph_above(terrier)",
        "depth = 1 | leaf",
    ),
    *("below >= 1", "id3 | cat", "!animal", "((dog))"),
)
_QUERY_TOKENS = (
    *(
        b"&",
        b"|",
        b"!",
        b"(",
        b")",
        b"*",
        b"?",
        b'"',
        b",",
        b">=",
        b"<",
        b"=",
        b"leaf",
        b"depth",
        b"below",
        b"only(",
        b"a*" * 50,
    ),
    *(b"score > ", b"graph_above(", b"1e5", b"!!!!", b"((((", b"9" * 30),
)


def _pattern(folder: Path, data: bytes) -> None:
    TOY.matching(data.decode("utf-8", "replace"))


def _merge_settings(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs" / "merge").glob("*.yaml"))]


def _train_settings(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs" / "train").glob("*.yaml"))]


def _pretrain_settings(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "configs" / "pretrain").glob("*.yaml"))]


def _merge_overrides(folder: Path) -> list[bytes]:
    write(folder, "x.yaml", (ROOT / "configs" / "merge" / "coco_imagenet.yaml").read_bytes())
    texts = (
        *("seed=1", "sources.0.images=x", "sources.coco.split={train: 0.9, val: 0.1}", "tree=flat"),
        *(
            "classes.keep=[a, b]",
            "sources.0.classes.top=5",
            "tree={profile: paper}",
            "custom_classes={a: dog}",
        ),
    )
    return [text.encode() for text in texts]


def _train_overrides(folder: Path) -> list[bytes]:
    write(folder, "x.yaml", (ROOT / "configs" / "train" / "yolo9000.yaml").read_bytes())
    return [
        b"model.input_size_px=320",
        b"loss.ignore_iou=0.5",
        b"schedule.max_steps=9000",
        b"name=x",
        b"log={every: 1}",
    ]


def _label_map_seeds(folder: Path) -> list[bytes]:
    return [
        b"coco:\n  cat: {node: n02121808, reason: id, name: cat}\n  dog: drop\n  x: {parent: dog, node: x}\n",
        b"all sources:\n  cat: {node: null, proposed: n02121620, left_out: 'few', sources: [a, b]}\n",
    ]


_SET_TOKENS = (*_YAML_TOKENS, b"=", b".", b"sources.", b"0.", b"model.", b"tree=", b"{a: ")
_NUMBERS = b"id,boxes,share\nid0,1,0.5\nid1,2,\nid6,0,1e3\n"
_JSON = (json_value, json_value, json_value, deep)
_YAML = (yaml_value, yaml_value, lines, deep)
_TEXT = (lines, fields, fields)

HARNESSES = (
    Harness(
        "tree-darknet",
        "wordtree",
        _darknet_tree,
        lambda f, d: _read_tree("x.tree", f, d),
        _TEXT,
        named="x.tree",
    ),
    Harness(
        "tree-json",
        "wordtree",
        lambda _: _tree_seeds(".json"),
        lambda f, d: _read_tree("x.json", f, d),
        _JSON,
        _JSON_TOKENS,
        named="x.json",
    ),
    Harness("tree-csv", "wordtree", _csv_tree, lambda f, d: _read_tree("x.csv", f, d), _TEXT, named="x.csv"),
    Harness(
        "tree-indented",
        "wordtree",
        _indented_tree,
        lambda f, d: _read_tree("x.txt", f, d),
        _TEXT,
        named="x.txt",
    ),
    Harness(
        "hierarchy-json",
        "wordtree",
        _dialects,
        lambda f, d: _read_tree("x.json", f, d),
        _JSON,
        _JSON_TOKENS,
        named="x.json",
    ),
    Harness(
        "hierarchy-names",
        "wordtree",
        _names_of_hierarchy,
        lambda f, d: read_hierarchy(f / "tree.csv", write(f, "names.csv", d)),
        _TEXT,
    ),
    Harness(
        "names", "wordtree", _with_wordnet(b"dog\ncat\n", b"id1\nid2\n"), _classes, _TEXT, named="x.names"
    ),
    Harness(
        "map",
        "wordtree",
        lambda _: [b"0\n3\n6\n", b"1\r\n2\r\n"],
        lambda f, d: read_map(write(f, "x.map", d), TOY),
        _TEXT,
        named="x.map",
    ),
    Harness(
        "labels",
        "wordtree",
        lambda _: [b"dog\n# no\nn02121620 cat, true cat\n", b"car\n"],
        lambda f, d: read_labels(write(f, "x.txt", d)),
        _TEXT,
        named="x.txt",
    ),
    Harness(
        "classes-json",
        "wordtree",
        _coco_and_lvis_classes,
        lambda f, d: _dataset_classes(".json", f, d),
        _JSON,
        _JSON_TOKENS,
        named="x.json",
    ),
    Harness(
        "classes-csv",
        "wordtree",
        _with_wordnet(b"/m/0k4j,Car\n/m/1,Dog\n", b"LabelName,DisplayName\n/m/0,Cat\n"),
        lambda f, d: _dataset_classes(".csv", f, d),
        _TEXT,
        named="x.csv",
    ),
    Harness(
        "custom-classes",
        "wordtree",
        _with_wordnet(b"child,parent,name\nmy_boat,boat,My boat\nred,my_boat\n"),
        lambda f, d: read_custom_classes(write(f, "x.csv", d), WordNet.shipped()),
        _TEXT,
        named="x.csv",
    ),
    Harness(
        "numbers",
        "wordtree",
        lambda _: [_NUMBERS],
        lambda f, d: read_numbers(write(f, "x.csv", d), TOY),
        _TEXT,
        named="x.csv",
    ),
    Harness(
        "query",
        "wordtree",
        _with_wordnet(*(text.encode() for text in _QUERIES)),
        _query,
        (deep,),
        _QUERY_TOKENS,
    ),
    Harness(
        "pattern",
        "wordtree",
        lambda _: [b"*er", b"d?g", b"a*b*c*"],
        _pattern,
        (),
        (b"*", b"?", b"*a" * 200, b"\n"),
    ),
    Harness(
        "word",
        "wordtree",
        _with_wordnet(b"dog", b"id3", b"terrier", b"cat"),
        lambda f, d: node_of(d.decode("utf-8", "replace"), TOY),
    ),
    Harness(
        "merge-yaml",
        "data_prep",
        _merge_settings,
        lambda f, d: load_config(write(f, "x.yaml", d), MergeConfig),
        _YAML,
        _YAML_TOKENS,
        named="x.yaml",
    ),
    Harness(
        "train-yaml",
        "yolo9000",
        _train_settings,
        lambda f, d: read_config(write(f, "x.yaml", d)),
        _YAML,
        _YAML_TOKENS,
        named="x.yaml",
    ),
    Harness(
        "pretrain-yaml",
        "yolo9000",
        _pretrain_settings,
        lambda f, d: read_pretrain_config(write(f, "x.yaml", d)),
        _YAML,
        _YAML_TOKENS,
        named="x.yaml",
    ),
    Harness(
        "set-merge",
        "data_prep",
        _merge_overrides,
        lambda f, d: load_config(f / "x.yaml", MergeConfig, [d.decode("utf-8", "replace")]),
        (deep,),
        _SET_TOKENS,
    ),
    Harness(
        "set-train",
        "yolo9000",
        _train_overrides,
        lambda f, d: read_config(f / "x.yaml", [d.decode("utf-8", "replace")]),
        (deep,),
        _SET_TOKENS,
    ),
    Harness(
        "label-map",
        "data_prep",
        _label_map_seeds,
        lambda f, d: read_label_map(write(f, "x.yaml", d)),
        _YAML,
        _YAML_TOKENS,
        named="x.yaml",
    ),
    Harness(
        "class-selection",
        "data_prep",
        lambda _: [b"cat\ndog # no\n\n"],
        lambda f, d: read_selection(write(f, "x.txt", d)),
        (lines,),
        named="x.txt",
    ),
)
