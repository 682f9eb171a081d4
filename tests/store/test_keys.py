import hashlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.store import keys

ABC = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223")  # of the 32 bytes that FIPS 180 prints for sha256("abc")

sixteen = st.binary(min_size=16, max_size=16)


def test_a_key_is_the_first_16_bytes_of_the_sha256():
    assert keys.from_bytes(b"abc") == ABC
    assert keys.from_sha256(hashlib.sha256(b"abc").hexdigest()) == ABC
    assert keys.from_bytes(memoryview(b"abc")) == ABC


def test_a_text_has_the_key_of_its_utf8_bytes():
    assert keys.unpack(keys.from_texts(["abc", "café"])) == [ABC, keys.from_bytes(b"caf\xc3\xa9")]


def test_texts_that_only_look_alike_have_keys_of_their_own():
    alike = ["cafe", "Cafe", "cafe ", "café", "cafe\u0301", ""]
    assert len(np.unique(keys.from_texts(alike), axis=0)) == len(alike)


@settings(deadline=None)
@given(st.binary(max_size=12), st.data())
def test_parts_have_neither_the_key_of_their_concatenation_nor_of_another_division(whole, data):
    first, second = (data.draw(st.integers(0, len(whole))) for _ in range(2))
    one, other = ((whole[:at], whole[at:]) for at in (first, second))
    assert keys.from_bytes(*one) != keys.from_bytes(whole)
    assert (keys.from_bytes(*one) == keys.from_bytes(*other)) == (first == second)


@settings(deadline=None)
@given(*[st.lists(st.binary(max_size=2), min_size=1, max_size=3)] * 2)
def test_two_lists_of_parts_have_one_key_only_if_they_are_equal(one, other):
    assert (keys.from_bytes(*one) == keys.from_bytes(*other)) == (one == other)


def test_a_key_is_two_big_endian_numbers():
    assert keys.pack([bytes(range(16))]).tolist() == [[0x0001020304050607, 0x08090A0B0C0D0E0F]]


@settings(deadline=None)
@given(st.lists(sixteen))
def test_packed_keys_come_back(some):
    packed = keys.pack(some)
    assert (packed.shape, packed.dtype) == ((len(some), 2), np.uint64)
    assert keys.unpack(packed) == some


@settings(deadline=None)
@given(st.lists(sixteen))
@example([b"\x7f" + bytes(15), b"\x80" + bytes(15), bytes(8) + b"\x80" + bytes(7), bytes(15) + b"\x01"])
def test_keys_sort_as_numbers_as_they_do_as_bytes(some):
    packed = keys.pack(some)
    by_number = packed[np.lexsort((packed[:, 1], packed[:, 0]))]
    assert keys.unpack(by_number) == sorted(some)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_first_of_gives_every_distinct_chosen_key_once_at_its_first_place(given_):
    numbers, chosen = [n for n, _ in given_], np.array([c for _, c in given_], dtype=bool)
    wanted = [i for i, n in enumerate(numbers) if chosen[i] and n not in [m for m, c in given_[:i] if c]]
    assert keys.first_of(keys.from_texts(map(str, numbers)), chosen).tolist() == wanted


@pytest.mark.parametrize("half", [0, 1])
def test_keys_that_differ_in_one_half_alone_are_distinct(half):
    some = np.zeros((2, 2), dtype=np.uint64)
    some[1, half] = 1
    assert keys.first_of(some, np.ones(2, dtype=bool)).tolist() == [0, 1]
