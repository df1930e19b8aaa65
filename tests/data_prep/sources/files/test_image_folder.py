import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.sources import SourceError
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, NotFound, walk
from data_prep.sources.files.text_lines import text_lines
from data_prep.sources.source import FILE_MISSING, NO_NAME_INSIDE, Counts


@pytest.fixture
def folder(tmp_path):
    """images/a.jpg, images/deep/b.jpg, and secret/s.jpg beside them."""
    for name in ("images/a.jpg", "images/deep/b.jpg", "secret/s.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"seven b")
    return tmp_path / "images"


@pytest.mark.parametrize("name", ["a.jpg", "deep/b.jpg", "./a.jpg", "deep//b.jpg"])
def test_an_image_is_found_with_its_size(folder, name):
    assert ImageFolder(folder).find(name) == FoundImage(folder / name, 7)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("", NO_NAME_INSIDE, id="empty"),
        pytest.param(".", NO_NAME_INSIDE, id="the folder"),
        pytest.param("../secret/s.jpg", NO_NAME_INSIDE, id="above"),
        pytest.param("deep/../../secret/s.jpg", NO_NAME_INSIDE, id="above, by a way round"),
        pytest.param("..\\secret\\s.jpg", NO_NAME_INSIDE, id="above, on Windows"),
        pytest.param("/etc/passwd", NO_NAME_INSIDE, id="absolute"),
        pytest.param("C:/gone.jpg", NO_NAME_INSIDE, id="a drive"),
        pytest.param("gone.jpg", FILE_MISSING, id="missing"),
        pytest.param("deep", FILE_MISSING, id="a folder"),
        pytest.param("a.jpg/b.jpg", FILE_MISSING, id="below a file"),
        pytest.param("a\0.jpg", FILE_MISSING, id="null character"),
        pytest.param("a/" * 200_000, FILE_MISSING, id="folders without end"),
        pytest.param("\ud800.jpg", FILE_MISSING, id="half a surrogate pair"),
        pytest.param("a" * 5000, FILE_MISSING, id="too long"),
        pytest.param("circle.jpg", FILE_MISSING, id="a circle of links"),
        pytest.param("pipe.jpg", FILE_MISSING, id="a pipe"),
    ],
)
def test_only_regular_files_in_the_folder_are_found(folder, name, reason):
    (folder / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(folder / "pipe.jpg")
    found = ImageFolder(folder).find(name)
    assert isinstance(found, NotFound)
    assert found.reason == reason


def test_links_are_followed_wherever_they_lead(folder, tmp_path):
    (folder / "link.jpg").symlink_to("deep/b.jpg")
    (folder / "also").symlink_to("deep")
    (folder / "out.jpg").symlink_to(folder.parent / "secret" / "s.jpg")
    (tmp_path / "linked").symlink_to(folder)
    for place in (folder, tmp_path / "linked"):
        assert ImageFolder(place).find("link.jpg") == FoundImage(place / "link.jpg", 7)
        assert ImageFolder(place).find("out.jpg") == FoundImage(
            place / "out.jpg", (folder.parent / "secret" / "s.jpg").stat().st_size
        )
        assert ImageFolder(place).find("also/b.jpg") == FoundImage(place / "also/b.jpg", 7)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["..", ".", "a.jpg", "deep", "b.jpg", "s.jpg", "secret", ""])).map("/".join))
def test_any_name_finds_only_files_in_the_folder(folder, name):
    found = ImageFolder(folder).find(name)
    assert isinstance(found, NotFound) or found.path.resolve().is_relative_to(folder.resolve())


def test_a_walk_is_sorted_and_does_not_follow_links(folder):
    (folder / "deep" / "up").symlink_to("..")
    (folder / "b.txt").write_text("")
    (folder / "a").mkdir()
    counts = Counts()
    assert list(walk(folder, counts)) == [("", ["a.jpg", "b.txt"]), ("a/", []), ("deep/", ["b.jpg"])]
    assert counts == {"link to a folder (not followed)": 1}


def test_a_folder_that_cannot_be_walked_is_reported(folder):
    with pytest.raises(SourceError, match="nowhere: cannot list this folder"):
        list(walk(folder / "nowhere", Counts()))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a\r\nb\rc\n\nd", ["a\r\n", "b\r", "c\n", "\n", "d"], id="ends of all systems"),
        pytest.param(b"\xef\xbb\xbfa", ["a"], id="byte order mark"),
        pytest.param(b"\xff\n", ["\udcff\n"], id="not UTF-8"),
    ],
)
def test_lines_of_any_text_are_read(tmp_path, content, lines):
    (tmp_path / "text").write_bytes(content)
    assert list(text_lines(tmp_path / "text")) == lines
