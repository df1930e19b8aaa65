"""Text files of any system, read line by line."""

import os
import threading

import pytest

from wordtree.errors import TreeFileError
from wordtree.support.lines import full_lines, numbered_lines


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["Unix", "Windows", "old Mac"])
@pytest.mark.parametrize("last", ["", "end"], ids=["with a last line end", "without"])
def test_every_line_end_separates_lines(tmp_path, line_end, last):
    path = tmp_path / "names.txt"
    path.write_bytes(line_end.join(["\ufeffdog", "", "Käfer " * 2000, last]).encode())
    expected = [(1, "dog"), (2, ""), (3, "Käfer " * 2000), *([(4, last)] if last else [])]
    assert list(numbered_lines(path)) == expected


@pytest.mark.parametrize("line_end", [b"\n", b"\r"])
def test_a_line_that_is_not_utf_8_is_named(tmp_path, line_end):
    path = tmp_path / "names.txt"
    path.write_bytes(line_end.join([b"dog", b"K\xe4fer", b"cat"]))
    with pytest.raises(TreeFileError, match=r"names.txt: line 2: not UTF-8"):
        list(full_lines(path))


def test_a_pipe_is_read_from_its_first_line(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=[b"dog\ncat\n"]).start()
    assert list(numbered_lines(path)) == [(1, "dog"), (2, "cat")]
