from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.compact_strings import Lookup

ENTRIES = st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 3), st.text(st.characters())))


def test_strings_are_found_by_their_number_in_the_order_they_were_added():
    lookup = Lookup()
    for number, text in [(7, "seven"), (2**64 - 1, "last"), (0, ""), (7, "sieben")]:
        lookup.add(number, text)
    assert lookup.find(7) == ["seven", "sieben"]
    assert lookup.find(2**64 - 1) == ["last"]
    assert lookup.find(0) == [""]
    assert lookup.find(8) == []


@given(ENTRIES)
def test_it_is_a_dict_of_lists(entries):
    lookup, expected = Lookup(), {}
    for number, text in entries:
        lookup.add(number, text)
        expected.setdefault(number, []).append(text)
    assert {number: lookup.find(number) for number in expected} == expected
    assert lookup.find(5) == expected.get(5, [])
    assert len(lookup) == len(entries)
