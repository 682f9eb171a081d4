import hashlib
import json
import re

import faiss
import numpy as np
import pytest
from tiny_models import unit_rows

from pipeline.artifacts.tables import ContractError
from pipeline.errors import InputError
from pipeline.search.index import RetrievalIndex, ids_of, load

KEYS = ["mscoco-1", "flickr30k-2", "cc-3"]
TEXTS = [["a red star", "a star"], ["a blue moon"], ["a cat", "a tabby cat", "two cats"]]


def padded(rows):
    """The same rows in 8 dimensions."""
    rows = np.array(rows, np.float32)
    return np.pad(rows, ((0, 0), (0, 8 - rows.shape[1])))


def made(images=None, captions=None):
    images = unit_rows(3, 8, seed=1) if images is None else padded(images)
    captions = unit_rows(6, 8, seed=2) if captions is None else padded(captions)
    return RetrievalIndex.of(images, captions, KEYS, TEXTS, weights="w" * 64, manifest="m" * 32)


def test_a_saved_index_comes_back_the_same(tmp_path):
    before = made()
    before.save(tmp_path)
    after = load(tmp_path, "w" * 64)
    assert (after.keys, after.texts, after.weights, after.manifest) == (KEYS, TEXTS, "w" * 64, "m" * 32)
    for old, new in zip(before.vectors(), after.vectors(), strict=True):
        assert new.dtype == np.float32
        assert np.array_equal(old, new)


def test_saving_twice_gives_equal_files(tmp_path):
    for name in ("a", "b"):
        made().save(tmp_path / name)
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert [re.sub("-[0-9a-f]{16}", "", name) for name in names] == [
        "captions.faiss", "entries.parquet", "images.faiss", "index.json",
    ]  # fmt: skip
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_search_is_exact_and_ordered_by_cosine():
    index = made(images=[[1, 0], [0, 1], [0.6, 0.8]], captions=np.eye(6))
    hits = index.search_images(padded([[0.8, 0.6]])[0], top=3)
    assert [hit.key for hit in hits] == ["cc-3", "mscoco-1", "flickr30k-2"]
    assert [hit.similarity for hit in hits] == pytest.approx([0.96, 0.8, 0.6])
    assert [hit.caption for hit in hits] == [None] * 3


def test_captions_are_found_with_their_picture():
    index = made(images=np.eye(3), captions=np.eye(6))
    hits = index.search_captions(padded([[0, 0, 0.6, 0, 0.8, 0]])[0], top=2)
    assert [(hit.key, hit.caption) for hit in hits] == [("cc-3", "a tabby cat"), ("flickr30k-2", "a blue moon")]


def test_search_order_is_that_of_a_full_sort():
    images, query = unit_rows(200, 16, seed=3), unit_rows(1, 16, seed=4)[0]
    keys = [f"mscoco-{i}" for i in range(200)]
    index = RetrievalIndex.of(images, images, keys, [["x"]] * 200, weights="w", manifest="m")
    wanted = np.argsort(-(images @ query))[:20]
    assert [hit.key for hit in index.search_images(query, 20)] == [keys[i] for i in wanted]


def test_asking_for_more_than_there_is_gives_all():
    assert len(made().search_images(unit_rows(1, 8)[0], top=50)) == 3
    assert len(made().search_captions(unit_rows(1, 8)[0], top=50)) == 6


def test_half_precision_vectors_are_taken_and_the_index_is_flat():
    index = made(images=unit_rows(3, 8).astype(np.float16))
    inner = faiss.downcast_index(index.searched["images"].index)
    assert (type(inner), inner.metric_type) == (faiss.IndexFlat, faiss.METRIC_INNER_PRODUCT)
    assert inner.ntotal == 3
    assert index.recall == {}, "an exact index has no recall to state"


def test_an_index_of_other_weights_is_refused_by_both_names(tmp_path):
    made().save(tmp_path)
    with pytest.raises(ContractError, match=r"wwwwwwwwwwww.*vvvvvvvvvvvv.*dvc repro"):
        load(tmp_path, "v" * 64)
    assert load(tmp_path).weights == "w" * 64


def file(folder, part):
    """The one file of a part."""
    (found,) = folder.glob(f"{part}-*")
    return found


@pytest.mark.parametrize("part", ["images", "captions", "entries"])
def test_one_flipped_byte_is_refused(tmp_path, part):
    made().save(tmp_path)
    path = file(tmp_path, part)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    name = path.name
    with pytest.raises(ContractError, match=rf"{name}: sha256 \w+, expected \w+"):
        load(tmp_path)


def test_a_missing_part_is_refused(tmp_path):
    made().save(tmp_path)
    file(tmp_path, "captions").unlink()
    with pytest.raises(ContractError, match=r"captions-\w+\.faiss: sha256 no file"):
        load(tmp_path)


def test_an_index_of_an_earlier_version_says_what_to_run(tmp_path):
    made().save(tmp_path)
    about = json.loads((tmp_path / "index.json").read_text())
    del about["kind"], about["recall"]  # as it was before there were kinds
    (tmp_path / "index.json").write_text(json.dumps(about))
    with pytest.raises(ContractError, match="dvc repro"):
        load(tmp_path)


def test_half_an_index_json_is_an_error_of_the_input(tmp_path):
    made().save(tmp_path)
    (tmp_path / "index.json").write_text('{"weights": ')
    with pytest.raises(InputError, match=r"index\.json is not valid JSON"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["5", "null", "[]", '["weights", "manifest", "kind", "recall", "sha256"]'])
def test_a_json_that_is_of_no_index_says_what_to_run(tmp_path, text):
    made().save(tmp_path)
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ContractError, match=r"index\.json is of no index of this version .*dvc repro -sf index"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("sha256", []), ("sha256", {}), ("kind", "exact"), ("kind", {"speed": 1}), ("recall", None)]
)
def test_a_field_of_another_type_says_what_to_run(tmp_path, name, value):
    made().save(tmp_path)
    about = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(about | {name: value}))
    with pytest.raises(ContractError, match="dvc repro -sf index"):
        load(tmp_path)


def test_an_index_of_other_pictures_is_refused_by_both_names(tmp_path):
    made().save(tmp_path)
    assert load(tmp_path, manifest="m" * 32).manifest == "m" * 32
    with pytest.raises(ContractError, match=r"manifest mmmmmmmmmmmm, expected nnnnnnnnnnnn.*dvc repro"):
        load(tmp_path, manifest="n" * 32)


def test_a_save_that_is_interrupted_leaves_the_index_that_was_here(tmp_path, monkeypatch):
    made().save(tmp_path)
    index = load(tmp_path)
    index.add(unit_rows(1, 8, seed=9), unit_rows(1, 8, seed=10), ["cc-9"], [["another"]])
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.disk.files.write_json", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            index.save(tmp_path)
    assert load(tmp_path).keys == KEYS
    index.save(tmp_path)
    assert load(tmp_path).keys == [*KEYS, "cc-9"]
    assert len(list(tmp_path.iterdir())) == 4, "nothing is left of the one before"


@pytest.mark.parametrize("length", [0, 0.5, 50, np.nan])
def test_vectors_of_another_length_are_refused(length):
    rows = unit_rows(3, 8)
    rows[1] *= np.float32(length)
    with pytest.raises(ValueError, match=r"the vector of image 1 has the length .*; expected 1"):
        made(images=rows)


def test_two_pictures_of_one_key_are_refused():
    with pytest.raises(InputError, match="two images have one key"):
        RetrievalIndex.of(unit_rows(2, 8), unit_rows(2, 8), ["a", "a"], [["x"], ["y"]], weights="w", manifest="m")


@pytest.mark.parametrize(("images", "captions"), [(2, 6), (4, 6), (3, 5), (3, 7)])
def test_counts_that_do_not_fit_are_refused(images, captions):
    with pytest.raises(ValueError, match=f"{images} and {captions} vectors of 3 images, 6 captions"):
        made(unit_rows(images, 8), unit_rows(captions, 8))


def test_texts_of_fewer_pictures_than_keys_are_refused():
    with pytest.raises(ValueError, match="vectors of 3 images"):
        RetrievalIndex.of(unit_rows(3, 8), unit_rows(3, 8), KEYS, TEXTS[:2], weights="w", manifest="m")


def test_a_picture_without_captions_shifts_no_others():
    index = RetrievalIndex.of(
        unit_rows(3, 8), np.eye(8)[:3], ["a", "b", "c"], [["a 0"], [], ["c 0", "c 1"]], weights="w", manifest="m"
    )
    found = [index.search_captions(np.eye(8, dtype=np.float32)[i], 1)[0] for i in range(3)]
    assert [(hit.key, hit.caption) for hit in found] == [("a", "a 0"), ("c", "c 0"), ("c", "c 1")]


# ids


def test_ids_are_63_bits_of_the_sha256_of_names():
    names = [*(f"mscoco-{i}" for i in range(1000)), "mscoco-1#0", "mscoco-1#1", "é/漢"]
    ids = ids_of(names)
    assert ids.dtype == np.int64
    assert len(set(ids.tolist())) == len(names)
    assert ids.min() >= 0
    assert ids[0] == int(hashlib.sha256(b"mscoco-0").hexdigest()[:16], 16) >> 1
    assert ids_of([]).shape == (0,)


def test_ids_stand_in_the_files_of_faiss(tmp_path):
    made().save(tmp_path)
    names = [f"{key}#{i}" for key, texts in zip(KEYS, TEXTS, strict=True) for i in range(len(texts))]
    for part, own in (("images", KEYS), ("captions", names)):
        stored = faiss.read_index(str(file(tmp_path, part)))
        assert faiss.vector_to_array(stored.id_map).tolist() == ids_of(own).tolist()


def test_no_index_says_what_to_run(tmp_path):
    with pytest.raises(ContractError, match="dvc repro index"):
        load(tmp_path / "index")
