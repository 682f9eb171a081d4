import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows

from pipeline.retrieval.index import exact
from pipeline.retrieval.metrics import KS, evaluate, per_query, positive_ranks, summarise

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


def of_matrix(similarity, owner):
    """Figures of a given similarity matrix: the images are the unit axes, the captions its columns."""
    return evaluate(np.eye(len(similarity), dtype=np.float32), np.ascontiguousarray(similarity.T), owner)


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
    figures = per_query([np.array([1, 2, 3]), np.array([2, 3, 9]), np.array([4, 5, 6])])
    assert figures["map@r"] == pytest.approx([1, (1 / 2 + 2 / 3) / 3, 0])


def test_any_caption_of_an_image_counts():
    ranks = positive_ranks(np.array([[0.1, 0.2, 0.9, 0.8]], np.float32), np.array([[True, False, True, False]]))
    assert ranks[0].tolist() == [1, 4]
    assert per_query(ranks)["recall@1"].tolist() == [1]


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
    ranks = positive_ranks(np.array([[0.5, 0.5, 0.1]], np.float32), np.array([[True, False, False]]))
    assert ranks[0].tolist() == [2]


def test_two_equal_positives_follow_each_other():
    ranks = positive_ranks(np.array([[0.5, 0.5, 0.1]], np.float32), np.array([[True, True, False]]))
    assert ranks[0].tolist() == [1, 2]


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


def test_more_queries_than_one_block_keep_their_owners():
    images = unit_rows(1100, 24)
    figures = evaluate(images, images, np.arange(1100))
    assert (figures["text_to_image"]["rank"] == 1).all()
    assert (figures["image_to_text"]["rank"] == 1).all()


def test_an_image_without_a_caption_is_refused():
    with pytest.raises(ValueError, match="without a caption"):
        evaluate(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.array([0, 0, 2]))


@pytest.mark.parametrize("owner", [[0, 1], [0, 1, 3], [0, 1, -1]])
def test_an_owner_that_does_not_fit_is_refused(owner):
    with pytest.raises(ValueError, match="captions of 3 images"):
        evaluate(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.array(owner))


@st.composite
def worlds(draw):
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=7))
    owner = np.repeat(np.arange(len(counts)), counts)
    values = st.integers(-2, 2)  # few values, so that ties are common
    flat = draw(st.lists(values, min_size=len(counts) * len(owner), max_size=len(counts) * len(owner)))
    return np.array(flat, np.float32).reshape(len(counts), len(owner)), owner


def rank_by_counting(scores, positive):
    """Of the best positive: one more than the strangers that are at least as similar."""
    best = max(s for s, p in zip(scores, positive, strict=True) if p)
    return 1 + sum(s >= best for s, p in zip(scores, positive, strict=True) if not p)


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_ranks_are_those_of_plain_counting(world):
    similarity, owner = world
    figures = of_matrix(similarity, owner)
    assert figures["text_to_image"]["rank"].tolist() == [
        rank_by_counting(similarity[:, c], np.arange(len(similarity)) == owner[c]) for c in range(len(owner))
    ]
    assert figures["image_to_text"]["rank"].tolist() == [
        rank_by_counting(similarity[i], owner == i) for i in range(len(similarity))
    ]


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_figures_keep_their_bounds_and_relations(world):
    similarity, owner = world
    figures = of_matrix(similarity, owner)
    for way in figures.values():
        assert (way["recall@1"] <= way["recall@5"]).all()
        assert (way["recall@5"] <= way["recall@10"]).all()
        assert ((way["map@r"] >= 0) & (way["map@r"] <= 1)).all()
        assert ((way["map"] > 0) & (way["map"] <= 1)).all()
    one_positive = figures["text_to_image"]
    assert np.array_equal(one_positive["map"], one_positive["mrr"])
    assert np.array_equal(one_positive["map@r"], one_positive["recall@1"])


@settings(max_examples=60, deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(world, random):
    similarity, owner = world
    images, captions = list(range(len(similarity))), list(range(len(owner)))
    random.shuffle(images)
    random.shuffle(captions)
    place = np.argsort(images)
    before = of_matrix(similarity, owner)
    after = of_matrix(similarity[images][:, captions], place[owner[captions]])
    for name in ("rank", "map", "map@r"):
        assert np.array_equal(after["text_to_image"][name], before["text_to_image"][name][captions])
        assert np.array_equal(after["image_to_text"][name], before["image_to_text"][name][images])


def assert_recall_is_that_of_faiss(images, captions, owner):
    figures = evaluate(images, captions, owner)
    found = exact(images).search(captions, max(KS))[1]
    for k in KS:
        hit = (found[:, :k] == owner[:, None]).any(axis=1)
        assert np.array_equal(figures["text_to_image"][f"recall@{k}"], hit.astype(float))
    found = exact(captions).search(images, max(KS))[1]
    for k in KS:
        hit = (owner[found[:, :k]] == np.arange(len(images))[:, None]).any(axis=1)
        assert np.array_equal(figures["image_to_text"][f"recall@{k}"], hit.astype(float))


def test_recall_agrees_with_a_faiss_search():
    owner = np.repeat(np.arange(60), [1, 2, 3, 4, 5, 6] * 10)
    images = unit_rows(60, 24, seed=1)
    captions = images[owner] + 0.9 * unit_rows(len(owner), 24, seed=2)
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    assert_recall_is_that_of_faiss(images, captions, owner)


@pytest.fixture(scope="module")
def real_embeddings():
    if "DCLIP_REAL_DATA" not in os.environ:
        pytest.skip("DCLIP_REAL_DATA is not set: no folder with real ViT-B/32 embeddings of photographs")
    folder = Path(os.environ["DCLIP_REAL_DATA"]) / "clip_vit_b32_flickr"
    with (folder / "metadata.csv").open(newline="") as stream:
        names = [row["image_id"] for row in csv.DictReader(stream)]
    distinct = list(dict.fromkeys(names))
    owner = np.array([distinct.index(name) for name in names])
    first = np.array([names.index(name) for name in distinct])
    images, captions = (np.load(folder / f"{n}_embeddings.npy").astype(np.float32) for n in ("image", "text"))
    images = images if len(images) == len(distinct) else images[first]
    images, captions = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, captions))
    return images, captions, owner


def test_real_clip_embeddings_score_as_published_for_them(real_embeddings):
    images, captions, owner = real_embeddings
    assert (len(images), len(captions)) == (100, 500)
    found = {way: summarise(figures) for way, figures in evaluate(images, captions, owner).items()}
    assert [round(found["text_to_image"][f"recall@{k}"], 3) for k in KS] == [0.832, 0.990, 0.998]
    assert round(found["image_to_text"]["recall@1"], 3) == 0.93


def test_real_recall_agrees_with_a_faiss_search(real_embeddings):
    assert_recall_is_that_of_faiss(*real_embeddings)
