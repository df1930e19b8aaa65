"""Outputs replace no inputs and no files of the user."""

import os
from pathlib import Path, PurePath

import pytest

from wordtree.support.files import is_own_output, mark_as_written, write_atomically
from wordtree.support.outputs import OutputError, check_outputs, folder_and_stem, write_outputs


@pytest.mark.parametrize(
    ("name", "folder", "stem"),
    [
        ("a/b.jpg", "a", "b"),
        ("b.tar.gz", ".", "b.tar"),
        ("../b.jpg", ".", "b"),
        ("/etc/passwd", ".", "passwd"),
        ("..", ".", "image"),
        ("", ".", "image"),
        ("é" * 127, ".", "é" * 100),
        ("x" * 400 + "/b.jpg", ".", "b"),
        ("d/" * 1001 + "b.jpg", ".", "b"),
        ("\udcff.jpg", ".", "\udcff"),
    ],
)
def test_a_file_like_any_name_fits_below_any_folder(
    name: str, folder: str, stem: str, tmp_path: Path
) -> None:
    found = folder_and_stem(name, default="image")
    assert found == (PurePath(folder), stem)
    path = tmp_path / found[0] / f"{found[1]}-000005-2.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, b"x")


@pytest.fixture
def marks(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    write_atomically(probe, "x")
    if not is_own_output(probe):
        pytest.skip("this file system has no extended attributes: every existing file needs --overwrite")
    probe.unlink()


def test_a_new_file_and_a_device_are_written(tmp_path: Path) -> None:
    write_outputs({tmp_path / "a.txt": "new", Path("/dev/null"): b"bytes"})
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.usefixtures("marks")
def test_a_second_run_replaces_the_output_of_the_first(tmp_path: Path) -> None:
    for text in ("first", "second"):
        write_outputs({tmp_path / "a.txt": text})
    assert (tmp_path / "a.txt").read_text() == "second"


@pytest.mark.usefixtures("marks")
def test_a_file_that_another_program_wrote_and_we_marked_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"pixels")
    mark_as_written(path)
    path.rename(tmp_path / "b.jpg")
    check_outputs([tmp_path / "b.jpg"])


def test_a_file_of_the_user_stays_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "mine.names").write_text("my own list")
    with pytest.raises(OutputError, match=r"mine\.names: exists, .* or add --overwrite"):
        write_outputs({tmp_path / "new.tree": "tree", tmp_path / "mine.names": "ours"})
    assert (tmp_path / "mine.names").read_text() == "my own list"
    assert not (tmp_path / "new.tree").exists()


def test_an_output_that_the_user_edited_stays(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    write_outputs({path: "class,node\n"})
    with path.open("a") as file:
        file.write("dog,n02084071\n")
    with pytest.raises(OutputError, match="is not an unchanged output"):
        write_outputs({path: "class,node\ncat,\n"})
    assert path.read_text() == "class,node\ndog,n02084071\n"


@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard link", "symbolic link"])
@pytest.mark.usefixtures("marks")
def test_an_input_stays_under_all_its_names(tmp_path: Path, link) -> None:  # type: ignore[no-untyped-def]
    source, other = tmp_path / "labels.names", tmp_path / "other.names"
    write_atomically(source, "dog")  # an earlier output of ours may be an input, too
    link(source, other)
    for output in (source, other, tmp_path / "." / "labels.names"):
        with pytest.raises(OutputError, match="would replace an input"):
            write_outputs({output: "animal"}, inputs=[tmp_path / "absent", source])
    assert source.read_text() == "dog"


def test_overwrite_replaces_anything(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("mine")
    write_outputs({path: "ours"}, inputs=[path], overwrite=True)
    assert path.read_text() == "ours"


def test_a_file_with_the_same_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notice.txt"
    path.write_text("the licence")
    before = path.stat()
    write_outputs({path: "the licence"}, inputs=[path])
    assert path.stat() == before


def test_foreign_part_files_stay(tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_text("a download")
    write_outputs({tmp_path / "a.txt": "new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "a.txt.part"]


def test_names_of_255_bytes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 127 + "x")
    write_outputs({path: "new"})
    assert path.read_text() == "new"
