import faiss
import numpy as np
import pytest
from tiny_models import unit_rows
from tiny_retrieval import WAYS, of_matrix, positives

from pipeline.retrieval import metrics
from pipeline.retrieval.metrics import KS, Positives, evaluate, folds, per_query, positive_ranks, recalls, summarise

# Four images (rows) with two captions each (columns): image 0 owns captions 0 and 1, image 1 owns 2 and 3, ...
OWNER = np.array([0, 0, 1, 1, 2, 2, 3, 3])
SIMILARITY = np.array(
    [
        [0.90, 0.50, 0.70, 0.40, 0.00, 0.15, 0.12, 0.11],  # own .90 and .50: ranks 1 and 3 (after .70)
        [0.10, 0.60, 0.80, 0.30, 0.09, 0.25, 0.22, 0.62],  # own .80 and .30: ranks 1 and 4 (after .62 and .60)
        [0.20, 0.10, 0.11, 0.45, 0.90, 0.05, 0.32, 0.13],  # own .90 and .05: ranks 1 and 8
        [0.51, 0.20, 0.31, 0.21, 0.23, 0.35, 0.42, 0.14],  # own .42 and .14: ranks 2 (after .51) and 8
    ],
    dtype=np.float32,
)
CAPTION_RANKS = [1, 2, 1, 3, 1, 4, 1, 2]  # of the owner within each column


def test_text_to_image_by_hand():
    figures = of_matrix(SIMILARITY, OWNER)["text_to_image"]
    assert figures["rank"].tolist() == CAPTION_RANKS
    found = summarise(figures)
    assert found["recall@1"] == 4 / 8
    assert found["recall@5"] == found["recall@10"] == 1
    assert found["median_rank"] == 1.5
    assert found["mean_rank"] == 15 / 8
    assert found["mrr"] == pytest.approx((4 * 1 + 2 * 1 / 2 + 1 / 3 + 1 / 4) / 8)


def test_image_to_text_by_hand():
    figures = of_matrix(SIMILARITY, OWNER)["image_to_text"]
    assert figures["rank"].tolist() == [1, 1, 1, 2]
    assert figures["recall@1"].tolist() == [1, 1, 1, 0]
    assert figures["mrr"].tolist() == [1, 1, 1, 0.5]
    assert figures["map"] == pytest.approx([(1 + 2 / 3) / 2, (1 + 2 / 4) / 2, (1 + 2 / 8) / 2, (1 / 2 + 2 / 8) / 2])
    assert figures["map@r"] == pytest.approx([1 / 2, 1 / 2, 1 / 2, (1 / 2) / 2])


def test_map_at_r_counts_the_precision_at_each_positive_within_the_first_r():
    figures = per_query(np.array([1, 2, 3, 2, 3, 9, 4, 5, 6]), positives([0, 1, 2], [0, 1, 2], [0, 1, 2]))
    assert figures["map@r"] == pytest.approx([1, (1 / 2 + 2 / 3) / 3, 0])


def test_any_caption_of_an_image_counts():
    own = positives([0, 2])
    ranks = positive_ranks(np.array([[0.1, 0.2, 0.9, 0.8]], np.float32), own)
    assert ranks.tolist() == [1, 4]
    assert per_query(ranks, own)["recall@1"].tolist() == [1]


def test_captions_may_be_ragged():
    owner = np.array([0, 1, 1, 1, 1, 1, 1, 2, 2])
    captions = np.eye(3, dtype=np.float32)[owner]
    figures = evaluate(np.eye(3, dtype=np.float32), captions, owner)
    assert len(figures["text_to_image"]["rank"]) == 9
    assert len(figures["image_to_text"]["rank"]) == 3
    for way in figures.values():
        assert summarise(way)["map"] == summarise(way)["map@r"] == summarise(way)["recall@1"] == 1


def test_captions_need_not_stand_in_the_order_of_their_images():
    shuffled = np.array([6, 0, 3, 7, 1, 5, 2, 4])
    figures = of_matrix(SIMILARITY[:, shuffled], OWNER[shuffled])
    assert figures["text_to_image"]["rank"].tolist() == [CAPTION_RANKS[i] for i in shuffled]
    assert figures["image_to_text"]["rank"].tolist() == [1, 1, 1, 2]


def test_a_tie_with_a_stranger_is_lost():
    assert positive_ranks(np.array([[0.5, 0.5, 0.1]], np.float32), positives([0])).tolist() == [2]


def test_two_equal_positives_follow_each_other():
    assert positive_ranks(np.array([[0.5, 0.5, 0.1]], np.float32), positives([0, 1])).tolist() == [1, 2]


def test_two_equal_positives_follow_a_stranger_that_ties_with_both():
    assert positive_ranks(np.array([[0.5, 0.5, 0.1, 0.5]], np.float32), positives([0, 3])).tolist() == [2, 3]


def test_ranks_of_ragged_queries_stand_one_query_after_the_other():
    similarity = np.array([[0.1, 0.4, 0.3, 0.2], [0.4, 0.1, 0.3, 0.2], [0.2, 0.2, 0.2, 0.2]], np.float32)
    found = positive_ranks(similarity, positives([0, 2, 3], [1], [3, 1]))
    assert found.dtype == np.int64
    assert found.tolist() == [2, 3, 4, 4, 3, 4]


def test_positives_of_both_ways():
    owner = np.array([1, 0, 1, 2])
    captions, images = Positives.for_captions(owner), Positives.for_images(owner, 3)
    assert (captions.start.tolist(), captions.rows.tolist()) == ([0, 1, 2, 3, 4], [1, 0, 1, 2])
    assert (images.start.tolist(), images.rows.tolist()) == ([0, 1, 3, 4], [1, 0, 2, 3])
    assert images.counts.tolist() == [1, 2, 1]
    part = images.part(1, 3)
    assert (part.start.tolist(), part.rows.tolist()) == ([0, 2, 3], [0, 2, 3])


@pytest.mark.parametrize("images", [2, 6, 40])
def test_constant_embeddings_are_no_better_than_chance(images):
    owner = np.repeat(np.arange(images), 5)
    constant = np.zeros((images * 5, 8), np.float32)
    constant[:, 0] = 1
    figures = evaluate(constant[:images], constant, owner)
    for way, chance in (("text_to_image", 1 / images), ("image_to_text", 5 / len(owner))):
        assert figures[way]["recall@1"].mean() <= chance
        assert figures[way]["map@r"].mean() <= chance
    assert (figures["text_to_image"]["rank"] == images).all()


@pytest.mark.parametrize("cells", [1, 3000, 100_000])
def test_more_queries_than_one_block_keep_their_owners(monkeypatch, cells):
    monkeypatch.setattr(metrics, "_CELLS", cells)
    monkeypatch.setattr(metrics, "_LEAST", 1)
    images = unit_rows(1100, 24)
    figures = evaluate(images, images, np.arange(1100))
    assert (figures["text_to_image"]["rank"] == 1).all()
    assert (figures["image_to_text"]["rank"] == 1).all()


@pytest.mark.parametrize("few", [0, 1, 2])
def test_the_matrix_by_hand_with_many_positives_a_query(monkeypatch, few):
    monkeypatch.setattr(metrics, "_FEW", few)
    figures = of_matrix(SIMILARITY, OWNER)
    assert figures["text_to_image"]["rank"].tolist() == CAPTION_RANKS
    assert figures["image_to_text"]["map@r"] == pytest.approx([1 / 2, 1 / 2, 1 / 2, (1 / 2) / 2])


@pytest.mark.parametrize("cells", [1, 9, 17, 10**6])
def test_the_matrix_by_hand_in_blocks(monkeypatch, cells):
    monkeypatch.setattr(metrics, "_CELLS", cells)
    monkeypatch.setattr(metrics, "_LEAST", 1)
    figures = of_matrix(SIMILARITY, OWNER)
    assert figures["text_to_image"]["rank"].tolist() == CAPTION_RANKS
    assert figures["image_to_text"]["map@r"] == pytest.approx([1 / 2, 1 / 2, 1 / 2, (1 / 2) / 2])


@pytest.mark.parametrize(
    ("least", "expected"), [(1, [(4, 4), (4, 4), (2, 8), (2, 8)]), (3, [(4, 4), (4, 4), (3, 8), (1, 8)])]
)
def test_memory_holds_a_block_of_similarities(monkeypatch, least, expected):
    shapes = []

    def noted(similarity, own):
        shapes.append(tuple(similarity.shape))
        return positive_ranks(similarity, own)

    monkeypatch.setattr(metrics, "_CELLS", 16)
    monkeypatch.setattr(metrics, "_LEAST", least)
    monkeypatch.setattr(metrics, "positive_ranks", noted)
    of_matrix(SIMILARITY, OWNER)
    assert shapes == expected


@pytest.mark.parametrize("lost", [slice(None), slice(3, 4)])
@pytest.mark.parametrize("which", ["images", "captions"])
def test_embeddings_that_are_not_numbers_find_nothing(which, lost):
    """Either they are refused, or their queries lose to every candidate."""
    images, owner = unit_rows(12, 8), np.arange(12)
    given = {"images": images.copy(), "captions": images.copy()}
    given[which][lost] = np.nan
    try:
        figures = evaluate(given["images"], given["captions"], owner)
    except ValueError:
        return
    for way in WAYS:
        assert (figures[way]["rank"][lost] == 12).all()


def test_an_image_without_a_caption_is_refused():
    with pytest.raises(ValueError, match="without a caption"):
        evaluate(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.array([0, 0, 2]))


@pytest.mark.parametrize("owner", [[0, 1], [0, 1, 3], [0, 1, -1]])
def test_an_owner_that_does_not_fit_is_refused(owner):
    with pytest.raises(ValueError, match="captions of 3 images"):
        evaluate(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.array(owner))


def exact(vectors):
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return index


def found_by_faiss(images, captions):
    """The candidates of every query, best first, both ways; -1 where there are fewer than max(KS)."""
    return {
        "text_to_image": exact(images).search(captions, max(KS))[1],
        "image_to_text": exact(captions).search(images, max(KS))[1],
    }


def assert_recall_is_that_of_faiss(images, captions, owner):
    figures, found = evaluate(images, captions, owner), found_by_faiss(images, captions)
    own = {"text_to_image": Positives.for_captions(owner), "image_to_text": Positives.for_images(owner, len(images))}
    for way in WAYS:
        fast = recalls(found[way], own[way])
        assert set(fast) == {f"recall@{k}" for k in KS}
        for name, values in fast.items():
            assert values.dtype == np.float64
            assert np.array_equal(values, figures[way][name])
    for k in KS:  # and without `recalls`
        hit = (found["text_to_image"][:, :k] == owner[:, None]).any(axis=1)
        assert np.array_equal(figures["text_to_image"][f"recall@{k}"], hit.astype(float))
        rows = found["image_to_text"][:, :k]
        hit = ((owner[rows] == np.arange(len(images))[:, None]) & (rows >= 0)).any(axis=1)
        assert np.array_equal(figures["image_to_text"][f"recall@{k}"], hit.astype(float))


def noisy(owner, seed=1, noise=0.9):
    """Random images and captions near their own."""
    images = unit_rows(int(owner.max()) + 1, 24, seed=seed)
    captions = images[owner] + noise * unit_rows(len(owner), 24, seed=seed + 1)
    return images, captions / np.linalg.norm(captions, axis=1, keepdims=True)


def test_recall_agrees_with_a_faiss_search():
    owner = np.repeat(np.arange(60), [1, 2, 3, 4, 5, 6] * 10)
    images, captions = noisy(owner)
    assert_recall_is_that_of_faiss(images, captions, owner)


@pytest.mark.parametrize("images", [1, 2, 4, 9, 10, 11])
@pytest.mark.parametrize("seed", range(5))
def test_recall_agrees_with_a_faiss_search_of_few_candidates(images, seed):
    rng = np.random.default_rng(seed)
    owner = rng.permutation(np.concatenate([np.arange(images), rng.integers(0, images, images // 2)]))
    assert_recall_is_that_of_faiss(*noisy(owner, seed, noise=3), owner)


def test_recalls_by_hand():
    found = np.array([[4, 2, 0, 1, 3, 5, -1, -1, -1, -1], [5, 4, 3, 2, 1, 0, -1, -1, -1, -1]])
    figures = recalls(found, positives([0, 3], [0]))
    assert [figures[f"recall@{k}"].tolist() for k in KS] == [[0, 0], [1, 0], [1, 1]]


def test_recalls_of_a_search_that_found_nothing():
    figures = recalls(np.full((2, 10), -1), positives([0, 1, 2], [2]))
    assert all(values.tolist() == [0, 0] for values in figures.values())


def test_recalls_of_fewer_columns_than_ten():
    figures = recalls(np.array([[2, 0], [1, 0]]), positives([0], [1, 2]))
    assert [figures[f"recall@{k}"].tolist() for k in KS] == [[0, 1], [1, 1], [1, 1]]


def test_a_positive_that_was_found_twice_counts_once():
    assert recalls(np.array([[1, 1, 1]]), positives([1]))["recall@5"].tolist() == [1]


# Five images, captions in no order. Images 0 and 1 are a fold, 2 and 3 the other, 4 is in none.
FOLD_OWNER = np.array([3, 0, 4, 1, 0, 2])
FOLD_SIMILARITY = np.array(
    [
        # 3    0    4    1    0    2
        [0.9, 0.9, 0.9, 0.3, 0.2, 0.9],  # own .9 and .2: ranks 1 and 3 (after .3) within the fold
        [0.9, 0.1, 0.9, 0.4, 0.5, 0.9],  # own .4: rank 2 (after .5)
        [0.1, 0.9, 0.9, 0.9, 0.9, 0.6],  # own .6: rank 1
        [0.9, 0.9, 0.9, 0.9, 0.9, 0.7],  # own .9: rank 1
        [0.9, 0.9, 0.0, 0.9, 0.9, 0.9],
    ],
    dtype=np.float32,
)


def folds_of_matrix(similarity, owner, size):
    return folds(np.eye(len(similarity), dtype=np.float32), np.ascontiguousarray(similarity.T), owner, size)


def test_two_folds_by_hand():
    found = folds_of_matrix(FOLD_SIMILARITY, FOLD_OWNER, 2)
    # Captions rank their image 1, 2, 1 in the first fold (.9 > .1, .2 < .5, .4 > .3) and 1, 2 in the second: the mean
    # of the folds, not of the queries.
    to_image, to_text = found["text_to_image"], found["image_to_text"]
    assert to_image["recall@1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert to_image["recall@5"] == to_image["recall@10"] == 1
    assert to_image["median_rank"] == (1 + 1.5) / 2
    assert to_image["mean_rank"] == pytest.approx((4 / 3 + 3 / 2) / 2)
    assert to_image["mrr"] == to_image["map"] == pytest.approx((2.5 / 3 + 1.5 / 2) / 2)
    assert to_text["recall@1"] == (1 / 2 + 1) / 2
    assert to_text["mrr"] == ((1 + 1 / 2) / 2 + 1) / 2
    assert to_text["map"] == pytest.approx((((1 + 2 / 3) / 2 + 1 / 2) / 2 + 1) / 2)
    assert to_text["map@r"] == pytest.approx(((1 / 2 + 0) / 2 + 1) / 2)


def test_what_is_left_at_the_end_is_in_no_fold():
    other = FOLD_SIMILARITY.copy()
    other[4], other[:, 2] = 0.5, -1
    assert folds_of_matrix(other, FOLD_OWNER, 2) == folds_of_matrix(FOLD_SIMILARITY, FOLD_OWNER, 2)
    without = folds_of_matrix(FOLD_SIMILARITY[:4, FOLD_OWNER < 4], FOLD_OWNER[FOLD_OWNER < 4], 2)
    assert without == folds_of_matrix(FOLD_SIMILARITY, FOLD_OWNER, 2)


def test_a_fold_of_all_images_is_the_evaluation():
    for similarity, owner in ((SIMILARITY, OWNER), (FOLD_SIMILARITY, FOLD_OWNER)):
        whole = {way: summarise(figures) for way, figures in of_matrix(similarity, owner).items()}
        assert folds_of_matrix(similarity, owner, len(similarity)) == whole


def test_folds_of_one_image_have_nothing_to_confuse():
    found = folds_of_matrix(FOLD_SIMILARITY, FOLD_OWNER, 1)
    assert {value for way in found.values() for value in way.values()} == {1}


@pytest.mark.parametrize("size", [0, -1, 6])
def test_a_fold_of_more_images_than_there_are_is_refused(size):
    with pytest.raises(ValueError, match=f"a fold of {size} images of 5"):
        folds_of_matrix(FOLD_SIMILARITY, FOLD_OWNER, size)


def test_an_image_of_a_fold_without_a_caption_is_refused():
    with pytest.raises(ValueError, match="without a caption"):
        folds_of_matrix(FOLD_SIMILARITY, np.array([3, 0, 4, 0, 0, 2]), 2)


@pytest.mark.parametrize("stray", [5, -1])
def test_folds_refuse_an_owner_that_is_no_image(stray):
    with pytest.raises(ValueError, match="captions of 5 images"):
        folds_of_matrix(FOLD_SIMILARITY, np.array([3, 0, stray, 1, 0, 2]), 2)


def test_real_clip_embeddings_score_as_published_for_them(real_embeddings):
    images, captions, owner = real_embeddings
    assert (len(images), len(captions)) == (100, 500)
    found = {way: summarise(figures) for way, figures in evaluate(images, captions, owner).items()}
    assert [round(found["text_to_image"][f"recall@{k}"], 3) for k in KS] == [0.832, 0.990, 0.998]
    assert round(found["image_to_text"]["recall@1"], 3) == 0.93


def test_real_recall_agrees_with_a_faiss_search(real_embeddings):
    assert_recall_is_that_of_faiss(*real_embeddings)
