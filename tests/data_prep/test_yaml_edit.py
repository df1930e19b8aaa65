import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError
from data_prep.yaml_edit import with_setting

VALUE = "[[1.5, 2], [3, 4.25]]"
PAIRS = [[1.5, 2], [3, 4.25]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "model:\n  anchors: VALUE\n", id="an empty file"),
        pytest.param("# nothing\n", "# nothing\nmodel:\n  anchors: VALUE\n", id="comments only"),
        pytest.param("seed: 1", "seed: 1\nmodel:\n  anchors: VALUE\n", id="no line end"),
        pytest.param(
            "model:\n  width: 1 # narrow\n\n# data\ndata: {}\n",
            "model:\n  width: 1 # narrow\n  anchors: VALUE\n\n# data\ndata: {}\n",
            id="after the last of its section",
        ),
        pytest.param(
            "model:\n    anchors: null # k-means\n    width: 1\n",
            "model:\n    anchors: VALUE # k-means\n    width: 1\n",
            id="a value with a comment",
        ),
        pytest.param("model:\n  anchors:\ndata: {}\n", "model:\n  anchors: VALUE\ndata: {}\n", id="no value"),
        pytest.param(
            "model:\n  anchors: # by hand\n    - [1, 2] # small\n    - [3, 4]\n  # wide\n  width: 1\n",
            "model:\n  anchors: VALUE\n  # wide\n  width: 1\n",
            id="a list over several lines",
        ),
        pytest.param("model: {width: 1} # s\n", "model: {anchors: VALUE, width: 1} # s\n", id="braces"),
        pytest.param("model: {}\n", "model: {anchors: VALUE}\n", id="empty braces"),
        pytest.param(
            "model: # later\nseed: 1\n", "model: {anchors: VALUE} # later\nseed: 1\n", id="empty section"
        ),
        pytest.param("{seed: 1}\n", "{model: {anchors: VALUE}, seed: 1}\n", id="a file in braces"),
        pytest.param(
            "model:\n  text: |\n    a\n    b\nseed: 1\n",
            "model:\n  text: |\n    a\n    b\n  anchors: VALUE\nseed: 1\n",
            id="after a block of text",
        ),
        pytest.param("model:\n  width: 1", "model:\n  width: 1\n  anchors: VALUE\n", id="at the end"),
    ],
)
def test_a_setting_changes_and_all_else_stays(before, after):
    assert with_setting(before, "model", "anchors", VALUE) == after.replace("VALUE", VALUE)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text("abc: #-\n\"'", max_size=8))
SETTINGS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4), st.one_of(LEAVES, st.lists(LEAVES, max_size=3))
)


@settings(max_examples=200, deadline=None)
@given(
    rest=SETTINGS,
    model=st.one_of(st.none(), SETTINGS),
    has_anchors=st.booleans(),
    flow=st.sampled_from([None, False, True]),
)
def test_whatever_stands_in_the_file_is_read_as_before(rest, model, has_anchors, flow):
    if has_anchors and model is not None:
        model = {**model, "anchors": [[1, 1]], "z": 1}
    text = yaml.safe_dump({"x": rest, "model": model, "y": rest}, default_flow_style=flow, sort_keys=False)
    changed = yaml.safe_load(with_setting(text, "model", "anchors", VALUE))
    assert changed == {"x": rest, "model": {**(model or {}), "anchors": PAIRS}, "y": rest}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("- 1\n", "expected `key: value` lines, found a list", id="a list"),
        pytest.param("model: tiny\n", "model: expected `key: value` lines, found 'tiny'", id="no section"),
        pytest.param("model: {", "not YAML", id="not YAML"),
        pytest.param(
            "other: &m {width: 1}\nmodel: *m\n",
            "model.anchors cannot be set in this file",
            id="shared settings",
        ),
    ],
)
def test_what_only_a_person_can_change_is_told(text, expected):
    with pytest.raises(DataPrepError, match=expected):
        with_setting(text, "model", "anchors", VALUE)
