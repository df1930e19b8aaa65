from pathlib import Path

import pytest

from data_prep.config import BuiltTree, MergeConfig
from wordtree.errors import ConfigError
from wordtree.support.config_files import load_config

COCO = "{name: coco, format: coco, annotations: a.json, images: images}"
ROOT = Path(__file__).parents[2]


def written(tmp_path, text):
    path = tmp_path / "merge.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problem(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text), MergeConfig)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults_build_the_tree_from_the_sources_and_stop_on_unmapped_classes(tmp_path):
    config = load_config(written(tmp_path, f"sources: [{COCO}]\n"), MergeConfig)
    assert config.tree == BuiltTree(from_sources=True, labels=None, profile="paper")
    assert (config.unmapped, config.resize_max, config.sources[0].exhaustive) == ("stop", None, None)


def test_skip_is_the_former_value_of_unreadable_drop(tmp_path):
    with pytest.warns(FutureWarning, match="unreadable: skip is now unreadable: drop"):
        config = load_config(written(tmp_path, f"sources: [{COCO}]\nunreadable: skip\n"), MergeConfig)
    assert config.unreadable == "drop"


def test_all_problems_are_reported_at_once_and_misspelt_keys_get_a_suggestion(tmp_path):
    source = "{name: coco, format: coco, annotations: 3, imges: p}"
    text = f"sources: [{source}]\nunmapped: dorp\ntree: {{profil: x}}\nsead: 1\n"
    message = problem(tmp_path, text)
    for part in (
        "6 problems",
        "sources.0.images is missing",
        "unknown key 'sources.0.imges' (did you mean 'images'?)",
        "sources.0.annotations: expected a path, found 3",
        "unmapped: expected 'stop' or 'drop', found 'dorp'",
        "unknown key 'tree.profil' (did you mean 'profile'?)",
        "unknown key 'sead' (did you mean 'seed'?)",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "sources is missing", id="empty"),
        pytest.param("sources: 3", "sources: expected a list, found 3", id="sources of a wrong type"),
        pytest.param("sources: []", "sources is empty", id="no source"),
        pytest.param(
            "sources: [{name: a, format: imagenet, images: x, split: {train: 0.8, val: 0.1}}]",
            "sources.0.split: expected shares that sum to 1, found 0.9",
            id="shares that do not sum",
        ),
        pytest.param(
            "sources: [{name: a b, format: imagenet, images: x}]",
            "sources.0.name: expected letters, digits, `_`, `-` and `.`, found 'a b'",
            id="a name with blanks",
        ),
        pytest.param(
            "sources: [{name: a, format: imagenet, images: x, annotations: y}]",
            "unknown key 'sources.0.annotations'.",
            id="a key of another format",
        ),
        pytest.param(
            "sources: [3]", "sources.0: expected `key: value` lines, found 3", id="a source of a wrong type"
        ),
        pytest.param("sources: [{name: a}]", "sources.0.format is missing", id="no format"),
        pytest.param(
            "sources: [{name: a, format: cocoa}]",
            "format: expected 'coco', 'objects365', 'lvis'",
            id="no such format",
        ),
        pytest.param(f"sources: [{COCO}, {COCO}]", "two sources are named 'coco'", id="a name twice"),
        pytest.param(
            f"sources: [{COCO}]\nratio: {{im: 2}}",
            "ratio names 'im', which is not a source",
            id="foreign ratio",
        ),
    ],
)
def test_a_wrong_file_is_reported_in_one_line(tmp_path, text, expected):
    assert expected in problem(tmp_path, text)


def test_every_shipped_merge_configuration_loads():
    files = sorted((ROOT / "configs" / "merge").glob("*.yaml"))
    assert {
        file.stem: [source.name for source in load_config(file, MergeConfig).sources] for file in files
    } == {
        "coco": ["coco", "coco_val"],
        "coco128_imagenet": ["coco", "coco_val", "imagenet"],
        "coco_imagenet": ["coco", "coco_val", "imagenet"],
        "imagenet": ["imagenet", "imagenet_val"],
        "lvis": ["lvis", "lvis_val"],
        "objects365": ["objects365", "objects365_val"],
        "open_images": ["openimages"],
        "voc": ["voc2007", "voc2012", "voc2007_test"],
        "yolo_and_table": ["boxes", "labels"],
    }
