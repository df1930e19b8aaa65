import pickle
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_prep.shards.catalogue as catalogue_module
from data_prep.records import ImageLabel, ImageRecord
from data_prep.shards.catalogue import CatalogueBuilder
from tests.data_prep.readers import make_boxes

FIRST_CLASS = (0, 5)  # two sources, the first of five classes

unit = st.floats(0, 1, width=32)
boxes = st.tuples(st.integers(0, 4), st.tuples(unit, unit, unit, unit), st.booleans())
labels = st.builds(ImageLabel, st.integers(0, 4), st.booleans(), st.booleans())
names = st.sampled_from(["a.jpg", "b", "ä ß.png", "\udcff.jpg", "folder/c.jpg", "folder/a.jpg"])
records = st.builds(
    ImageRecord,
    source_id=st.sampled_from(["a.jpg", "x/a.jpg", "ä", "", "folder/b"]),
    path=names.map(lambda name: Path("/images") / name),
    size_bytes=st.integers(0, 2**40),
    size_px=st.none() | st.tuples(st.integers(1, 10**5), st.integers(1, 10**5)),
    boxes=st.none() | st.lists(boxes, max_size=3).map(lambda rows: make_boxes(*rows)),
    labels=st.lists(labels, max_size=3).map(tuple),
    offset=st.none() | st.integers(0, 2**40),
)


def catalogue_of(records, source=0):
    builder = CatalogueBuilder()
    for record in records:
        builder.add(source, record, FIRST_CLASS[source])
    return builder.finish()


def in_the_table_of_all(record, first_class):
    """The record with its classes as rows of the table of all classes."""
    boxes = record.boxes and replace(
        record.boxes, class_index=[index + first_class for index in record.boxes.class_index]
    )
    labels = tuple(label._replace(class_index=label.class_index + first_class) for label in record.labels)
    return replace(record, boxes=boxes, labels=labels)


@given(st.lists(records, max_size=6))
def test_a_catalogue_returns_the_records_added(given):
    catalogue = catalogue_of(given, source=1)
    assert list(catalogue) == [in_the_table_of_all(record, 5) for record in given]


@given(st.lists(records, min_size=1, max_size=6), st.data())
def test_slices_and_selections_keep_their_records_also_after_pickling(given, data):
    catalogue = catalogue_of(given)
    first = data.draw(st.integers(0, len(given)))
    end = data.draw(st.integers(first, len(given)))
    assert list(pickle.loads(pickle.dumps(catalogue.slice(first, end)))) == given[first:end]
    chosen = data.draw(st.lists(st.integers(0, len(given) - 1)))
    assert list(catalogue.take(np.array(chosen, dtype=np.int64))) == [given[number] for number in chosen]


@given(st.lists(records, max_size=4), st.lists(records, max_size=4))
def test_digests_are_equal_exactly_if_the_stored_content_is_equal(one, other):
    """Wherever the images lie, and whatever other source stands before."""

    def stored(records):
        return [replace(record, path=Path(), offset=None) for record in records]

    assert (catalogue_of(one).digest() == catalogue_of(other).digest()) == (stored(one) == stored(other))
    assert catalogue_of(one).digest() == catalogue_of(one, source=1).digest(FIRST_CLASS[1])


def test_the_digest_of_a_slice_depends_on_its_images_alone():
    given = [
        ImageRecord(f"{n}.jpg", Path(f"/p/{n}.jpg"), n, boxes=make_boxes((n, (0, 0, 1, 1)))) for n in range(5)
    ]
    assert catalogue_of(given).slice(1, 3).digest() == catalogue_of(given[1:3]).digest()


def test_paths_become_absolute_so_that_any_process_finds_them(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    catalogue = catalogue_of(
        [ImageRecord("a.jpg", Path("a.jpg"), 1), ImageRecord("b.jpg", Path("in/b.jpg"), 1)]
    )
    assert [record.path for record in catalogue] == [tmp_path / "a.jpg", tmp_path / "in" / "b.jpg"]


def bytes_held(images, record):
    """Bytes that a catalogue of so many images holds when it has grown."""
    own = tracemalloc.Filter(True, str(Path(catalogue_module.__file__)))
    tracemalloc.start()
    try:
        builder = CatalogueBuilder()
        for number in range(images):
            builder.add(0, record(number), 0)
        catalogue = builder.finish()
        traces = tracemalloc.take_snapshot().filter_traces([own]).traces
    finally:
        tracemalloc.stop()
    assert len(catalogue) == images
    return sum(trace.size for trace in traces)


@pytest.mark.parametrize("where", ["folders", "archives"])
def test_fourteen_million_images_fit_into_memory(where):
    """Of ImageNet with its label at most 110 bytes each, names included; and 30 for each box of an image."""
    images, boxes_each = 20_000, 10

    def record(number, boxes=None):
        wnid = f"n{number // 1000:08d}"
        path = Path(f"/data/{wnid}/{wnid}_{number}.JPEG" if where == "folders" else f"/data/{wnid}.tar")
        offset, label = (None if where == "folders" else number), (ImageLabel(number // 1000),)
        return ImageRecord(f"{wnid}/{wnid}_{number}.JPEG", path, 110_000, None, boxes, label, offset)

    boxes = make_boxes(*[(3, (0.1, 0.2, 0.3, 0.4))] * boxes_each)
    labelled, boxed = bytes_held(images, record), bytes_held(images, lambda number: record(number, boxes))
    assert labelled / images < 110
    assert (boxed - labelled) / (images * boxes_each) < 30
    print(f"{labelled / images:.1f} bytes an image, {(boxed - labelled) / (images * boxes_each):.1f} a box")
