"""Against plain loops."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_batches import loader, read

from pipeline.distillation.loader import epoch_order
from pipeline.distillation.pairs import Negatives, Pairs, spread


@given(st.lists(st.tuples(st.integers(-5, 50), st.integers(0, 6)), max_size=8))
def test_spread_counts_on_from_every_start(given_):
    starts = np.array([start for start, _ in given_], dtype=np.int64)
    counts = np.array([count for _, count in given_], dtype=np.int64)
    assert spread(starts, counts).tolist() == [start + i for start, count in given_ for i in range(count)]


TEXTS = st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4), min_size=1, max_size=9)


def made_of(captions):
    count = sum(map(len, captions))
    return Pairs(np.zeros((len(captions), 1)), captions, np.zeros((count, 2)))


@settings(deadline=None)
@given(TEXTS, st.integers(1, 9), st.one_of(st.none(), st.integers(1, 5)), st.integers(0, 3), st.integers(1, 3))
def test_an_epoch_is_full_batches_of_pictures_with_captions_of_theirs(captions, batch, drawn, seed, epoch):
    data = made_of(captions)
    order = epoch_order(data, batch, drawn, seed, epoch)
    assert len(order) == len(captions) // batch
    seen = [int(row) for rows, _ in order for row in rows]
    assert len(set(seen)) == len(seen) == len(order) * batch
    for rows, places in order:
        left = places.tolist()
        for row in rows:
            count = len(captions[row]) if drawn is None else min(drawn, len(captions[row]))
            own, left = left[:count], left[count:]
            assert len(set(own)) == count
            assert all(data.start[row] <= place < data.start[row + 1] for place in own)
        assert left == []


@settings(deadline=None)
@given(TEXTS, st.data())
def test_belongs_is_whether_a_text_is_among_a_pictures_captions(captions, more):
    data = made_of(captions)
    rows = more.draw(st.lists(st.integers(0, len(captions) - 1), min_size=1, max_size=6))
    ids = more.draw(st.lists(st.integers(0, len(data.distinct) - 1), max_size=6))
    found = data.belongs(np.array(rows, dtype=np.int64), np.array(ids, dtype=np.int64))
    assert found.shape == (len(rows), len(ids))
    assert found.tolist() == [[data.distinct[i] in captions[row] for i in ids] for row in rows]


@settings(deadline=None, max_examples=50)
@given(TEXTS, st.data())
def test_a_gathered_batch_equals_plain_loops(captions, more):
    distinct = list(dict.fromkeys(text for texts in captions for text in texts))
    wrong = {text: more.draw(st.lists(st.sampled_from("abxyz"), max_size=2)) for text in distinct}
    data = dataclasses.replace(made_of(captions), negatives=Negatives([wrong[text] for text in distinct]))
    size, drawn = more.draw(st.integers(1, len(captions))), more.draw(st.sampled_from([None, 1, 2]))
    order = epoch_order(data, size, drawn, 0, 1)
    for batch, (rows, places) in zip(loader(data, batch=size, captions=drawn, seed=0)(1, 99), order, strict=True):
        texts = [distinct[data.caption_ids[place]] for place in places]
        tokens = read(batch.texts.tokens)
        negatives = [tokens[i] for i in batch.texts.negative_places]
        assert [tokens[i] for i in batch.texts.places] == texts
        assert sorted(negatives) == sorted({negative for text in texts for negative in wrong[text]})
        assert batch.positives.tolist() == [[text in captions[row] for text in texts] for row in rows]
        assert batch.negatives.allowed.tolist() == [[text not in captions[row] for text in negatives] for row in rows]
        assert [int(rows[i]) for i in batch.owner] == [int(data.owner[place]) for place in places]
