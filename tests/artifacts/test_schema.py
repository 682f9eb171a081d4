import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts.schema import embeddings, make_key


@pytest.mark.parametrize("source_id", ["000000000042", "1000092795", "cc-0123456789abcdef", "a_b"])
def test_a_safe_id_stands_in_its_key_as_it_is(source_id):
    assert make_key("mscoco", source_id) == f"mscoco-{source_id}"


@pytest.mark.parametrize("source_id", ["", ".", "..", "a.b", "a/b", "a b", "-a", "a\n", "é", "C:\\x"])
def test_an_unsafe_id_is_replaced_by_sixteen_hex_digits(source_id):
    assert re.fullmatch(r"flickr30k-[0-9a-f]{16}", make_key("flickr30k", source_id))


@settings(deadline=None)
@given(st.text())
def test_any_id_gives_a_safe_key(source_id):
    assert re.fullmatch(r"mscoco-[A-Za-z0-9][A-Za-z0-9_-]*", make_key("mscoco", source_id))


@settings(deadline=None)
@given(st.lists(st.text(), unique=True))
def test_other_ids_have_other_keys(source_ids):
    assert len({make_key("mscoco", s) for s in source_ids}) == len(source_ids)


def test_a_vector_table_has_key_index_columns_and_one_fixed_size_vector():
    schema = embeddings("caption_index", dimension=3, name="z")
    assert schema.names == ["key", "caption_index", "z"]
    assert schema.field("caption_index").type == pa.int32()
    assert schema.field("z").type == pa.list_(pa.float16(), 3)
