import faiss
import numpy as np
import pytest
from tiny_models import unit_rows

from pipeline.retrieval.index import RetrievalIndex, exact, load
from pipeline.tables import ContractError

KEYS = ["mscoco-1", "flickr30k-2", "cc-3"]
TEXTS = [["a red star", "a star"], ["a blue moon"], ["a cat", "a tabby cat", "two cats"]]


def made(images=None, captions=None):
    images = unit_rows(3, 8, seed=1) if images is None else np.array(images, np.float32)
    captions = unit_rows(6, 8, seed=2) if captions is None else np.array(captions, np.float32)
    return RetrievalIndex(exact(images), exact(captions), KEYS, TEXTS, weights="w" * 64, manifest="m" * 32)


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
    assert names == ["captions.faiss", "entries.parquet", "images.faiss", "index.json"]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


def test_every_caption_has_an_owner():
    assert made().owner.tolist() == [0, 0, 1, 2, 2, 2]


def test_search_is_exact_and_ordered_by_cosine():
    index = made(images=[[1, 0], [0, 1], [0.6, 0.8]], captions=np.eye(6))
    hits = index.search_images(np.array([0.8, 0.6], np.float32), top=3)
    assert [hit.key for hit in hits] == ["cc-3", "mscoco-1", "flickr30k-2"]
    assert [hit.similarity for hit in hits] == pytest.approx([0.96, 0.8, 0.6])
    assert [hit.caption for hit in hits] == [None] * 3


def test_captions_are_found_with_their_picture():
    index = made(images=np.eye(3), captions=np.eye(6))
    hits = index.search_captions(np.array([0, 0, 0.6, 0, 0.8, 0], np.float32), top=2)
    assert [(hit.key, hit.caption) for hit in hits] == [("cc-3", "a tabby cat"), ("flickr30k-2", "a blue moon")]


def test_search_order_is_that_of_a_full_sort():
    images, query = unit_rows(200, 16, seed=3), unit_rows(1, 16, seed=4)[0]
    keys = [f"mscoco-{i}" for i in range(200)]
    index = RetrievalIndex(exact(images), exact(images), keys, [["x"]] * 200, "w", "m")
    wanted = np.argsort(-(images @ query))[:20]
    assert [hit.key for hit in index.search_images(query, 20)] == [keys[i] for i in wanted]


def test_asking_for_more_than_there_is_gives_all():
    assert len(made().search_images(unit_rows(1, 8)[0], top=50)) == 3
    assert len(made().search_captions(unit_rows(1, 8)[0], top=50)) == 6


def test_half_precision_vectors_are_taken_and_the_index_is_flat():
    index = exact(unit_rows(5, 8).astype(np.float16))
    assert type(faiss.downcast_index(index)) is faiss.IndexFlatIP
    assert index.ntotal == 5


def test_an_index_of_other_weights_is_refused_by_both_names(tmp_path):
    made().save(tmp_path)
    with pytest.raises(ContractError, match=r"wwwwwwwwwwww.*vvvvvvvvvvvv.*dvc repro"):
        load(tmp_path, "v" * 64)
    assert load(tmp_path).weights == "w" * 64


@pytest.mark.parametrize("name", ["images.faiss", "captions.faiss", "entries.parquet"])
def test_one_flipped_byte_is_refused(tmp_path, name):
    made().save(tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ContractError, match=rf"{name}: sha256 \w+, expected \w+"):
        load(tmp_path)


def test_a_missing_part_is_refused(tmp_path):
    made().save(tmp_path)
    (tmp_path / "captions.faiss").unlink()
    with pytest.raises(ContractError, match=r"captions\.faiss: sha256 no file"):
        load(tmp_path)


def test_no_index_says_what_to_run(tmp_path):
    with pytest.raises(ContractError, match="dvc repro index"):
        load(tmp_path / "index")
