"""An index that is added to, and indexes that are approximate."""

import json
import re

import faiss
import numpy as np
import pytest
from tiny_models import unit_rows

from pipeline.artifacts.tables import ContractError
from pipeline.errors import InputError
from pipeline.search import vectors
from pipeline.search.index import NEAREST, PARTS, RetrievalIndex, load
from pipeline.search.vectors import Kind

N, MORE, D = 300, 40, 16
KEYS = [f"mscoco-{i}" for i in range(N + MORE)]
TEXTS = [[f"{key} {j}" for j in range(1 + i % 2)] for i, key in enumerate(KEYS)]
IMAGES = unit_rows(N + MORE, D, seed=1)
OWNER = np.repeat(np.arange(N + MORE), [len(texts) for texts in TEXTS])
_NOISY = IMAGES[OWNER] + 0.2 * unit_rows(len(OWNER), D, seed=2)
CAPTIONS = (_NOISY / np.linalg.norm(_NOISY, axis=1, keepdims=True)).astype(np.float32)

EXACT = Kind()
IVF, HNSW, PQ = Kind("ivf", nlist=24, nprobe=6), Kind("hnsw", hnsw_m=8, hnsw_ef_search=20), Kind("pq", nlist=8, pq_m=8)
KINDS = [EXACT, IVF, HNSW, PQ]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
approximate = pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.name)


def part(first, last):
    return (
        IMAGES[first:last],
        CAPTIONS[(first <= OWNER) & (last > OWNER)],
        KEYS[first:last],
        TEXTS[first:last],
    )


def of(first, last, kind=EXACT):
    return RetrievalIndex.of(*part(first, last), weights="w" * 64, manifest="m", kind=kind)


def grown(kind=EXACT):
    index = of(0, N, kind)
    index.add(*part(N, N + MORE))
    return index


def found(index, queries=IMAGES, top=5):
    return [(index.search_images(query, top), index.search_captions(query, top)) for query in queries]


def plain(names):
    """Names without the hashes in them."""
    return sorted(re.sub("-[0-9a-f]{16}", "", name) for name in names)


def about(folder):
    return json.loads((folder / "index.json").read_text())


# adding


@every_kind
def test_what_is_added_is_found(kind):
    index = grown(kind)
    assert index.keys == KEYS
    assert index.texts == TEXTS
    first = [index.search_images(IMAGES[i], 5) for i in range(N, N + MORE)]
    hits = [key in [hit.key for hit in own] for key, own in zip(KEYS[N:], first, strict=True)]
    assert np.mean(hits) > 0.9
    named = {hit.caption for i in range(N, N + MORE) for hit in index.search_captions(IMAGES[i], 5)}
    assert named & {text for texts in TEXTS[N:] for text in texts}
    assert named <= {text for texts in TEXTS for text in texts}


def test_a_grown_exact_index_is_one_that_was_built_at_once():
    index, whole = grown(), of(0, N + MORE)
    for got, wanted in zip(found(index), found(whole), strict=True):
        for mine, other in zip(got, wanted, strict=True):
            assert [(h.key, h.caption) for h in mine] == [(h.key, h.caption) for h in other]
            assert [h.similarity for h in mine] == pytest.approx([h.similarity for h in other], abs=1e-6)


def test_a_grown_exact_index_has_the_files_of_one_built_at_once(tmp_path):
    grown().save(tmp_path / "grown")
    of(0, N + MORE).save(tmp_path / "whole")
    assert about(tmp_path / "grown") == about(tmp_path / "whole")


@every_kind
def test_old_hits_stay_where_nothing_new_is_nearer(kind):
    """New images lie opposite to all that is asked for: what was found before is found as before."""
    near = np.abs(IMAGES[:N]) / np.linalg.norm(IMAGES[:N], axis=1, keepdims=True)
    far = -np.abs(IMAGES[N:]) / np.linalg.norm(IMAGES[N:], axis=1, keepdims=True)
    index = RetrievalIndex.of(near, near, KEYS[:N], [[key] for key in KEYS[:N]], weights="w", manifest="m", kind=kind)
    before = found(index, near[:50])
    index.add(far, far, KEYS[N:], [[key] for key in KEYS[N:]])
    after = found(index, near[:50])
    if kind.name == "hnsw":  # new links may lead to more than was found
        same = [a[0][0].key == b[0][0].key for a, b in zip(after, before, strict=True)]
        assert np.mean(same) > 0.95
    else:
        assert after == before


@approximate
def test_adding_learns_no_lists_and_codes_anew(kind, monkeypatch):
    index = of(0, N, kind)
    built = dict(index.searched)
    monkeypatch.setattr(vectors, "build", lambda *_: pytest.fail("the index was built again"))
    for one in {id(i): i for i in (*index.searched.values(), *index.exact.values())}.values():
        monkeypatch.setattr(one, "train", lambda *_: pytest.fail("lists were learnt again"))
    index.add(*part(N, N + MORE))
    assert all(index.searched[name] is built[name] for name in PARTS)
    assert [built[name].ntotal for name in PARTS] == [N + MORE, len(OWNER)]


@approximate
def test_recall_is_measured_again(kind, monkeypatch):
    index = of(0, N, kind)
    index.recall = dict.fromkeys(PARTS, -1.0)
    index.add(*part(N, N + MORE))
    wanted = {
        "images": vectors.recall(index.searched["images"], index.exact["images"], index.vectors()[1], NEAREST),
        "captions": vectors.recall(index.searched["captions"], index.exact["captions"], index.vectors()[0], NEAREST),
    }
    assert index.recall == wanted


@every_kind
def test_a_grown_index_is_saved_and_loaded_and_grows_again(kind, tmp_path):
    index = of(0, N - 10, kind)
    index.add(*part(N - 10, N))
    index.save(tmp_path / "a")
    again = load(tmp_path / "a", "w" * 64)
    assert found(again, IMAGES[:30]) == found(index, IMAGES[:30])
    again.add(*part(N, N + MORE))
    index.add(*part(N, N + MORE))
    if kind.name == "hnsw":  # FAISS does not save its generator: new vectors stand on other levels of the graph
        assert np.mean([again.search_images(IMAGES[i], 1)[0].key == KEYS[i] for i in range(N, N + MORE)]) > 0.9
    else:
        assert found(again, IMAGES[-30:]) == found(index, IMAGES[-30:])
    again.save(tmp_path / "b")
    assert load(tmp_path / "b").keys == KEYS


@every_kind
def test_many_adds_are_as_one(kind):
    index = of(0, N, kind)
    for first in range(N, N + MORE, 10):
        index.add(*part(first, first + 10))
        assert index.search_images(IMAGES[first], 5), "searched between adds"
    once = grown(kind)
    assert (index.keys, index.texts) == (once.keys, once.texts)
    if kind.name != "hnsw":
        assert found(index, IMAGES[N:]) == found(once, IMAGES[N:])


def test_nothing_is_added_to_an_index_and_to_an_empty_one():
    index = of(0, 3)
    index.add(*part(3, 3))
    assert index.keys == KEYS[:3]
    empty = of(0, 0)
    assert empty.search_images(IMAGES[0], 5) == []
    assert empty.search_captions(IMAGES[0], 5) == []
    empty.add(*part(0, 5))
    assert empty.search_images(IMAGES[3], 1)[0].key == KEYS[3]


# refusals


@pytest.mark.parametrize(
    ("keys", "said"),
    [(["mscoco-1", "new"], "mscoco-1"), (["new", "new"], "new"), (["mscoco-9", "mscoco-2"], "2 images .* mscoco-2")],
)
def test_a_key_that_is_there_or_given_twice_is_refused_and_nothing_is_added(keys, said):
    index = of(0, 10)
    before = found(index, IMAGES[:10])
    with pytest.raises(InputError, match=rf"{said}; expected new ones"):
        index.add(IMAGES[20:22], CAPTIONS[20:22], keys, [["x"], ["y"]])
    assert index.keys == KEYS[:10]
    assert found(index, IMAGES[:10]) == before
    assert index.exact["images"].ntotal == 10


@pytest.mark.parametrize(("images", "captions", "texts"), [(1, 2, 2), (2, 1, 2), (3, 2, 2), (2, 2, 1)])
def test_counts_that_do_not_fit_are_refused_and_nothing_is_added(images, captions, texts):
    index = of(0, 10)
    with pytest.raises(ValueError, match=f"{images} and {captions} vectors"):
        index.add(unit_rows(images, D), unit_rows(captions, D), ["a", "b"], [["x"], ["y"]][:texts])
    assert [index.exact[name].ntotal for name in PARTS] == [10, sum(map(len, TEXTS[:10]))]


def test_vectors_of_another_dimension_are_refused_and_nothing_is_added():
    index = of(0, 10)
    with pytest.raises((ValueError, AssertionError)):
        index.add(unit_rows(1, D), unit_rows(1, D + 1), ["a"], [["x"]])
    assert index.exact["images"].ntotal == 10
    index.search_images(unit_rows(1, D)[0], 11)


# approximate kinds on disk


@approximate
def test_an_approximate_index_lies_beside_the_exact_one(kind, tmp_path):
    index = of(0, N, kind)
    index.save(tmp_path)
    parts = [f"{name}.faiss" for name in PARTS] + [f"{name}.{kind.name}.faiss" for name in PARTS]
    assert plain(path.name for path in tmp_path.iterdir()) == sorted([*parts, "entries.parquet", "index.json"])
    assert plain(about(tmp_path)["sha256"]) == sorted([*parts, "entries.parquet"])
    after = load(tmp_path, "w" * 64)
    assert after.kind == kind
    assert after.recall == index.recall == about(tmp_path)["recall"]
    assert set(index.recall) == set(PARTS)
    assert all(0 < share <= 1 for share in index.recall.values())
    for name in PARTS:
        assert isinstance(faiss.downcast_index(after.exact[name].index), faiss.IndexFlat)
        assert not isinstance(faiss.downcast_index(after.searched[name].index), faiss.IndexFlat)
    assert found(after, IMAGES[:40]) == found(index, IMAGES[:40])


@every_kind
def test_exact_vectors_come_back_in_order(kind, tmp_path):
    index = grown(kind)
    index.save(tmp_path)
    for one in (index, load(tmp_path)):
        images, captions = one.vectors()
        assert np.array_equal(images, IMAGES)
        assert np.array_equal(captions, CAPTIONS)


def test_the_stated_recall_is_that_of_the_ten_nearest():
    index = of(0, N, IVF)
    shares = []
    for query in index.vectors()[1]:
        wanted = np.argsort(-(IMAGES[:N] @ query))[:10]
        shares.append(np.isin([KEYS[i] for i in wanted], [hit.key for hit in index.search_images(query, 10)]).mean())
    assert index.recall["images"] == pytest.approx(np.mean(shares))
    assert index.recall["images"] < 1, "or this case tells nothing"


@every_kind
def test_two_saves_give_equal_bytes(kind, tmp_path):
    index = grown(kind)
    for name in ("a", "b"):
        index.save(tmp_path / name)
    load(tmp_path / "a").save(tmp_path / "c")
    grown(kind).save(tmp_path / "d")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    for other in "bcd":
        assert sorted(p.name for p in (tmp_path / other).iterdir()) == names
        for name in names:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / other / name).read_bytes(), (other, name)


@every_kind
def test_one_flipped_byte_of_any_file_is_refused(kind, tmp_path):
    of(0, N, kind).save(tmp_path)
    names = list(about(tmp_path)["sha256"])
    assert len(names) == (3 if kind.name == "exact" else 5)
    for name in names:
        before = (tmp_path / name).read_bytes()
        content = bytearray(before)
        content[len(content) // 3] ^= 1
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ContractError, match=rf"{name}: sha256 \w+, expected \w+"):
            load(tmp_path)
        (tmp_path / name).write_bytes(before)
    load(tmp_path)


@every_kind
def test_stale_weights_are_refused(kind, tmp_path):
    of(0, N, kind).save(tmp_path)
    with pytest.raises(ContractError, match=r"wwwwwwwwwwww.*vvvvvvvvvvvv.*dvc repro"):
        load(tmp_path, "v" * 64)


def test_a_kind_that_does_not_suit_the_vectors_is_refused():
    with pytest.raises(InputError, match="too few to learn codes"):
        of(0, 40, PQ)


def test_saving_another_kind_in_the_same_folder_leaves_nothing_of_the_one_before(tmp_path):
    of(0, N, Kind("ivf", nlist=2)).save(tmp_path)
    of(0, N).save(tmp_path)
    assert plain(path.name for path in tmp_path.iterdir()) == [
        "captions.faiss", "entries.parquet", "images.faiss", "index.json",
    ]  # fmt: skip
    assert load(tmp_path).kind == Kind()
