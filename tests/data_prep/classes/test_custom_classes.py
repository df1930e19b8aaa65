"""Proposals, and classes that WordNet lacks: in MERGE.yaml, in the label map, and in a flat tree."""

import json

import pytest
import yaml

from data_prep import merge
from data_prep.classes.label_map import read_label_map
from data_prep.classes.matching import LabelMapError
from data_prep.config import MergeConfig
from data_prep.dataset.index_file import read_index
from data_prep.maintenance.relabel import relabel, write_relabelled
from data_prep.maintenance.relabel_settings import change_of
from data_prep.planning.plan import make_plan
from tests.data_prep.conftest import CAR, DOG, TABBY, encoded_image, write_coco
from wordtree import WordTree
from wordtree.support.config_files import load_config

BANANA, BOAT = "n07753592", "n02858304"


@pytest.fixture
def merged(tmp_path):
    """Writes sources, each with one image and a box of every class, and returns their configuration."""

    def config_of(classes_of, **settings):
        sources = []
        for number, (name, classes) in enumerate(classes_of.items()):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            (folder / "0.jpg").write_bytes(encoded_image(number))
            image = {"id": 1, "file_name": "0.jpg", "width": 40, "height": 30}
            boxes = [
                {"id": row, "image_id": 1, "category_id": 10 * (row + 1), "bbox": [0, 0, 9, 9]}
                for row in range(len(classes))
            ]
            write_coco(folder, [image], boxes, classes)
            sources.append(
                {
                    "name": name,
                    "format": "coco",
                    "images": str(folder),
                    "annotations": f"{folder}/instances.json",
                }
            )
        path = tmp_path / "merge.yaml"
        path.write_text(json.dumps({"sources": sources, **settings}))
        return load_config(path, MergeConfig)

    return config_of


def decisions(config):
    return {(match.source, match.name): (match.id, match.reason) for match in make_plan(config).matches}


def test_names_of_cocos_classes_count_in_any_case_and_as_image_labels(world, config_of, merged):
    assert decisions(merged({"own": ["Dog", "CAR", "Hot-Dog"]})) == {
        ("own", "Dog"): (DOG, "curated"),
        ("own", "CAR"): ("n02958343", "curated"),
        ("own", "Hot-Dog"): ("n07697537", "curated"),
    }
    (world / "labelled" / CAR).rename(world / "labelled" / "Car")
    (world / "labelled" / TABBY).rename(world / "labelled" / "cat")
    labels = [match for match in make_plan(config_of(world)).matches if match.source == "labels"]
    assert {match.reason for match in labels} == {"curated"}


def test_the_label_map_has_one_line_for_a_class_of_several_sources(merged, command, tmp_path):
    merged({"a": ["Crane", "okapi"], "b": ["crane", "okapi"], "c": ["crane", "gnu"]})
    map_ = tmp_path / "map.yaml"
    command("plan", tmp_path / "merge.yaml", "--set", f"label_map={map_}")
    written = yaml.safe_load(map_.read_text())
    assert list(written) == ["all sources", "c"]
    assert list(written["all sources"]) == ["Crane", "okapi"]
    assert written["all sources"]["Crane"]["sources"] == ["a", "b", "c"]
    assert written["all sources"]["Crane"]["node"] is None
    assert written["all sources"]["Crane"]["because"]
    map_.write_text(map_.read_text().replace("Crane: {node: null", "Crane: {node: crane.n.05"))
    found = decisions(load_config(tmp_path / "merge.yaml", MergeConfig, [f"label_map={map_}"]))
    assert found["a", "Crane"] == found["b", "crane"] == found["c", "crane"] == ("n02012849", "edited")


def test_a_line_of_a_source_precedes_the_line_of_all_sources(merged, tmp_path):
    (tmp_path / "map.yaml").write_text("all sources: {crane: crane.n.04}\nb: {crane: drop}\n")
    found = decisions(merged({"a": ["crane"], "b": ["crane"]}, label_map="map.yaml"))
    assert found == {("a", "crane"): ("n03126707", "edited"), ("b", "crane"): (None, "dropped")}


def test_a_class_of_all_sources_that_no_source_has_is_refused(merged, tmp_path):
    (tmp_path / "map.yaml").write_text("all sources: {crame: drop}\n")
    with pytest.raises(LabelMapError, match=r"class 'crame' does not exist.*did you mean 'crane'"):
        decisions(merged({"a": ["crane", "okapi"]}, label_map="map.yaml"))


def test_a_class_means_different_nodes_in_two_sources_only_with_two_lines(merged, command, tmp_path):
    (tmp_path / "map.yaml").write_text("a: {crane: crane.n.04}\nb: {crane: crane.n.05}\n")
    config = merged({"a": ["crane"], "b": ["crane"]}, label_map="map.yaml")
    merge(config, tmp_path / "shards")
    written = read_label_map(tmp_path / "shards" / "label_map.yaml")
    assert {key: entry.node for key, entry in written.items()} == {
        ("a", "crane"): "n03126707",
        ("b", "crane"): "n02012849",
    }


@pytest.mark.parametrize(
    ("classes", "other", "proposed", "because"),
    [
        pytest.param("crane", "crane.n.05", "n02012849", "used by source b", id="a sense of another source"),
        pytest.param("mouse", "okapi", "n03793489", "as in COCO", id="a class of COCO"),
        pytest.param("pineapple", "okapi", "n07753275", "a class of ImageNet", id="a class of ImageNet"),
        pytest.param("kiwi", "okapi", "n07763629", "food", id="food"),
        pytest.param("sage", "okapi", "n07820497", "food", id="food before plants and persons"),
    ],
)
def test_the_likeliest_sense_is_proposed_with_its_reason_and_not_taken(
    classes, other, proposed, because, merged
):
    sources = {"a": [classes, "gnu"], "b": [other]}
    first = make_plan(merged(sources, unmapped="drop")).matches[0]
    assert (first.id, first.proposal) == (None, (proposed, because, False))
    assert first.candidates[0].id == proposed
    accepted = make_plan(merged(sources, proposals="accept")).matches[0]
    assert (accepted.id, accepted.reason, accepted.note.endswith(because)) == (proposed, "proposed", True)


def test_accepted_proposals_are_printed_and_stored(merged, command, tmp_path):
    merged({"a": ["Crane", "okapi"], "b": ["crane"]})
    code, text, _ = command("plan", tmp_path / "merge.yaml")
    assert "To accept the 2 proposals, add `--set proposals=accept`." in text
    code, text, _ = command("plan", tmp_path / "merge.yaml", "--set", "proposals=accept")
    assert (code, text.count("accepted proposal: 'Crane' is n03126707, ")) == (0, 1)
    code, _, _ = command("merge", tmp_path / "merge.yaml", "-o", tmp_path / "s", "--set", "proposals=accept")
    assert (code, "reason: proposed" in (tmp_path / "s" / "label_map.yaml").read_text()) == (0, True)


def test_an_unknown_compound_is_proposed_below_its_last_word(merged):
    config = merged({"a": ["harbour tugboat", "okapi"]}, proposals="accept")
    plan = make_plan(config)
    node = plan.tree.node("harbour_tugboat")
    assert plan.tree.ids[plan.tree.parent[node]] == "n04495843"
    assert plan.matches[0].reason == "proposed"


def test_an_ambiguous_class_in_exhaustive_does_not_prevent_the_label_map(merged, command, tmp_path):
    merged({"a": ["crane", "okapi"]})
    settings = ("--set", "sources.a.exhaustive=[crane, okapi]", "--set", f"label_map={tmp_path / 'map.yaml'}")
    code, text, _ = command("plan", tmp_path / "merge.yaml", *settings)
    assert (code, (tmp_path / "map.yaml").exists()) == (0, True)
    assert "a 'crane' is ambiguous" in text
    code, _, text = command("plan", tmp_path / "merge.yaml", "--set", "sources.a.exhaustive=[crame, okapi]")
    assert (code, "'crame' is neither a class of the source nor an id" in text) == (2, True)


def test_custom_classes_are_placed_below_wordnet_below_each_other_and_at_the_root(merged):
    parents = {"skiff 29": "boat.n.01", "Model-S": "tesla", "tesla": "car.n.01", "gizmo": "root"}
    plan = make_plan(
        merged({"a": ["Skiff-29", "model s"], "b": ["skiff 29", "gizmo"]}, custom_classes=parents)
    )
    tree = plan.tree
    above = {
        id_: tree.ids[tree.parent[node]] if tree.parent[node] >= 0 else None
        for node, id_ in enumerate(tree.ids)
    }
    assert above["skiff_29"] == BOAT
    assert (above["Model-S"], above["tesla"], above["gizmo"]) == ("tesla", "n02958343", None)
    assert {match.id for match in plan.matches} == {"skiff_29", "Model-S", "gizmo"}
    assert tree.names[tree.node("skiff_29")] == "skiff 29"


def test_the_label_map_places_a_class_and_is_written_so(merged, tmp_path):
    (tmp_path / "map.yaml").write_text(f"a: {{gizmo: {{parent: {BOAT}}}}}\n")
    config = merged({"a": ["gizmo", "okapi"]}, label_map="map.yaml")
    merge(config, tmp_path / "shards")
    index = read_index(tmp_path / "shards")
    gizmo = index.tree.node("gizmo")
    assert index.tree.ids[index.tree.parent[gizmo]] == BOAT
    written = read_label_map(tmp_path / "shards" / "label_map.yaml")
    assert written["a", "gizmo"] == ("gizmo", BOAT)
    again = relabel(tmp_path / "shards", index, change_of(index, ["classes.drop=[okapi]"]))
    write_relabelled(tmp_path / "shards", again)
    assert again.index.tree.ids[again.index.tree.parent[again.index.tree.node("gizmo")]] == BOAT


def test_a_given_tree_gets_the_custom_classes(merged, tmp_path):
    WordTree([BOAT, DOG], [-1, -1], ["boat", "dog"]).save(tmp_path / "own.json")
    plan = make_plan(merged({"a": ["dog", "skiff 29"]}, tree="own.json", custom_classes={"skiff 29": "boat"}))
    assert set(plan.tree.ids) == {BOAT, DOG, "skiff_29"}
    assert plan.tree.ids[plan.tree.parent[plan.tree.node("skiff_29")]] == BOAT


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        pytest.param({"gizmo": "bqqt"}, "custom_classes: gizmo: parent 'bqqt': ", id="unknown parent"),
        pytest.param({"gizmo": "crane"}, "custom_classes: gizmo: parent 'crane': 5 senses", id="ambiguous parent"),
        pytest.param({"gizmo": BOAT, "gizmoo": BOAT}, r"'gizmoo' is neither .*did you mean 'gizmo'", id="unused"),
    ],
)  # fmt: skip
def test_invalid_custom_classes_are_reported(custom, message, merged):
    with pytest.raises(LabelMapError, match=message):
        make_plan(merged({"a": ["gizmo", "okapi"]}, custom_classes=custom))


def test_a_flat_tree_needs_neither_wordnet_nor_edits(merged, tmp_path):
    config = merged({"a": ["Crane", "gizmo 7"], "b": ["crane", "dog"]}, tree="flat")
    plan = make_plan(config)
    assert sorted(plan.tree.ids) == ["Crane", "dog", "gizmo_7"]
    assert plan.tree.parent.tolist() == [-1, -1, -1]
    merge(config, tmp_path / "shards")
    index = read_index(tmp_path / "shards")
    again = relabel(tmp_path / "shards", index, change_of(index, ["classes.drop=[dog]"]))
    assert sorted(again.index.tree.ids) == ["Crane", "gizmo_7"]


def test_a_flat_tree_may_have_groups_and_merged_names(merged, tmp_path):
    (tmp_path / "map.yaml").write_text("a: {lorry: truck}\n")
    config = merged(
        {"a": ["lorry", "dog"], "b": ["truck"]},
        tree="flat",
        label_map="map.yaml",
        custom_classes={"dog": "animal"},
    )
    tree = make_plan(config).tree
    assert set(tree.ids) == {"truck", "dog", "animal"}
    assert tree.ids[tree.parent[tree.node("dog")]] == "animal"
