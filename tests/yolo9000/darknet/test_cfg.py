"""Darknet's text files: parsing rules, defaults, and a one-line error for everything that is not supported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.yolo9000.darknet_nets import OWN_NETS
from yolo9000.darknet.cfg import MAX_LAYERS, plan_cfg, read_cfg
from yolo9000.darknet.data_file import find_named, read_data
from yolo9000.darknet.options import MAX_BYTES, DarknetError
from yolo9000.darknet.plan import (
    ClassifierPlan,
    Convolution,
    DetectorPlan,
    Dropout,
    MaxPool,
    NetworkPlan,
    Region,
    Route,
    Shape,
    Softmax,
    output_layer_of,
)
from yolo9000.darknet.text import with_option

NET = "[net]\nwidth=32\nheight=16\nchannels=3\n"
POOL, CONVOLUTION = NET + "[maxpool]\n", NET + "[convolutional]\n"
CONV = "[convolutional]\nfilters=14\nsize=1\nactivation=linear\n"
REGION = NET + CONV + "[region]\nnum=2\nclasses=2\n"
CLASSIFIER_END = "expected a classifier to end with a [convolutional] of"


def planned(*sections: str, net: str = NET) -> NetworkPlan:
    return plan_cfg(net + "".join(sections), "made.cfg")


def refusal(text: str) -> str:
    """The one-line error for a text."""
    with pytest.raises(DarknetError) as caught:
        plan_cfg(text, "made.cfg")
    message = str(caught.value)
    assert message.startswith("made.cfg: ")
    assert len(message.splitlines()) == 1
    assert len(message) < 300
    return message


def outcome(read: Callable[[], object]) -> str:
    """The message of the DarknetError that `read` raises; empty where it succeeds."""
    try:
        read()
    except DarknetError as error:
        return str(error)
    return ""


# --- how text is read


def test_blanks_comments_and_empty_lines_are_ignored() -> None:
    text = "\n# a comment\n[ n e t ]\n  width = 3 2\r\n\theight=16\n;height=99\nchannels=3\n\n[max pool]\n size = 2 \n"
    plan = plan_cfg(text, "made.cfg")
    assert plan.input == Shape(3, 16, 32)
    assert isinstance(plan.layers[0], MaxPool)
    assert plan.layers[0].size == 2
    assert plan.layers[0].line == 9


def test_a_number_is_read_from_the_prefix_of_its_value() -> None:
    (layer,) = planned("[convolutional]\nfilters=12abc\nsize=3#three\nstride=2.9\npad=1 ; yes\n").layers
    assert isinstance(layer, Convolution)
    assert (layer.filters, layer.size, layer.stride, layer.padding) == (12, 3, 2, 1)


def test_the_first_of_repeated_keys_counts_and_the_others_are_noted() -> None:
    plan = planned("[maxpool]\nsize=2\nsize=3\nstride=\n")
    (layer,) = plan.layers
    assert isinstance(layer, MaxPool)
    assert (layer.size, layer.stride) == (2, 1)
    assert plan.notes == (
        "line 7: 'size' is repeated; line 6 counts",
        "line 8: 'stride' has no value and is ignored",
    )


def test_unknown_keys_are_noted_and_training_keys_are_not() -> None:
    plan = planned(
        "[convolutional]\nfilters=4\nfilterz=5\nstopbackward=1\n", net=NET + "batch=64\nburn_in=1000\n"
    )
    assert plan.notes == ("line 9: unknown key 'filterz' in [convolutional] has no effect",)


def test_the_text_is_kept_byte_for_byte(tmp_path: Path) -> None:
    content = f"# caf\xe9\n{NET}\r\n[maxpool]\nsize=2\n".encode("latin-1")
    (tmp_path / "net.cfg").write_bytes(content)
    assert read_cfg(tmp_path / "net.cfg").text.encode("latin-1") == content


# --- defaults and shapes


def test_absent_options_have_darknets_defaults() -> None:
    plan = planned(
        "[conv]\n",
        "[max]\nstride=2\n",
        "[dropout]\n",
        "[conv]\nfilters=25\nactivation=linear\n",
        "[region]\n",
    )
    conv, pool, dropout, _, region = plan.layers
    assert isinstance(conv, Convolution)
    assert (conv.filters, conv.size, conv.stride, conv.padding, conv.groups) == (1, 1, 1, 0, 1)
    assert (conv.batch_normalize, conv.activation, conv.flipped) == (False, "logistic", False)
    assert isinstance(pool, MaxPool)
    assert (pool.size, pool.stride, pool.padding) == (2, 2, 1)
    assert isinstance(dropout, Dropout)
    assert dropout.probability == 0.5
    assert isinstance(region, Region)
    assert region.anchors == ((0.5, 0.5),)
    assert (region.classes, region.softmax, region.bias_match, region.rescore) == (20, False, False, False)
    assert (region.thresh, region.object_scale, region.coord_scale, region.jitter) == (0.5, 1, 1, 0.2)
    assert (region.tree, region.map) == (None, None)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("[convolutional]\nfilters=8\nsize=3\npad=1\n", Shape(8, 16, 32)),
        ("[convolutional]\nfilters=8\nsize=3\n", Shape(8, 14, 30)),
        ("[convolutional]\nfilters=8\nsize=3\nstride=2\npad=1\n", Shape(8, 8, 16)),
        ("[convolutional]\nfilters=8\nsize=2\npad=1\npadding=5\n", Shape(8, 17, 33)),
        ("[convolutional]\nfilters=8\nsize=3\npadding=2\n", Shape(8, 18, 34)),
        ("[maxpool]\nsize=2\nstride=2\n", Shape(3, 8, 16)),
        ("[maxpool]\nsize=2\nstride=1\n", Shape(3, 16, 32)),
        ("[maxpool]\nsize=3\nstride=2\n", Shape(3, 8, 16)),
        ("[maxpool]\nsize=2\nstride=2\npadding=0\n", Shape(3, 8, 16)),
        ("[avgpool]\n", Shape(3, 1, 1)),
        ("[softmax]\n", Shape(3, 16, 32)),
        ("[cost]\n", Shape(3, 16, 32)),
    ],
)
def test_output_shapes_follow_darknets_formulas(section: str, expected: Shape) -> None:
    assert planned(section).layers[0].out == expected


def test_pooling_rounds_odd_sides_up() -> None:
    plan = plan_cfg(NET + "[maxpool]\nsize=2\nstride=2\n", "made.cfg", input_wh_px=(29, 21))
    assert plan.layers[0].out == Shape(3, 11, 15)


def test_routes_name_layers_from_the_start_or_from_themselves() -> None:
    plan = planned("[convolutional]\nfilters=4\n", "[convolutional]\nfilters=6\n", "[route]\nlayers=-1, 0\n")
    assert isinstance(plan.layers[2], Route)
    assert plan.layers[2].sources == (1, 0)
    assert plan.layers[2].out == Shape(10, 16, 32)


def test_the_stride_of_a_layer_counts_input_pixels() -> None:
    pool = "[maxpool]\nsize=2\nstride=2\n"
    plan = planned(
        "[convolutional]\nfilters=4\n",
        pool,
        pool,
        "[route]\nlayers=1\n",
        "[reorg]\nstride=2\n",
        "[route]\nlayers=-1,2\n",
    )
    assert [layer.total_stride for layer in plan.layers] == [1, 2, 4, 2, 4, 4]


def test_a_detector_is_split_into_backbone_head_and_region_layer() -> None:
    plan = planned(
        "[convolutional]\nfilters=4\n", CONV, "[region]\nnum=2\nclasses=2\nanchors=1,2,3,4\n", "[cost]\n"
    )
    parts = DetectorPlan.of(plan)
    assert [layer.index for layer in parts.backbone] == [0]
    assert parts.head.index == 1
    assert parts.output_layer.anchors == ((1, 2), (3, 4))


def test_a_classifier_may_have_a_tree() -> None:
    softmax = planned("[avgpool]\n", "[softmax]\ntree=data/my.tree\ntemperature=2.5\n").layers[1]
    assert isinstance(softmax, Softmax)
    assert (softmax.tree, softmax.temperature) == ("data/my.tree", 2.5)


# --- the published networks


def conv(filters: int, size: int) -> str:
    return f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\nstride=1\npad=1\nactivation=leaky\n"


def last(filters: int) -> str:
    return f"[convolutional]\nsize=1\nstride=1\npad=1\nfilters={filters}\nactivation=linear\n"


def region(num: int, classes: int) -> str:
    anchors = ", ".join(["1.5"] * 2 * num)
    return f"[region]\nanchors = {anchors}\nbias_match=1\nclasses={classes}\ncoords=4\nnum={num}\nsoftmax=1\n"


HALVE = "[maxpool]\nsize=2\nstride=2\n"
DARKNET19 = HALVE.join(
    [
        conv(32, 3),
        conv(64, 3),
        conv(128, 3) + conv(64, 1) + conv(128, 3),
        conv(256, 3) + conv(128, 1) + conv(256, 3),
        2 * (conv(512, 3) + conv(256, 1)) + conv(512, 3),
        2 * (conv(1024, 3) + conv(512, 1)) + conv(1024, 3),
    ]
)
DEEP = 2 * conv(1024, 3)
PASSED = "[route]\nlayers=-9\n" + conv(64, 1) + "[reorg]\nstride=2\n[route]\nlayers=-1,-4\n" + conv(1024, 3)
TINY = HALVE.join(conv(16 << k, 3) for k in range(6)) + "[maxpool]\nsize=2\nstride=1\n" + conv(1024, 3)
# Input, layers, their number, grid, bytes of the weights with the header of 16: as published; yolo9000's are counted.
PUBLISHED = {
    "yolov2": (608, DARKNET19 + DEEP + PASSED + last(425) + region(5, 80), 32, 19, 203_934_260),
    "yolov2-voc": (416, DARKNET19 + DEEP + PASSED + last(125) + region(5, 20), 32, 13, 202_704_260),
    "tiny-yolo-voc": (416, TINY + conv(1024, 3) + last(125) + region(5, 20), 16, 13, 63_471_556),
    "tiny-yolo": (416, TINY + conv(512, 3) + last(425) + region(5, 80), 16, 13, 44_948_596),
    "yolo9000": (544, DARKNET19 + last(28269) + region(3, 9418) + "tree=data/9k.tree\n", 25, 17, 195_230_020),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_have_as_many_weights_as_their_files(name: str) -> None:
    side, text, layers, grid, size = PUBLISHED[name]
    plan = planned(text, net=f"[net]\nheight={side}\nwidth={side}\nchannels=3\n")
    assert len(plan.layers) == layers
    assert 16 + 4 * sum(layer.weight_count for layer in plan.convolutions) == size
    parts = DetectorPlan.of(plan)
    assert (parts.output_layer.out.width, parts.output_layer.out.height, parts.output_layer.total_stride) == (
        grid,
        grid,
        32,
    )
    assert plan.notes == ()


@pytest.mark.parametrize(("name", "classes"), [("darknet19_448", 1000), ("darknet9000", 9418)])
def test_the_published_classifiers_are_read(name: str, classes: int) -> None:
    tree = "tree=data/9k.tree\n[cost]\ntype=masked\n" if name == "darknet9000" else ""
    text = DARKNET19 + last(classes) + f"[avgpool]\n[softmax]\ngroups=1\n{tree}"
    net = (
        "[net]\nheight=448\nwidth=448\nmax_crop=512\nchannels=3\npolicy=poly\npower=4\nangle=7\naspect=.75\n"
    )
    plan = planned(text, net=net)
    assert ClassifierPlan.of(plan).output_layer.classes == classes
    assert [layer.index for layer in ClassifierPlan.of(plan).backbone] == list(range(23))
    assert plan.notes == ()


# --- what is refused


REFUSED = {
    "empty": ("", "with [net] as its first section"),
    "no net": ("[maxpool]\nsize=2\n", "with [net] as its first section"),
    "option first": ("width=3\n[net]\n", "line 1: expected a section such as [net] first"),
    "bracket": ("[net\n", "line 1: expected ']' at the end of '[net'"),
    "no layers": (NET, "expected layers after [net], found none"),
    "no equals": (POOL + "size\n", "line 6: expected key=value, found 'size'"),
    "nul": (POOL + "\0size=2\n", "line 6: expected a Darknet text file, found a NUL byte"),
    "no size": ("[net]\nwidth=32\n[maxpool]\n", "line 1: [net] expected width, height and channels"),
    "wide": ("[net]\nwidth=99999\nheight=1\nchannels=3\n[cost]", "line 2: [net] width: expected 0 to 16384"),
    "section": (NET + "[lstm]\n", "line 5: [lstm] is not supported; known are [convolutional]"),
    "shortcut": (NET + "[shortcut]\nfrom=-3\n", "line 5: [shortcut] is not supported"),
    "word": (POOL + "size=two\n", "line 6: [maxpool] size: expected an integer, found 'two'"),
    "no filters": (CONVOLUTION + "filters=0\n", "filters: expected 1 to"),
    "negative filters": (CONVOLUTION + "filters=-3\n", "filters: expected 1 to"),
    "filters": (CONVOLUTION + "filters=1000000000000\n", "filters: expected 1 to"),
    "digits": (CONVOLUTION + f"filters={'9' * 5000}\n", "filters: expected 1 to"),
    "mish": (CONVOLUTION + "activation=mish\n", "line 6: [convolutional] activation='mish' is not supported"),
    "window": (CONVOLUTION + "size=64\n", "line 6: [convolutional] size=64 is larger than its padded input"),
    "groups": (CONVOLUTION + "groups=2\nfilters=4\n", "groups=2 must divide its 3 channels"),
    "binary": (CONVOLUTION + "binary=1\n", "line 6: [convolutional] binary=1 is not supported"),
    "numload": (CONVOLUTION + "numload=3\n", "numload=3 is not supported"),
    "padding": (POOL + "size=2\npadding=9\n", "padding=9 puts windows of size 2 wholly outside"),
    "route of nothing": (
        NET + "[route]\nlayers=-1\n",
        "line 6: [route] layer -1 does not exist; before it there is no layer",
    ),
    "route to itself": (
        POOL + "[route]\nlayers=1\n",
        "layer 1 does not exist; before it there are layers 0 to 0",
    ),
    "route cycle": (POOL + "[route]\nlayers=2\n[route]\nlayers=1\n", "layer 2 does not exist"),
    "no route": (POOL + "[route]\n", "line 6: [route] expected 1 to 1000 layers to join, found 0"),
    "long route": (POOL + "[route]\nlayers=-1" + ",-1" * 1000, "to join, found 1001"),
    "join": (
        CONVOLUTION + "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=-1,-2\n",
        "expected outputs of equal width and height, found 16×8×1 of layer 1 and 32×16×1 of layer 0",
    ),
    "reorg": (NET + "[reorg]\nstride=2\n", "stride=2 does not divide its input of 32×16×3"),
    "dropout": (
        NET + "[dropout]\nprobability=1\n",
        "expected a probability of at least 0 and below 1, found 1",
    ),
    "cold": (NET + "[softmax]\ntemperature=0\n", "expected a temperature above 0, found 0"),
    "tree over image": (
        NET + "[softmax]\ntree=a.tree\n",
        "a tree needs an input of 1×1 cells, found 32×16×3",
    ),
    "after softmax": (
        NET + "[softmax]\n[maxpool]\n",
        "line 6: [maxpool] only [cost] may follow the output layer",
    ),
    "filters of region": (
        NET + CONV + "[region]\n",
        "num=1 and classes=20 need 1 × (5 + 20) = 25 input channels, found 14",
    ),
    "anchors": (REGION + "anchors=1,2\n", "num=2 needs 4 numbers in anchors, found 2"),
    "anchor of 0": (REGION + "anchors=1,2,0,3\n", "expected anchor sizes above 0 cells, found 0"),
    "nan": (REGION + "anchors=1,2,nan,3\n", "anchors: expected a number, found 'nan'"),
    "coords": (REGION + "coords=5\n", "only coords=4 is supported"),
    "background": (REGION + "background=1\n", "background=1 is not supported"),
    "layers": (
        NET + "[maxpool]\n" * (MAX_LAYERS + 1),
        f"expected at most {MAX_LAYERS} layers, found {MAX_LAYERS + 1}",
    ),
    "activations": (
        "[net]\nwidth=16384\nheight=16384\nchannels=3\n[convolutional]\nfilters=2000000\n",
        "expected at most 536870912 outputs, found",
    ),
    "weights": (
        CONVOLUTION + "filters=9999\nstride=16\n[convolutional]\nfilters=999999\n",
        "line 8: [convolutional] expected at most 300000000 weights",
    ),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_unsupported_input_is_refused_with_its_line(text: str, expected: str) -> None:
    assert expected in refusal(text)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(CONV, id="no backbone"),
        pytest.param("[maxpool]\n" + CONV.replace("linear", "leaky"), id="leaky"),
        pytest.param(f"[maxpool]\n{CONV}batch_normalize=1\n", id="batch norm"),
        pytest.param(f"[maxpool]\n{CONV}[maxpool]\nsize=2\n", id="pool between"),
    ],
)
def test_networks_with_another_ending_are_refused(before: str) -> None:
    detector = planned(before, "[region]\nnum=2\nclasses=2\n")
    assert "expected layers and a [convolutional] of" in outcome(lambda: DetectorPlan.of(detector))
    classifier = planned(before, "[avgpool]\n[softmax]\n")
    assert "expected a classifier to end with a [convolutional] of" in outcome(
        lambda: ClassifierPlan.of(classifier)
    )
    assert "expected [region] (a detector) or [softmax] (a classifier)" in outcome(
        lambda: output_layer_of(planned(before))
    )


def test_classifiers_with_another_ending_are_refused() -> None:
    for end in ("[softmax]\n", "[avgpool]\n[softmax]\ngroups=2\n", "[avgpool]\n[softmax]\ntemperature=2\n"):
        plan = planned("[maxpool]\n", CONV, end)
        assert "expected a classifier to end with a [convolutional] of" in outcome(
            lambda plan=plan: output_layer_of(plan)
        )  # type: ignore[misc]
    grey = planned("[maxpool]\n", CONV, "[avgpool]\n[softmax]\n", net=NET.replace("channels=3", "channels=1"))
    assert "with 3 input channels, found channels=1" in outcome(lambda: output_layer_of(grey))


def test_a_classifier_with_another_ending_is_described() -> None:
    plan = planned("[convolutional]\nfilters=8\nsize=1\nactivation=leaky\n", "[avgpool]\n", "[softmax]\n")
    with pytest.raises(
        DarknetError, match=r"found \[convolutional\] size=1 stride=1 activation=leaky, \[avgpool\]"
    ):
        ClassifierPlan.of(plan)


@pytest.mark.parametrize("before", ["[convolutional]\nactivation=mish\n", ""])
def test_the_family_of_a_later_network_is_named(before: str) -> None:
    assert "[yolo] is an output layer of YOLOv3 or later" in refusal(f"{NET}{before}[yolo]\nclasses=3\n")


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_bytes(b"\xef\xbb\xbf" + REGION.encode())
    assert read_cfg(tmp_path / "net.cfg").text == REGION


def test_a_missing_or_too_long_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DarknetError, match="no such file"):
        read_cfg(tmp_path / "net.cfg")
    (tmp_path / "net.cfg").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(DarknetError, match="at most 1048576 bytes"):
        read_cfg(tmp_path / "net.cfg")


# --- hostile files

SEEDS = [path.read_text() for path in sorted(OWN_NETS.glob("*.cfg"))]
WORDS = st.sampled_from(
    [*"[]=,-#;.", "layers=", "filters=", "[route]", "99999999999999", "-1", "1e9", "nan", "\0", "\n", "é"]
)


@settings(max_examples=300)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 12), WORDS), max_size=6),
)
def test_a_corrupted_cfg_is_planned_or_refused_in_one_line(
    seed: str, edits: list[tuple[int, int, str]]
) -> None:
    for at, cut, word in edits:
        seed = seed[:at] + word + seed[at + cut :]
    assert len(outcome(lambda: plan_cfg(seed, "made.cfg")).splitlines()) <= 1


@settings(max_examples=200)
@given(st.text(st.characters(max_codepoint=255), max_size=300))
def test_any_text_is_planned_or_refused_in_one_line(text: str) -> None:
    for whole in (text, f"{NET}{text}", f"{NET}[convolutional]\n{text}"):
        assert len(outcome(lambda whole=whole: plan_cfg(whole, "made.cfg")).splitlines()) <= 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(POOL + "[route]\nlayers=-1" + ",-1" * 300_000 + "\n", id="a route of many"),
        pytest.param(POOL + "[route]\nlayers=-1,-1\n" * 60, id="routes that double"),
        pytest.param(NET + "[maxpool]\n" * 90_000, id="many sections"),
        pytest.param(NET + "a=\n" * 250_000, id="many empty options"),
        pytest.param(NET + "".join(f"k{k}=1\n" for k in range(90_000)), id="many options"),
        pytest.param("[" + "x" * 1_000_000, id="a long line"),
    ],
)
def test_an_excessive_file_is_refused(text: str) -> None:
    assert len(text) < MAX_BYTES
    refusal(text)


# --- .data and named files


def test_a_data_file_lists_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "my.data"
    path.write_text(
        "classes= 4\n#train = old.txt\ntrain  = data/train.list\nnames = my.names\neval=coco\ntop=5\nextra=1\n"
    )
    (tmp_path / "my.names").write_text("a\n")
    data = read_data(path)
    assert (data.classes, data.eval, data.top) == (4, "coco", 5)
    assert data.paths == {"train": "data/train.list", "names": "my.names"}
    assert data.find("names") == tmp_path / "my.names"
    assert data.find("map") is None
    assert data.notes == ("line 7: unknown key 'extra' in [data] has no effect",)


@settings(max_examples=200)
@given(content=st.binary(max_size=200))
def test_any_data_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("data") / "my.data"
    path.write_bytes(content)
    assert (
        len(outcome(lambda: [read_data(path).find(key) for key in read_data(path).paths]).splitlines()) <= 1
    )


def test_named_files_are_searched_in_the_usual_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("cfg", "data", "elsewhere"):
        (tmp_path / folder).mkdir()
    cfg, tree = tmp_path / "cfg" / "net.cfg", tmp_path / "data" / "my.tree"
    tree.touch()
    assert find_named("data/my.tree", "tree", cfg) == tree
    monkeypatch.chdir(tmp_path)
    assert find_named("data/my.tree", "tree", Path("elsewhere/a/b/net.cfg")).resolve() == tree
    beside = tmp_path / "cfg" / "my.tree"
    tree.rename(beside)
    assert find_named("data/my.tree", "tree", cfg) == beside
    assert find_named(str(beside), "tree", Path("net.cfg")) == beside
    for name in ("data/other.tree", "a" * 5000, "data"):
        with pytest.raises(DarknetError, match="Give the named file on the command line"):
            find_named(name, "tree", cfg)


# --- single options of a text


def test_an_option_is_replaced_in_place_or_added_to_its_section() -> None:
    text = f"{NET}\r\n# one\r\n[maxpool]\r\nsize = 2\r\n\n[maxpool]\nstride=2\n"
    changed = with_option(text, 0, "size", 3)
    assert changed == text.replace("size = 2", "size=3")
    assert with_option(text, 1, "size", 3) == text.replace("[maxpool]\nstride", "[maxpool]\nsize=3\nstride")
    assert with_option(text, 0, "stride", 1) == text.replace("[maxpool]\r\n", "[maxpool]\r\nstride=1\r\n")


def test_every_occurrence_of_a_removed_option_is_commented_out() -> None:
    text = f"{NET}[maxpool]\nsize=2\nsize=3\n"
    assert with_option(text, 0, "size", None) == text.replace("size=", "#size=")
    assert with_option(text, 0, "stride", None) == text
