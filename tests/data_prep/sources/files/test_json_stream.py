import gzip
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources import SourceError
from data_prep.sources.files import json_stream
from data_prep.sources.files.json_stream import JsonText, open_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner))
POLYGONS = st.lists(st.lists(st.floats(0, 999) | st.integers(-9, 999)))
ENTRIES = VALUES | st.dictionaries(st.sampled_from(["id", "segmentation", "x"]), POLYGONS | VALUES)
DOCUMENTS = st.dictionaries(st.text(max_size=5), st.lists(ENTRIES, max_size=5) | VALUES, max_size=4)
INDENTS = st.sampled_from([None, 0, 2, "\t"])


def read(data, piece_bytes=1 << 18):
    """The members of the object that is the document, as pairs; or the value that it is, in a list."""
    text = JsonText(io.BytesIO(data), Path("some.json"), piece_bytes)
    found = list(members(text)) if text.next_char() == "{" else [text.value()]
    text.require_end()
    return found


def members(text):
    for key in text.members():
        yield key, list(text.elements()) if text.next_char() == "[" else text.value()


def without_polygons(value):
    """The value as it is read: polygons are 0."""
    if isinstance(value, list):
        return [without_polygons(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: 0 if key.endswith("segmentation") and is_polygons(entry) else without_polygons(entry)
        for key, entry in value.items()
    }


def is_polygons(value):
    return isinstance(value, list) and all(
        isinstance(ring, list) and all(type(number) in (int, float) for number in ring) for ring in value
    )


def problem(data, piece_bytes=1 << 18):
    with pytest.raises(SourceError) as caught:
        read(data, piece_bytes)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("some.json: ")
    return message.removeprefix("some.json: ")


@given(document=DOCUMENTS, indent=INDENTS, is_ascii=st.booleans(), piece_bytes=st.integers(1, 60))
def test_documents_in_any_pieces_are_decoded_as_by_the_standard_library(
    document, indent, is_ascii, piece_bytes
):
    data = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "replace")
    found = dict(read(data, piece_bytes))
    assert repr(without_polygons(found)) == repr(without_polygons(json.loads(data)))


@given(
    document=st.dictionaries(st.text(max_size=3), st.lists(VALUES, max_size=4) | VALUES, max_size=4),
    indent=INDENTS,
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.text(alphabet='[]{},:"\\\n0-.eE x', max_size=2)), max_size=3
    ),
    piece_bytes=st.integers(1, 60),
)
def test_invalid_json_is_reported_at_the_line_that_the_standard_library_reports(
    document, indent, changes, piece_bytes
):
    text = json.dumps(document, indent=indent)
    for where, replacement in changes:
        position = int(where * len(text))
        text = text[:position] + replacement + text[position + 1 :]
    trouble = None
    try:
        expected = json.loads(text)
    except json.JSONDecodeError as reason:
        trouble = f" at line {reason.lineno}, byte {reason.pos}"
    if trouble:
        assert trouble in problem(text.encode(), piece_bytes)
    else:
        found = read(text.encode(), piece_bytes)
        assert repr(dict(found) if isinstance(expected, dict) else found[0]) == repr(expected)


@given(data=st.binary(max_size=60), piece_bytes=st.integers(1, 9))
def test_any_bytes_are_decoded_or_reported_in_one_line(data, piece_bytes):
    trouble = ""
    try:
        read(data, piece_bytes)
    except SourceError as reason:
        trouble = str(reason)
    assert "\n" not in trouble


def test_a_byte_order_mark_is_skipped():
    assert read(b"\xef\xbb\xbf" + b'{"a": [1]}', 1) == [("a", [1])]


@pytest.mark.parametrize("piece_bytes", [1, 4, 1000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            b"",
            "not JSON: Expecting value at line 1, byte 0; the file ends there and may be truncated",
            id="empty",
        ),
        pytest.param(
            b'{"a": "\xff"}', "not JSON: not UTF-8 text at byte 7; save it as UTF-8.", id="not UTF-8"
        ),
        pytest.param(
            b'{"a": "\xe7\x8c', "not JSON: not UTF-8 text at byte 7; save it as UTF-8.", id="half a character"
        ),
        pytest.param(
            '{"a": "猫",\n"b" 1}'.encode(),
            "not JSON: Expecting ':' delimiter at line 2, byte 17.",
            id="no colon",
        ),
        pytest.param(
            b'{"a": [{"b": 1}, {"b"',
            "not JSON: Expecting ':' delimiter at line 1, byte 21; the file ends there and may be truncated",
            id="cut",
        ),
        pytest.param(
            b'{"a": [1\n',
            "not JSON: Expecting ',' delimiter at line 2, byte 9; the file ends there",
            id="cut in a list",
        ),
        pytest.param(
            b'{"a": "b',
            "not JSON: Unterminated string starting at line 1, byte 6.",
            id="string without an end",
        ),
        pytest.param(
            b'{"a": ' + b"[" * 9999, "not JSON: nested too deeply at line 1, byte 7.", id="nested deeply"
        ),
        pytest.param(
            b'{"a": [0, ' + b"9" * 9999 + b"]}",
            "not JSON: a number of too many digits at line 1, byte 10.",
            id="digits",
        ),
        pytest.param(b'{"a": 1} {', "not JSON: Extra data at line 1, byte 9.", id="more behind"),
    ],
)
def test_the_message_states_problem_and_position(data, expected, piece_bytes):
    assert problem(data, piece_bytes).startswith(expected)


@pytest.mark.parametrize(
    "ring", ["[1, 2.5, -3e-2]", "[]", "[[1]]", '["a"]', "[true]", "{}", '[1, "]", 2]', "null"], ids=repr
)
def test_polygons_are_not_decoded_and_everything_else_is_kept(ring):
    text = f'{{"a": [{{"segmentation" : [\n{ring}\t,[4]], "b": [1]}}, "\\"segmentation\\": [[1]]"]}}'
    assert dict(read(text.encode(), 5)) == without_polygons(json.loads(text))


def test_an_endless_element_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_VALUE", 1000)
    data = b'{"a": [\n[' + b'"x",' * 5_000_000
    tracemalloc.start()
    message = problem(data, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message == "one value of more than 1000 characters at line 2, byte 8."
    assert peak < 100_000


def test_long_lists_and_long_blanks_take_no_memory():
    data = b'{"a": [' + b"1, " * 60_000 + b" " * 900_000 + b"1]}"
    tracemalloc.start()
    text = JsonText(io.BytesIO(data), Path("some.json"), 1000)
    assert text.next_char() == "{"
    for _ in text.members():
        text.skip()
    text.require_end()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(gzip.compress(b"[1]")[:-9], "damaged gzip file: ", id="cut"),
        pytest.param(gzip.compress(b"[1]")[:12] + b"\xff" * 20, "damaged gzip file: ", id="damaged"),
    ],
)
def test_a_damaged_gzip_file_is_reported_in_one_line(tmp_path, data, expected):
    (tmp_path / "some.json.gz").write_bytes(data)
    with (
        pytest.raises(SourceError, match=r"some\.json\.gz") as caught,
        open_json(tmp_path / "some.json.gz", "a") as text,
    ):
        text.skip()
    assert expected in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere.json.gz", "."])
def test_a_file_that_cannot_be_opened_is_reported_in_one_line(tmp_path, name):
    with (
        pytest.raises(SourceError, match="source 'a': cannot read its annotations"),
        open_json(tmp_path / name, "a"),
    ):
        pass
