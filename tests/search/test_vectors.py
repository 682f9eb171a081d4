from functools import cache

import faiss
import numpy as np
import pytest
from tiny_models import unit_rows

from pipeline.errors import InputError
from pipeline.search import vectors
from pipeline.search.vectors import Kind

N, D = 600, 32
EXACT = Kind()
APPROXIMATE = [Kind("ivf"), Kind("ivf", nlist=20, nprobe=2), Kind("hnsw"), Kind("pq", pq_m=16)]


def name(kind):
    return f"{kind.name}-{kind.nlist}"


def clustered(n=N, groups=20, seed=0):
    """Unit vectors around a few centres, as images lie around their subjects."""
    rng = np.random.default_rng(seed)
    centres = unit_rows(groups, D, seed=seed + 1)
    rows = centres[rng.integers(0, groups, n)] + 0.08 * rng.normal(size=(n, D))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


ROWS = clustered()
IDS = np.random.default_rng(5).permutation(2**62 - np.arange(N)).astype(np.int64)


@cache
def built(kind, n=N):
    """The index of the first `n` rows; for tests that leave it as it is."""
    return vectors.build(ROWS[:n], IDS[:n], kind)


@pytest.fixture(scope="module")
def exact():
    return built(EXACT)


# every kind


@pytest.mark.parametrize("kind", [EXACT, *APPROXIMATE], ids=name)
def test_a_vector_finds_itself(kind):
    similarity, found = vectors.search(built(kind), ROWS, 5)
    assert similarity.shape == found.shape == (N, 5)
    if kind.name == "pq":
        assert np.mean((found == IDS[:, None]).any(axis=1)) > 0.99, "a code of 16 bytes says about where it is"
    else:
        assert np.mean(found[:, 0] == IDS) > 0.99
        assert similarity[:, 0] == pytest.approx(np.ones(N), abs=1e-4)


@pytest.mark.parametrize("kind", [EXACT, *APPROXIMATE], ids=name)
def test_what_is_found_is_ordered_and_has_no_id_twice(kind):
    similarity, found = vectors.search(built(kind), clustered(40, seed=7), 10)
    for row, own in zip(similarity, found, strict=True):
        there = own[own >= 0]
        assert len(set(there.tolist())) == len(there)
        assert set(there.tolist()) <= set(IDS.tolist())
        assert np.all(np.diff(row[own >= 0]) <= 0)


@pytest.mark.parametrize("kind", [EXACT, Kind("ivf"), Kind("hnsw")], ids=name)
def test_similarities_are_cosines(kind):
    queries = clustered(10, seed=8)
    similarity, found = vectors.search(built(kind), queries, 3)
    row_of = {int(own): i for i, own in enumerate(IDS)}
    for query, values, own in zip(queries, similarity, found, strict=True):
        assert values == pytest.approx([ROWS[row_of[int(i)]] @ query for i in own], abs=1e-5)


def test_exact_is_a_full_sort(exact):
    queries = clustered(30, seed=9)
    _, found = vectors.search(exact, queries, 20)
    assert np.array_equal(found, IDS[np.argsort(-(queries @ ROWS.T), axis=1)[:, :20]])


@pytest.mark.parametrize("kind", [EXACT, *APPROXIMATE], ids=name)
def test_more_than_there_are_gives_all_or_marks_what_is_not_there(kind):
    similarity, found = vectors.search(built(kind), ROWS[:2], N + 400)
    assert similarity.shape == found.shape == (2, N)
    if kind.name == "exact":
        assert np.array_equal(np.sort(found, axis=1), np.sort(np.stack([IDS, IDS]), axis=1))
    assert set(found.ravel().tolist()) <= {-1, *IDS.tolist()}


def test_a_search_among_none_finds_none():
    empty = vectors.build(np.zeros((0, D), np.float32), np.zeros(0, np.int64), EXACT)
    _, found = vectors.search(empty, ROWS[:2], 5)
    assert set(found.ravel().tolist()) == {-1}


def test_half_precision_and_rows_of_columns_are_taken(exact):
    columns = np.asfortranarray(ROWS)
    _, wanted = vectors.search(exact, ROWS[:9], 3)
    _, found = vectors.search(vectors.build(columns, IDS, EXACT), columns[:9], 3)
    assert np.array_equal(found, wanted)
    _, halves = vectors.search(vectors.build(ROWS.astype(np.float16), IDS, EXACT), ROWS[:9].astype(np.float16), 1)
    assert np.array_equal(halves[:, 0], IDS[:9])


@pytest.mark.parametrize("kind", APPROXIMATE, ids=name)
def test_a_built_index_comes_back_from_disk_the_same(kind, tmp_path):
    first = built(kind)
    vectors.write(first, tmp_path / "sub/x.faiss")
    read = faiss.read_index(str(tmp_path / "sub/x.faiss"))
    for old, new in zip(vectors.search(first, ROWS, 7), vectors.search(read, ROWS, 7), strict=True):
        assert np.array_equal(old, new), "what a search looks into is in the file too"
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["x.faiss"]


# what a kind's parameters do


def inner(kind, n=N):
    return faiss.downcast_index(built(kind, n).index)


def test_parameters_reach_faiss():
    found = inner(EXACT)
    assert (type(found), found.metric_type) == (faiss.IndexFlat, faiss.METRIC_INNER_PRODUCT)
    found = inner(Kind("ivf", nlist=20, nprobe=3))
    assert type(found) is faiss.IndexIVFFlat
    assert (found.nlist, found.nprobe, found.metric_type) == (20, 3, faiss.METRIC_INNER_PRODUCT)
    found = inner(Kind("hnsw", hnsw_m=12, hnsw_ef_search=50))
    assert isinstance(found, faiss.IndexHNSW)
    assert (found.hnsw.nb_neighbors(1), found.hnsw.efSearch, found.metric_type) == (12, 50, faiss.METRIC_INNER_PRODUCT)
    found = inner(Kind("pq", nlist=20, nprobe=3, pq_m=8))
    assert type(found) is faiss.IndexIVFPQ
    assert (found.nlist, found.nprobe, found.code_size) == (20, 3, 8)


def test_codes_are_not_ordered_for_hamming_distances():
    assert not inner(Kind("pq", nlist=4, pq_m=2)).do_polysemous_training


def test_without_a_number_there_are_four_times_the_root_of_lists():
    assert inner(Kind("ivf")).nlist == round(4 * N**0.5)


def test_probes_are_at_most_the_lists():
    assert inner(Kind("ivf", nlist=5, nprobe=16)).nprobe == 5


@pytest.mark.parametrize("kind", [Kind("ivf", nlist=20, nprobe=20), Kind("hnsw", hnsw_ef_search=N)], ids=name)
def test_looking_everywhere_is_exact(kind, exact):
    assert vectors.recall(built(kind), exact, clustered(50, seed=3), 10) == 1.0


# recall


def by_hand(found, wanted):
    shares = []
    for own, right in zip(found, wanted, strict=True):
        hits = 0
        for one in right:
            hits += any(one == other for other in own)
        shares.append(hits / len(right))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("kind", APPROXIMATE, ids=name)
@pytest.mark.parametrize("top", [1, 10])
def test_recall_is_that_of_a_plain_loop(kind, top, exact):
    queries = clustered(25, seed=4)
    index = built(kind)
    _, found = vectors.search(index, queries, top)
    wanted = IDS[np.argsort(-(queries @ ROWS.T), axis=1)[:, :top]]
    assert vectors.recall(index, exact, queries, top) == pytest.approx(by_hand(found.tolist(), wanted.tolist()))


def test_an_exact_index_has_recall_1(exact):
    assert vectors.recall(exact, exact, ROWS, 10) == 1.0


def test_recall_of_more_neighbours_than_there_are():
    few = vectors.build(ROWS[:4], IDS[:4], EXACT)
    assert vectors.recall(few, few, ROWS, 10) == 1.0


def spread():
    """Vectors without clusters, in which an approximate search misses much."""
    return unit_rows(N, D, seed=11), unit_rows(60, D, seed=12)


@pytest.mark.parametrize(
    "kinds",
    [
        [Kind("ivf", nlist=60, nprobe=probes) for probes in (1, 2, 4, 8, 16, 32, 60)],
        [Kind("hnsw", hnsw_m=4, hnsw_ef_search=effort) for effort in (10, 40, 160, 600)],
    ],
    ids=["ivf", "hnsw"],
)
def test_more_looking_never_finds_less(kinds):
    rows, queries = spread()
    exact = vectors.build(rows, IDS, EXACT)
    found = [vectors.recall(vectors.build(rows, IDS, kind), exact, queries, 10) for kind in kinds]
    assert found == sorted(found)
    assert found[0] < 0.8 < 0.95 < found[-1]


def test_longer_codes_never_find_less():
    rows, queries = spread()
    exact = vectors.build(rows, IDS, EXACT)
    kinds = [Kind("pq", nlist=4, nprobe=4, pq_m=size) for size in (2, 8, 32)]
    found = [vectors.recall(vectors.build(rows, IDS, kind), exact, queries, 10) for kind in kinds]
    assert found == sorted(found)


# refusals


@pytest.mark.parametrize("name", ["ivf", "pq"])
def test_more_lists_than_vectors_are_refused(name):
    with pytest.raises(InputError, match=r"index\.nlist is 601, and there are 600 vectors.*index\.name: exact"):
        vectors.build(ROWS, IDS, Kind(name, nlist=601))


@pytest.mark.parametrize("n", [1, 5, 14])
def test_few_vectors_have_as_many_lists_as_they_can(n):
    assert inner(Kind("ivf"), n).nlist <= n


def test_bytes_that_do_not_divide_the_dimension_are_refused():
    with pytest.raises(InputError, match=r"index\.pq_m is 5, which does not divide the dimension, 32"):
        vectors.build(ROWS, IDS, Kind("pq", pq_m=5))


def test_too_few_vectors_for_codes_are_refused():
    with pytest.raises(InputError, match=r"255 vectors are too few.*expected 256, or index\.name: exact"):
        vectors.build(ROWS[:255], IDS[:255], Kind("pq", nlist=4, pq_m=8))
    assert inner(Kind("pq", nlist=4, pq_m=8), 256).ntotal == 256


@pytest.mark.parametrize(("own", "said"), [([1, 2, 1], "3 ids of 3 vectors, 2"), ([1, 2], "2 ids of 3 vectors, 2")])
def test_ids_that_are_not_one_a_vector_are_refused(own, said):
    with pytest.raises(ValueError, match=said):
        vectors.build(ROWS[:3], np.array(own, np.int64), EXACT)


@pytest.mark.parametrize(
    "kind",
    [
        Kind("ivf", nlist=50),
        Kind("hnsw"),
        Kind("pq", nlist=8, pq_m=8),
    ],
    ids=name,
)
def test_building_prints_nothing(kind, capfd):
    vectors.build(ROWS, IDS, kind)
    assert capfd.readouterr() == ("", "")


# GPUs


@pytest.mark.parametrize("kind", [EXACT, *APPROXIMATE], ids=name)
def test_without_gpus_an_index_stays_what_it_is(kind, monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    index = built(kind)
    assert vectors.on_gpus(index) is index


def test_a_graph_stays_where_it_is_even_with_gpus(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    index = built(Kind("hnsw"))
    assert vectors.on_gpus(index) is index
