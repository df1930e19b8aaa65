"""Atomic writing of files."""

import os
from pathlib import Path

import pytest

from tests.part_names import folder_contents, write_part_like
from wordtree.support.files import (
    LeftoverParts,
    part_folder,
    part_path,
    remove_leftover_parts,
    write_atomically,
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("", b"", id="nothing"),
        pytest.param("Löwe\n", "Löwe\n".encode(), id="text as UTF-8"),
        pytest.param(b"\x00\xff", b"\x00\xff", id="bytes"),
    ],
)
def test_the_data_are_in_the_file_and_nothing_is_beside_it(
    data: bytes | str, expected: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    write_atomically(path, data)
    assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_no_part_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "no" / "x.txt", "new")
    assert caught.value.filename == str(tmp_path / "no")


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, "new")


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_device_is_written_to_and_kept() -> None:
    write_atomically("/dev/null", "new")
    assert not Path("/dev/null").is_file()


def test_only_parts_that_we_left_for_the_given_names_are_removed(tmp_path: Path) -> None:
    long = "n" * 200
    kept = write_part_like(tmp_path, "last.pt", long)
    other = part_path(tmp_path / "other.pt")
    other.write_text("of another process")
    part_path(tmp_path / "last.pt").write_text("half")
    part_path(tmp_path / long).mkdir()
    link = part_path(tmp_path / "last.pt")
    link.symlink_to(tmp_path)
    remove_leftover_parts(tmp_path, ["last.pt", long])
    link.unlink()
    assert folder_contents(tmp_path) == {**kept, other.name: b"of another process"}


def test_leftovers_of_a_file_in_a_subfolder_are_removed_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    left = [part_path(tmp_path / "sub" / name) for name in ("a.jpg", "b.jpg")]
    for path in left:
        path.write_text("half")
    LeftoverParts(tmp_path).remove(tmp_path / "sub" / "a.jpg")
    assert [path.exists() for path in left] == [False, True]


def test_a_folder_is_complete_or_absent_and_part_like_files_survive(tmp_path: Path) -> None:
    kept = write_part_like(tmp_path, "world")
    part_path(tmp_path / "world").mkdir()
    with pytest.raises(FileNotFoundError), part_folder(tmp_path / "world", error=ValueError) as part:
        (part / "absent" / "half").write_text("half")
    assert folder_contents(tmp_path) == kept
    (tmp_path / "world").mkdir()
    with part_folder(tmp_path / "world", error=ValueError) as part:
        (part / "whole").write_text("whole")
    assert folder_contents(tmp_path) == {**kept, "world/whole": b"whole"}


def test_a_folder_with_content_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "mine").write_text("mine")
    with pytest.raises(OSError, match="not empty"), part_folder(tmp_path / "world", error=ValueError):
        pass
    assert folder_contents(tmp_path) == {"world/mine": b"mine"}


def test_two_processes_do_not_make_one_folder(tmp_path: Path) -> None:
    with part_folder(tmp_path / "world", error=ValueError) as part:
        with pytest.raises(ValueError, match="is writing into this folder"):
            part_folder(tmp_path / "world", error=ValueError).__enter__()
        assert part.is_dir()
    assert (tmp_path / "world").is_dir()


def test_part_names_of_long_names_fit_into_255_bytes(tmp_path: Path) -> None:
    assert len(os.fsencode(part_path(tmp_path / ("\U0001f600" * 63)).name)) <= 255
