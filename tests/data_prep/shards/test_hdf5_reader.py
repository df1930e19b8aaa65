"""The reader of HDF5 files: equal to h5py on what h5py writes by default, and a refusal of everything else."""

import io
import random

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.shards.hdf5_reader import TEXT, Hdf5Error, Hdf5File

DTYPES = ["uint8", "int8", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def written(fill, **options):
    """The bytes of an HDF5 file that `fill` filled."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        fill(file)
    return stream.getvalue()


def opened(content):
    return Hdf5File(io.BytesIO(content))


def fill_plainly(file):
    file.attrs["format"], file.attrs["version"] = np.bytes_("made"), np.int32(7)
    for number, dtype in enumerate(DTYPES):
        file[f"{dtype} column"] = np.arange(5 + number).astype(dtype)
    file["boxes"] = np.random.default_rng(0).random((6, 4), np.float32)
    file["empty"], file["nothing wide"] = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    file["number"] = np.int64(5)


@pytest.mark.parametrize("userblock", [0, 512])
def test_numbers_and_attributes_are_read_as_h5py_reads_them(userblock):
    content = written(fill_plainly, userblock_size=userblock)
    file = opened(content)
    assert file.attributes == {"format": b"made", "version": 7}
    with h5py.File(io.BytesIO(content)) as expected:
        assert set(file.columns) == set(expected)
        for name, dataset in expected.items():
            found = file[name]
            assert (found.dtype, found.shape) == (dataset.dtype, dataset.shape)
            assert np.array_equal(found, dataset[...])
            assert found.flags.writeable
            if found.size:
                assert file.column(name).start == dataset.id.get_offset()


def test_hundreds_of_names_are_read_in_any_order_of_writing():
    names = [f"column {number}" for number in range(200)]
    random.Random(0).shuffle(names)

    def fill(file):
        for name in names:
            file[name] = np.int32([len(name)])

    file = opened(written(fill))
    assert set(file.columns) == set(names)
    assert all(file[name].tolist() == [len(name)] for name in names)


def test_texts_of_former_versions_are_read():
    texts = ["", "ü", "x" * 5000, "tree", *map(str, range(3000))]

    def fill(file):
        file.create_dataset("many", data=texts, dtype=h5py.string_dtype())
        file.create_dataset("one", data="alone", dtype=h5py.string_dtype())
        file.create_dataset("none", (0,), dtype=h5py.string_dtype())

    file = opened(written(fill))
    assert file.column("many").dtype == TEXT
    assert (file.texts("many"), file.texts("one"), file.texts("none")) == (texts, ["alone"], [])
    with pytest.raises(Hdf5Error, match="many holds texts instead of numbers"):
        file["many"]


def test_a_dataset_that_is_not_there_is_named():
    file = opened(written(fill_plainly))
    with pytest.raises(Hdf5Error, match="it has no dataset tree"):
        file["tree"]
    with pytest.raises(Hdf5Error, match="boxes holds no texts"):
        file.texts("boxes")


def with_external_storage(file):
    file.create_dataset("x", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def with_virtual_dataset(file):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("x", layout)


HOSTILE = [
    pytest.param(lambda file: file.create_dataset("x", (3 * 10**8,), "i8", chunks=True), id="chunks"),
    pytest.param(
        lambda file: file.create_dataset("x", data=np.zeros(99), compression="gzip"), id="compressed"
    ),
    pytest.param(lambda file: file.create_dataset("x", (10**10,), "f8"), id="rows that are nowhere"),
    pytest.param(lambda file: file.create_dataset("x", (4,), "u1", maxshape=(None,)), id="resizable"),
    pytest.param(with_external_storage, id="external storage"),
    pytest.param(with_virtual_dataset, id="virtual dataset"),
    pytest.param(lambda file: file.__setitem__("x", h5py.SoftLink("/boxes")), id="soft link"),
    pytest.param(lambda file: file.__setitem__("x", h5py.ExternalLink("b.h5", "/x")), id="external link"),
    pytest.param(lambda file: file.create_group("x"), id="group"),
    pytest.param(lambda file: file.__setitem__("x", np.zeros(4, ">i4")), id="big-endian"),
    pytest.param(lambda file: file.__setitem__("x", np.zeros(4, "complex64")), id="compound"),
    pytest.param(lambda file: file.__setitem__("x", np.zeros(4, "f2")), id="half floats"),
    pytest.param(lambda file: file.create_dataset("x", (4,), h5py.vlen_dtype("u1")), id="ragged"),
    pytest.param(lambda file: file.__setitem__("x", h5py.Empty("f4")), id="null"),
    pytest.param(lambda file: file.__setitem__("x", np.dtype("i4")), id="named type"),
    pytest.param(lambda file: file.__setitem__("x", file["boxes"]), id="two names of one dataset"),
]


@pytest.mark.parametrize("add", HOSTILE)
def test_everything_but_plain_contiguous_numbers_is_refused(add):
    def fill(file):
        file["boxes"] = np.zeros((600, 4), np.float32)
        add(file)

    with pytest.raises(Hdf5Error):
        opened(written(fill))


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"no", bytes(600), b"\x89HDF\r\n\x1a\n" * 90])
def test_other_files_are_refused(content):
    with pytest.raises(Hdf5Error):
        opened(content)


def test_another_version_of_the_structure_is_refused():
    with pytest.raises(Hdf5Error, match="another version of HDF5's superblock"):
        opened(written(fill_plainly, libver="latest"))


def fill_with_texts(file):
    fill_plainly(file)
    file.create_dataset("texts", data=["a", "bc" * 40, ""], dtype=h5py.string_dtype())


SOUND = written(fill_with_texts)


def read_everything(content):
    """The numbers and texts of a file; None if it is refused."""
    try:
        file = opened(content)
        return {
            name: file.texts(name) if column.dtype == TEXT else file[name]
            for name, column in file.columns.items()
        }
    except ValueError:  # Hdf5Error, and texts that are not UTF-8
        return None


def test_a_changed_byte_anywhere_is_refused_or_read():
    for position in range(0, len(SOUND), 3):
        content = bytearray(SOUND)
        content[position] ^= 1 << position % 8
        found = read_everything(bytes(content))
        assert found is None or sum(np.asarray(value).nbytes for value in found.values()) < 10 * len(SOUND)


@settings(max_examples=200)
@given(st.data())
def test_altered_bytes_are_refused_or_read(data):
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 5))):
        position = data.draw(st.integers(0, len(content) - 1))
        size = data.draw(st.integers(0, 16))
        content[position : position + size] = data.draw(
            st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x01", b"\x10"])
        )
    read_everything(bytes(content))
