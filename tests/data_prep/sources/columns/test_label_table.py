import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.records import ImageLabel
from data_prep.sources.columns.label_table import BoxTable, ImageLabelTable

NUMBERS = st.integers(0, 2**31 - 2) | st.integers(0, 3)
CORNERS = st.tuples(*[st.floats(allow_nan=False)] * 4)
BOXES = st.lists(st.tuples(NUMBERS, NUMBERS, CORNERS, st.booleans()))


def filled(boxes):
    table = BoxTable()
    for image, class_index, corners, is_ignored in boxes:
        table.add(image, class_index, corners, is_ignored=is_ignored)
    return table


@given(BOXES, st.lists(NUMBERS))
def test_an_image_has_its_boxes_in_the_order_in_which_they_were_added(boxes, others):
    table = filled(boxes)
    table.sort()
    assert len(table) == len(boxes)
    for image in {row[0] for row in boxes} | set(others):
        expected = [row[1:] for row in boxes if row[0] == image]
        stated = table.boxes(image)
        assert list(zip(stated.class_index, stated.corners, stated.is_ignored, strict=True)) == expected
        assert table.count(image) == len(stated) == len(expected)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans())))
def test_an_image_has_its_image_labels_in_the_order_in_which_they_were_added(labels):
    table = ImageLabelTable()
    for image, class_index, is_positive in labels:
        table.add(image, class_index, is_positive=is_positive)
    table.sort()
    for image in {row[0] for row in labels}:
        assert table.labels(image) == [ImageLabel(*row[1:]) for row in labels if row[0] == image]


@given(st.lists(st.integers(-1, 5)))
def test_sorting_renumbers_images_and_classes(images):
    table = filled([(row, row, (0, 0, 1, 1), False) for row in range(len(images))])
    table.sort(np.array(images, dtype=np.int32), np.arange(len(images), dtype=np.int32) + 7)
    for image in range(-1, 6):
        expected = [row + 7 for row, number in enumerate(images) if number == image]
        assert table.boxes(image).class_index == expected


def test_a_box_takes_less_than_sixty_four_bytes_sorted_or_not():
    count = 200_000
    images = np.random.default_rng(0).integers(0, count, count)
    tracemalloc.start()
    table = BoxTable()
    for image in images:
        table.add(int(image), 3, (1.5, 2.5, 3.5, 4.5))
    table.sort()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * count


def test_reading_the_boxes_of_an_image_copies_no_column():
    table = filled([(image, 0, (0, 0, 1, 1), False) for image in range(100_000)])
    table.sort()
    tracemalloc.start()
    assert len(table.boxes(50_000)) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000
