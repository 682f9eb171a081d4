import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.disk import sealed
from pipeline.errors import Damaged

contents = st.binary(max_size=70)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sealed, "BLOCK", 16)
        patched.setattr(sealed, "_MANY", 10_000)
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("sealed") / "file"


def sealed_bytes(path, content, label="label"):
    path.write_bytes(content)
    sealed.seal(path, label)
    return path.read_bytes()


@settings(max_examples=20)
@given(content=contents)
def test_a_sealed_file_begins_with_its_content_and_is_right_with_any_number_of_threads(path, content):
    assert sealed_bytes(path, content).startswith(content)
    for threads in (1, 3):
        sealed.check(path, "label", threads)


@settings(max_examples=20)
@given(content=contents, data=st.data())
def test_a_flipped_bit_anywhere_is_noticed(path, content, data):
    whole = bytearray(sealed_bytes(path, content))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    with pytest.raises(Damaged, match="is damaged"):
        sealed.check(path, "label")


@settings(max_examples=20)
@given(content=contents, data=st.data())
def test_a_file_of_another_length_is_noticed(path, content, data):
    whole = sealed_bytes(path, content)
    path.write_bytes(
        data.draw(st.one_of(
            st.integers(0, len(whole) - 1).map(lambda n: whole[:n]),
            st.binary(min_size=1, max_size=50).map(lambda more: whole + more),
            st.integers(0, 200).map(bytes), st.binary(max_size=200).filter(lambda other: other != whole),
        ))
    )  # fmt: skip
    with pytest.raises(Damaged, match="is damaged"):
        sealed.check(path, "label")


def test_a_whole_file_of_something_else_is_noticed(path):
    sealed_bytes(path, b"content", "another")
    with pytest.raises(Damaged, match="its seal is not that of label"):
        sealed.check(path, "label")


def test_the_damaged_part_is_named(path):
    whole = bytearray(sealed_bytes(path, bytes(50)))
    whole[20] ^= 1
    path.write_bytes(whole)
    with pytest.raises(Damaged, match="bytes 16 to 32 are not those that were written"):
        sealed.check(path, "label")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(Damaged, match="is no file"):
        sealed.check(tmp_path, "label")
