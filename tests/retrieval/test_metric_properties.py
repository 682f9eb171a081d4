from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import unit_rows
from tiny_retrieval import WAYS, embedded, of_matrix, owners, worlds

from pipeline.retrieval import metrics
from pipeline.retrieval.metrics import KS, evaluate

FIGURES = {"recall@1", "recall@5", "recall@10", "rank", "mrr", "map", "map@r"}
BLOCKS = [1, 10, 100, 10**6]


def evaluate_in(cells, *given, few=metrics._FEW):
    """`evaluate` with so many similarities in memory at a time, and so many positives counted one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_CELLS", cells)
        patch.setattr(metrics, "_LEAST", 1)
        patch.setattr(metrics, "_FEW", few)
        return evaluate(*given)


def as_embeddings(world):
    """A matrix of similarities as embeddings: the images are the unit axes."""
    similarity, owner = world
    return np.eye(len(similarity), dtype=np.float32), np.ascontiguousarray(similarity.T), owner


def by_definition(similarity, owner):
    """All figures of every query, one after the other, by sorting: strangers before positives that are as similar."""
    images, captions = similarity.shape
    asked = {
        "text_to_image": [(similarity[:, c], {int(owner[c])}) for c in range(captions)],
        "image_to_text": [(similarity[i], {c for c in range(captions) if owner[c] == i}) for i in range(images)],
    }
    found = {way: {name: [] for name in FIGURES} for way in WAYS}
    for way, queries in asked.items():
        for scores, own in queries:
            order = sorted(range(len(scores)), key=lambda c, s=scores, o=own: (-s[c], c in o))
            relevant = [c in own for c in order]
            best = relevant.index(True) + 1
            precision = [sum(relevant[: r + 1]) / (r + 1) * relevant[r] for r in range(len(order))]
            values = {f"recall@{k}": float(any(relevant[:k])) for k in KS}
            values |= {"rank": best, "mrr": 1 / best, "map": sum(precision) / len(own)}
            values["map@r"] = sum(precision[: len(own)]) / len(own)
            for name, value in values.items():
                found[way][name].append(value)
    return found


def assert_same(figures, wanted, tolerance=0.0):
    for way in WAYS:
        assert set(figures[way]) == set(wanted[way]) == FIGURES
        for name, values in wanted[way].items():
            assert figures[way][name] == pytest.approx(np.asarray(values), rel=0, abs=tolerance), (way, name)


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


@settings(max_examples=80, deadline=None)
@given(worlds(), st.sampled_from(BLOCKS), st.sampled_from([0, 1, 2, 16]))
def test_all_figures_are_those_of_the_definition(world, cells, few):
    assert_same(evaluate_in(cells, *as_embeddings(world), few=few), by_definition(*world), 1e-12)


@settings(max_examples=40, deadline=None)
@given(embedded())
def test_figures_of_embeddings_are_those_of_the_definition(world):
    images, captions, owner = world
    assert_same(evaluate(*world), by_definition(images @ captions.T, owner), 1e-12)


@settings(max_examples=60, deadline=None)
@given(st.one_of(worlds(), worlds(0, 0), worlds(-100, 100)))
def test_figures_keep_their_bounds_and_relations(world):
    similarity, owner = world
    figures = of_matrix(similarity, owner)
    for way in figures.values():
        assert (way["recall@1"] <= way["recall@5"]).all()
        assert (way["recall@5"] <= way["recall@10"]).all()
        assert set(np.concatenate([way[f"recall@{k}"] for k in KS])) <= {0, 1}
        assert ((way["map@r"] >= 0) & (way["map@r"] <= 1)).all()
        assert ((way["map"] > 0) & (way["map"] <= 1)).all()
        assert (way["map@r"] <= way["map"]).all()  # the terms of the places beyond R are left out
        assert (way["rank"] >= 1).all()
        assert np.array_equal(way["mrr"] == 1, way["recall@1"] == 1)
    for way, candidates in (("text_to_image", len(similarity)), ("image_to_text", len(owner))):
        assert (figures[way]["rank"] <= candidates).all()
    one_positive = figures["text_to_image"]
    assert np.array_equal(one_positive["map"], one_positive["mrr"])
    assert np.array_equal(one_positive["map@r"], one_positive["recall@1"])


@settings(max_examples=60, deadline=None)
@given(st.one_of(worlds().map(as_embeddings), embedded()), st.data())
def test_the_order_of_rows_changes_nothing(world, data):
    images, captions, owner = world
    by_image = np.array(data.draw(st.permutations(range(len(images)))))
    by_caption = np.array(data.draw(st.permutations(range(len(owner)))))
    before = evaluate(*world)
    after = evaluate(images[by_image], captions[by_caption], np.argsort(by_image)[owner[by_caption]])
    for name in FIGURES:
        assert np.array_equal(after["text_to_image"][name], before["text_to_image"][name][by_caption])
        assert np.array_equal(after["image_to_text"][name], before["image_to_text"][name][by_image])


@settings(max_examples=60, deadline=None)
@given(embedded(), st.integers(1, 200))
def test_blocks_of_any_size_give_the_same_figures(world, cells):
    assert_same(evaluate_in(cells, *world), evaluate_in(10**9, *world))


@pytest.mark.parametrize("cells", BLOCKS)
def test_blocks_of_any_size_give_the_same_figures_of_real_embeddings(real_embeddings, cells):
    assert_same(evaluate_in(cells, *real_embeddings), evaluate_in(10**9, *real_embeddings))


def chance(owner, k):
    """Expected recall at k, both ways, of an order that is drawn: one positive, or any of an image's captions."""
    counts = np.bincount(owner)
    images, captions = len(counts), len(owner)
    k_images, k_captions = min(k, images), min(k, captions)
    missed = [comb(captions - n, k_captions) / comb(captions, k_captions) for n in counts.tolist()]
    return {"text_to_image": k_images / images, "image_to_text": 1 - float(np.mean(missed))}


def excess(owner, direction, cells=10**9):
    """By how much constant embeddings beat chance, at worst."""
    images, captions = (np.tile(direction, (n, 1)) for n in (owner.max() + 1, len(owner)))
    figures = evaluate_in(cells, images, captions, owner)
    return max(figures[way][f"recall@{k}"].mean() - chance(owner, k)[way] for way in WAYS for k in KS)


@settings(max_examples=80, deadline=None)
@given(owners(max_images=40, max_captions=7), st.integers(0, 4), st.randoms(use_true_random=False), st.integers(1, 900))
def test_constant_embeddings_are_no_better_than_chance_at_any_k(owner, power, random, cells):
    # 4**power components of +-2**-power: a unit vector whose product with itself no order of adding rounds.
    direction = np.array([random.choice((-1, 1)) * 2.0**-power for _ in range(4**power)], np.float32)
    assert excess(owner, direction, cells) <= 1e-12
    images, captions = (np.tile(direction, (n, 1)) for n in (owner.max() + 1, len(owner)))
    figures = evaluate_in(cells, images, captions, owner)
    assert (figures["text_to_image"]["rank"] == len(images)).all()
    assert np.array_equal(figures["image_to_text"]["rank"], len(owner) - np.bincount(owner) + 1)


def random_directions(turns):
    """Owners, a direction and a block size, of any dimension."""
    rng = np.random.default_rng(0)
    for turn in range(turns):
        owner = rng.permutation(np.repeat(np.arange(n := int(rng.integers(2, 40))), rng.integers(1, 6, n)))
        dimension = int(rng.choice([3, 8, 16, 31, 64, 100, 512, 768]))
        yield owner, unit_rows(dimension, seed=turn), int(rng.choice([1, 300, 10**9]))


ROUNDING = "float32 products of equal rows differ in the last bit by where they stand, so they do not tie"


def test_constant_embeddings_in_random_directions_are_no_better_than_chance():
    assert all(excess(*given) <= 1e-12 for given in random_directions(400))


def test_constant_embeddings_in_random_directions_are_on_average_no_better_than_chance():
    assert np.mean([excess(*given) for given in random_directions(100)]) <= 0


def test_equal_images_tie_in_blocks_of_any_size():
    """Every image stands there twice: neither of the two is the best, whichever caption asks."""
    for seed in range(60):
        once = unit_rows(15, 100, seed=seed)
        images = np.concatenate([once, once])
        for cells in BLOCKS:
            ranks = evaluate_in(cells, images, images, np.arange(30))["text_to_image"]["rank"]
            assert (ranks == 2).all()
