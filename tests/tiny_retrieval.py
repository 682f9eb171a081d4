"""Small retrieval problems: similarities and embeddings whose products are exact, and who belongs to whom."""

import numpy as np
from hypothesis import strategies as st

from pipeline.retrieval.metrics import Positives, evaluate

WAYS = ("text_to_image", "image_to_text")


def of_matrix(similarity, owner):
    """Figures of a given similarity matrix: the images are the unit axes, the captions its columns."""
    return evaluate(np.eye(len(similarity), dtype=np.float32), np.ascontiguousarray(similarity.T), owner)


def positives(*rows):
    """Of queries, given a list of candidates of each."""
    return Positives(np.cumsum([0, *map(len, rows)]), np.concatenate([np.array(r, np.int64) for r in rows]))


@st.composite
def owners(draw, max_images=7, max_captions=4):
    """The image of each caption: every image has one or more, in any order."""
    counts = draw(st.lists(st.integers(1, max_captions), min_size=1, max_size=max_images))
    return np.array(draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())), np.int64)


@st.composite
def worlds(draw, lowest=-2, highest=2):
    """Similarities [images, captions] of few values, so that ties are common, and owners."""
    owner = draw(owners())
    images, captions = int(owner.max()) + 1, len(owner)
    values = st.integers(lowest, highest)
    flat = draw(st.lists(values, min_size=images * captions, max_size=images * captions))
    return np.array(flat, np.float32).reshape(images, captions), owner


@st.composite
def embedded(draw):
    """Images and captions of small integers, whose products no kernel and no order rounds, and owners."""
    owner = draw(owners(max_images=12, max_captions=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    largest, dimension = draw(st.integers(1, 3)), draw(st.integers(1, 20))
    images, captions = (rng.integers(-largest, largest + 1, (n, dimension)) for n in (owner.max() + 1, len(owner)))
    return images.astype(np.float32), captions.astype(np.float32), owner
