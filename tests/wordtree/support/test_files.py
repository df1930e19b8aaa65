"""Atomic writing of files."""

import os
from pathlib import Path

import pytest

from wordtree.support.files import remove_leftover_parts, write_atomically


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


def test_only_part_files_of_the_given_names_are_removed(tmp_path: Path) -> None:
    long = "n" * 200
    left = ["last.pt.0123abcd.part", f"{long[:60]}.89abcdef.part"]
    kept = ["last.pt", "last.pt.part", "last.pt.notes123.part", "other.pt.0123abcd.part"]
    for name in left + kept:
        (tmp_path / name).write_text("x")
    remove_leftover_parts(tmp_path, ["last.pt", long])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
