"""Valid tars, damaged tars, and arbitrary bytes."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.sources import SourceError
from data_prep.sources.files.tar import TarSpan, members, whole_tar
from data_prep.sources.source import Counts

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
BLOCK = 512


def entry(name: str, data: bytes = b"abc", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def tar_bytes(*entries, format=tarfile.GNU_FORMAT, **options) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, **options) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read(path: Path):
    counts = Counts()
    return [(one.name, one.offset, one.size_bytes) for one in members(whole_tar(path), counts)], +counts


def read_bytes(path: Path, data: bytes):
    path.write_bytes(data)
    return read(path)


def with_checksum(header: bytes, *, signed: bool = False) -> bytes:
    blank = header[:148] + b" " * 8 + header[156:]
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in blank)
    return blank[:148] + b"%06o\0 " % total + blank[156:]


def changed(header: bytes, offset: int, field: bytes) -> bytes:
    """The header with a field overwritten and the checksum corrected."""
    return with_checksum(header[:offset] + field + header[offset + len(field) :])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.tar"


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=300)


@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=1200)), max_size=8),
    st.sampled_from(sorted(FORMATS)),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_members_agree_with_pythons_tarfile(path, files, format, with_folders):
    entries = [entry(name, data) for name, data in files]
    if with_folders:
        entries += [entry(f"d{number}", b"", type=tarfile.DIRTYPE) for number in range(2)]
    try:
        data = tar_bytes(*entries, format=FORMATS[format])
    except ValueError:  # a name too long for ustar
        return
    found, counts = read_bytes(path, data)
    with tarfile.open(path) as tar:
        expected = [one for one in tar if one.isreg()]
    usable = [one for one in expected if not one.name.startswith("/") and ".." not in one.name.split("/")]
    usable = [one for one in usable if one.name.strip("./")]
    assert [offset for _, offset, _ in found] == [one.offset_data for one in usable]
    assert [size for _, _, size in found] == [one.size for one in usable]
    names = ["/".join(part for part in one.name.split("/") if part not in ("", ".")) for one in usable]
    assert [name for name, _, _ in found] == names
    assert sum(counts.values()) == len(expected) - len(usable)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_a_member_is_a_span_of_bytes_of_the_file(path, format):
    files = {"a.jpg": b"first", f"{'long/' * 18}b.jpg": b"x" * 1000, "empty": b""}
    data = tar_bytes(*(entry(name, content) for name, content in files.items()), format=FORMATS[format])
    found, counts = read_bytes(path, data)
    assert {name: data[offset : offset + size] for name, offset, size in found} == files
    assert counts == {}


def test_a_tar_within_a_tar_is_read_without_unpacking(path):
    inner = tar_bytes(entry("x.jpg", b"deep"))
    outer = tar_bytes(entry("before", b"1"), entry("inner.tar", inner), entry("after", b"2"))
    found, _ = read_bytes(path, outer)
    _, offset, size = found[1]
    inside = list(members(TarSpan(path, offset, offset + size, "inner"), Counts()))
    assert [(one.name, outer[one.offset : one.offset + one.size_bytes]) for one in inside] == [
        ("x.jpg", b"deep")
    ]


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_members_of_more_than_eight_gigabytes_are_skipped(path, format):
    big = 9 << 30
    info, _ = entry("big.bin")
    info.size = big
    header = info.tobuf(FORMATS[format])
    with path.open("wb") as file:  # sparse: it takes no room
        file.write(header)
        file.seek(len(header) + big)
        file.write(tar_bytes(entry("small.jpg")))
    found, counts = read(path)
    assert found == [
        ("big.bin", len(header), big),
        ("small.jpg", len(header) + big + BLOCK, 3),
    ]
    assert counts == {}


OTHERS = [
    pytest.param(
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link in a tar (not followed)", id="symlink"
    ),
    pytest.param(
        {"type": tarfile.LNKTYPE, "linkname": "a.jpg"}, "link in a tar (not followed)", id="hard link"
    ),
    pytest.param({"type": tarfile.CHRTYPE}, "device or pipe in a tar", id="character device"),
    pytest.param({"type": tarfile.BLKTYPE}, "device or pipe in a tar", id="block device"),
    pytest.param({"type": tarfile.FIFOTYPE}, "device or pipe in a tar", id="pipe"),
    pytest.param({"type": tarfile.GNUTYPE_SPARSE}, "sparse file in a tar", id="GNU sparse"),
    pytest.param({"pax_headers": {"GNU.sparse.major": "1"}}, "sparse file in a tar", id="PAX sparse"),
    pytest.param({"type": b"Q"}, "member of an unknown type in a tar", id="unknown"),
    pytest.param({"name": "/abs.jpg"}, "absolute or parent path in a tar", id="absolute"),
    pytest.param({"name": "a/../../b.jpg"}, "absolute or parent path in a tar", id="parent"),
    pytest.param({"name": "./."}, "impossible file name in a tar", id="dots"),
    pytest.param({"name": "x" * 5000}, "impossible file name in a tar", id="too long"),
]


@pytest.mark.parametrize(("fields", "reason"), OTHERS)
def test_a_member_that_is_not_a_regular_file_is_left_out_and_counted(path, fields, reason):
    odd = entry(fields.get("name", "odd.jpg"), b"", **{k: v for k, v in fields.items() if k != "name"})
    data = tar_bytes(entry("a.jpg"), odd, entry("b.jpg"), format=tarfile.PAX_FORMAT)
    found, counts = read_bytes(path, data)
    assert [name for name, _, _ in found] == ["a.jpg", "b.jpg"]
    assert counts == {reason: 1}


def test_names_that_are_not_utf8_become_surrogates(path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    for format in ("gnu", "pax"):
        data = tar_bytes(entry(name), format=FORMATS[format], errors="surrogateescape", encoding="utf-8")
        found, _ = read_bytes(path, data)
        assert [name for name, _, _ in found] == [name]


def test_a_size_in_a_pax_extension_replaces_the_size_in_the_header(path):
    info, data = entry("a.jpg", b"123456", pax_headers={"size": "6"})
    right = tar_bytes((info, data), entry("b.jpg"), format=tarfile.PAX_FORMAT)
    wrong = bytearray(right)
    header = right.index(b"a.jpg")
    wrong[header : header + BLOCK] = changed(right[header : header + BLOCK], 124, b"00000000000\0")
    found, counts = read_bytes(path, bytes(wrong))
    assert [(name, size) for name, _, size in found] == [("a.jpg", 6), ("b.jpg", 3)]
    assert counts == {}


def test_old_tars_without_magic_are_read(path):
    file, folder = (
        changed(entry(name, data, type=tarfile.AREGTYPE)[0].tobuf(tarfile.USTAR_FORMAT), 257, bytes(8))
        for name, data in (("a.jpg", b"abc"), ("folder/", b""))
    )
    found, counts = read_bytes(path, folder + file + b"abc".ljust(BLOCK, b"\0") + bytes(2 * BLOCK))
    assert found == [("a.jpg", 2 * BLOCK, 3)]
    assert counts == {}


def test_checksums_of_signed_bytes_are_accepted(path):
    info, _ = entry("caf\u00e9.jpg", b"")
    header = with_checksum(info.tobuf(tarfile.GNU_FORMAT), signed=True)
    assert header != with_checksum(header)
    found, counts = read_bytes(path, header + bytes(2 * BLOCK))
    assert [name for name, _, _ in found] == ["caf\u00e9.jpg"]
    assert counts == {}


def test_a_global_comment_as_in_tars_of_git_is_ignored(path):
    data = tar_bytes(entry("a.jpg"), format=tarfile.PAX_FORMAT, pax_headers={"comment": "0123abc"})
    found, counts = read_bytes(path, data)
    assert [name for name, _, _ in found] == ["a.jpg"]
    assert counts == {}


def damaged(found: str, path: Path) -> dict[str, int]:
    return {f"{path}: damaged, the rest is not read: found {found}": 1}


DAMAGE = [
    pytest.param(lambda tar: tar[: 3 * BLOCK - 1], "its end within a header", id="cut in a header"),
    pytest.param(lambda tar: tar[: 3 * BLOCK + 1], "its end within a member", id="cut in a member"),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + b"\1" + tar[2 * BLOCK + 1 :],
        "a header with a wrong checksum",
        id="flipped byte",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + changed(tar[2 * BLOCK : 3 * BLOCK], 124, b"9" * 11),
        "a header with an invalid number",
        id="size without digits",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + changed(tar[2 * BLOCK : 3 * BLOCK], 124, b"\xff" * 12),
        "a header with an invalid number",
        id="negative size",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + changed(tar[2 * BLOCK : 3 * BLOCK], 124, b"\x80" + b"\xff" * 11),
        "its end within a member",
        id="size beyond all files",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + extension(b"x", b"7 path\n") + tar[2 * BLOCK :],
        "an extension that cannot be read",
        id="extension without a value",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + extension(b"x", b"0 path=x\n") + tar[2 * BLOCK :],
        "an extension that cannot be read",
        id="extension that does not go on",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + extension(b"x", b"9 size=-1\n") + tar[2 * BLOCK :],
        "an extension that cannot be read",
        id="extension of a wrong length",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + extension(b"x", b"11 size=-1\n") + tar[2 * BLOCK :],
        "a size that is not a number",
        id="negative size in an extension",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + extension(b"g", b"10 path=x\n") + tar[2 * BLOCK :],
        "one name or size for all members",
        id="global name",
    ),
    pytest.param(
        lambda tar: tar[: 2 * BLOCK] + extension(b"L", bytes(2 << 20)) + tar[2 * BLOCK :],
        "2097152 bytes of names and sizes for one member",
        id="huge extension",
    ),
]


def extension(kind: bytes, data: bytes) -> bytes:
    info = tarfile.TarInfo("ext")
    info.size, info.type = len(data), kind
    return info.tobuf(tarfile.USTAR_FORMAT) + data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


@pytest.mark.parametrize(("damage", "found_text"), DAMAGE)
def test_a_damaged_tar_is_read_up_to_the_damage_and_counted_by_name(path, damage, found_text):
    found, counts = read_bytes(path, damage(tar_bytes(entry("a.jpg"), entry("b.jpg"), entry("c.jpg"))))
    assert found == [("a.jpg", BLOCK, 3)]
    assert counts == damaged(found_text, path)


def test_a_tar_truncated_between_members_is_read_and_counted(path):
    found, counts = read_bytes(path, tar_bytes(entry("a.jpg"), entry("b.jpg"))[: 2 * BLOCK])
    assert len(found) == 1
    assert counts == {f"{path}: without an end mark, perhaps truncated (kept)": 1}


def test_a_tar_appended_to_another_is_counted(path):
    found, counts = read_bytes(path, 2 * tar_bytes(entry("a.jpg")))
    assert len(found) == 1
    assert counts == {"bytes after the end mark of a tar (not read)": 1}


def test_a_long_chain_of_extensions_is_read_without_recursion(path):
    chain = extension(b"L", b"a-name.jpg\0") * 5000
    found, _ = read_bytes(path, chain + tar_bytes(entry("a.jpg")))
    assert [name for name, _, _ in found] == ["a-name.jpg"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "expected a tar, found an empty file", id="empty"),
        pytest.param(b"\xff\xd8\xff\xe0" * 200, "expected a tar, found a header with", id="an image"),
        pytest.param(b"short", "expected a tar, found its end within a header", id="short"),
        pytest.param(
            gzip.compress(tar_bytes(entry("a.jpg"))),
            "expected a plain tar, found a compressed archive",
            id="gzip",
        ),
    ],
)
def test_a_file_in_another_format_than_tar_is_reported_in_one_line(path, data, expected):
    with pytest.raises(SourceError, match=f"some.tar: {expected}"):
        read_bytes(path, data)


def test_an_empty_tar_has_no_members(path):
    assert read_bytes(path, tar_bytes()) == ([], {})


SAMPLE = tar_bytes(
    entry("a.jpg", b"x" * 700),
    entry("d", b"", type=tarfile.DIRTYPE),
    entry("y" * 200, b"12"),
    entry("p\u00e9.jpg", b"3", pax_headers={"comment": "ß"}),
    format=tarfile.PAX_FORMAT,
)


@given(
    st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=12)), max_size=6),
    st.integers(0, len(SAMPLE)),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
def test_no_bytes_crash_the_reader_or_give_a_span_outside_the_file(path, changes, end, with_right_checksums):
    data = bytearray(SAMPLE[:end])
    for offset, change in changes:
        data[offset : offset + len(change)] = change
    if with_right_checksums:
        for start in range(0, len(data) - BLOCK + 1, BLOCK):
            if any(data[start : start + BLOCK]):
                data[start : start + BLOCK] = with_checksum(bytes(data[start : start + BLOCK]))
    try:
        found, _ = read_bytes(path, bytes(data))
    except SourceError:
        return
    assert all(0 <= offset <= offset + size <= len(data) for _, offset, size in found)
    assert all(".." not in name.split("/") and not name.startswith("/") for name, _, _ in found)
