from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources.columns.name_table import ClassNames, NameTable, PackedNames

NAMES = st.lists(st.text(max_size=3) | st.sampled_from(["a", "b", "\udcff"]))


@given(NAMES)
def test_packed_names_are_returned_unchanged(names):
    packed = PackedNames()
    for name in names:
        packed.append(name)
    assert [packed[number] for number in range(len(packed))] == names


@given(NAMES)
def test_every_mention_has_the_number_of_the_first_mention_of_its_name(names):
    table = NameTable()
    numbers = [table.mention(name) for name in names]
    image = table.first_mentions()
    first = dict(zip(reversed(names), reversed(numbers), strict=True))
    assert [image[number] for number in numbers] == [first[name] for name in names]
    assert [table[number] for number in numbers] == names


def test_a_name_repeated_at_once_keeps_its_number():
    table = NameTable()
    assert [table.mention(name) for name in "aabba"] == [0, 0, 1, 1, 2]
    assert table.first_mentions().tolist() == [0, 1, 0]


@given(st.lists(st.text(max_size=3)))
def test_classes_are_numbered_by_name_once_all_are_known(names):
    classes = ClassNames()
    numbers = [classes.number(name) for name in names]
    in_order, position = classes.in_order()
    assert in_order == tuple(sorted(set(names)))
    assert [in_order[position[number]] for number in numbers] == names
