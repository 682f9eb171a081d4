import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_manifest import write_manifest
from tiny_models import random_pixels, tiny_clip, unit_rows

from pipeline.schema import Split
from pipeline.training.batches import Batch, Loader, Negatives, Pairs, epoch_order, spread
from pipeline.training.distributed import Group
from pipeline.training.pixels import Decoded, cached

# Pictures 0 and 3 share "cat"; picture 5 says "sun" twice.
CAPTIONS = [["cat", "old cat", "grey cat"], ["dog"], ["sea", "wave"], ["pet", "cat"], ["hill"], ["sun", "sun", "day"]]
FLAT = [text for texts in CAPTIONS for text in texts]


def axes(count, start=0):
    """Vectors that say which row they are."""
    return np.eye(16, dtype=np.float16)[start : start + count]


def pairs(captions=CAPTIONS, **given):
    """Pixels and image vectors are the picture's number, caption vectors the caption's."""
    count = sum(map(len, captions))
    pixels = np.arange(len(captions), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=1)
    return Pairs(**{
        "pixels": pixels, "captions": captions, "caption_vectors": axes(count), "image_vectors": axes(len(captions)),
        **given,
    })  # fmt: skip


def characters(texts):
    """A tokenizer of single characters, eight of them."""
    return torch.tensor([[ord(letter) for letter in text.ljust(8)[:8]] for text in texts])


def loader(data, *, tokenize=characters, batch=2, captions=None, seed=1, per_image=True, group=None, threads=1):
    return Loader(data, tokenize, batch, captions, seed, per_image, group or Group(), "cpu", threads)


def read(tokens):
    return ["".join(chr(code) for code in row).strip() for row in tokens.tolist()]


def rows_of(batch):
    return batch.pixels[:, 0, 0, 0].tolist()


def places_of(vectors):
    assert (vectors.sum(1) == 1).all()
    return vectors.argmax(1).tolist()


def fields(batch):
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(Batch)}


def assert_same(found, wanted):
    for name, value in fields(wanted).items():
        other = getattr(found, name)
        if isinstance(value, torch.Tensor):
            assert other.dtype == value.dtype and torch.equal(other, value), name
        else:
            assert other == value, name


# Pairs


def test_pairs_know_the_owner_of_every_caption_and_every_distinct_one():
    data = pairs()
    assert data.start.tolist() == [0, 3, 4, 6, 8, 9, 12]
    assert data.owner.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 5]
    assert data.distinct == ["cat", "old cat", "grey cat", "dog", "sea", "wave", "pet", "hill", "sun", "day"]
    assert [data.distinct[i] for i in data.caption_ids] == FLAT


@pytest.mark.parametrize(("pixels", "vectors"), [(2, 4), (4, 4), (3, 3), (3, 5)])
def test_pairs_of_other_counts_are_refused_naming_both(pixels, vectors):
    with pytest.raises(ValueError, match=rf"^{pixels} pictures and {vectors} caption vectors, expected 3 and 4$"):
        Pairs(random_pixels(pixels), [["a", "b"], ["c"], ["d"]], unit_rows(vectors, 16))


@pytest.mark.parametrize("count", [0, 5, 7, 12])
def test_image_vectors_of_another_count_are_refused(count):
    with pytest.raises(ValueError, match=rf"^{count} image vectors, expected 6$"):
        pairs(image_vectors=axes(count))


@pytest.mark.parametrize("count", [0, 5, 11, 13])
def test_targets_that_are_neither_of_pictures_nor_of_captions_are_refused(count):
    with pytest.raises(ValueError, match=rf"^{count} targets, expected 6 of pictures or 12 of captions$"):
        pairs(targets=axes(count))
    for right in (6, 12):
        assert len(pairs(targets=axes(right)).targets) == right


def test_a_picture_without_captions_is_refused_by_its_number():
    with pytest.raises(ValueError, match=r"^picture 1 has no caption$"):
        pairs([["a"], [], ["b"], []])


@pytest.mark.parametrize("count", [0, 9, 11])
def test_negatives_of_another_count_of_captions_are_refused(count):
    with pytest.raises(ValueError, match=rf"^negatives of {count} captions, expected 10$"):
        pairs(negatives=Negatives([[]] * count))


def test_changed_pairs_are_checked_and_counted_anew():
    changed = dataclasses.replace(pairs(), targets=axes(6), negatives=Negatives([["x"]] * 10))
    assert changed.negative_texts == ["x"] * 10
    assert len(changed.owner) == 12
    with pytest.raises(ValueError, match="5 targets"):
        dataclasses.replace(pairs(), targets=axes(5))


# Batches of an epoch


@pytest.mark.parametrize("captions", [None, 1, 2])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 6])
def test_every_picture_comes_at_most_once_an_epoch_and_only_a_rest_is_left_out(batch, captions):
    for epoch in (1, 2, 3):
        order = epoch_order(pairs(), batch, captions, 1, epoch)
        assert [len(rows) for rows, _ in order] == [batch] * (6 // batch)
        seen = [int(row) for rows, _ in order for row in rows]
        assert len(set(seen)) == len(seen) == 6 - 6 % batch


def test_a_batch_larger_than_all_pictures_gives_none():
    assert epoch_order(pairs(), 7, None, 1, 1) == []


def test_what_is_left_out_of_one_epoch_is_in_others():
    seen = {int(row) for epoch in range(1, 9) for rows, _ in epoch_order(pairs(), 4, 1, 1, epoch) for row in rows}
    assert seen == set(range(6))


def test_seed_and_epoch_change_the_order():
    def order(seed, epoch):
        return [rows.tolist() + places.tolist() for rows, places in epoch_order(pairs(), 2, 1, seed, epoch)]

    assert order(1, 1) == order(1, 1)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_captions_belong_to_the_picture_and_none_means_all():
    for batch in loader(pairs())(1, 3):
        rows = rows_of(batch)
        wanted = [place for row in rows for place in range(12) if pairs().owner[place] == row]
        assert sorted(places_of(batch.base_text)) == sorted(wanted)
        assert [rows[i] for i in batch.owner.tolist()] == [pairs().owner[p] for p in places_of(batch.base_text)]
        assert batch.owner.tolist() == sorted(batch.owner.tolist()), "ordered by picture"


@pytest.mark.parametrize("captions", [1, 2, 3, 9])
def test_at_most_so_many_captions_of_a_picture_are_drawn_none_twice(captions):
    for epoch in range(1, 5):
        for batch in loader(pairs(), captions=captions)(epoch, 3):
            places = places_of(batch.base_text)
            assert len(set(places)) == len(places)
            for i, row in enumerate(rows_of(batch)):
                own = [place for place, owner in zip(places, batch.owner.tolist(), strict=True) if owner == i]
                assert {pairs().owner[place] for place in own} == {row}
                assert len(own) == min(captions, len(CAPTIONS[row]))


def test_in_time_every_caption_is_drawn_about_equally_often():
    data = pairs([["a", "b", "c"], ["d", "e"]])
    drawn = np.bincount(np.concatenate([epoch_order(data, 2, 1, 0, epoch)[0][1] for epoch in range(1, 601)]))
    assert (np.abs(drawn[:3] - 200) < 60).all() and (np.abs(drawn[3:] - 300) < 60).all()


def test_a_batch_has_its_pictures_own_vectors_targets_and_names():
    data = pairs(targets=axes(6, start=4), names=list("uvwxyz"))
    for batch in loader(data, captions=1)(1, 3):
        rows = rows_of(batch)
        assert places_of(batch.base_image) == rows
        assert places_of(batch.target) == [row + 4 for row in rows]
        assert batch.names == ["uvwxyz"[row] for row in rows]
        assert batch.base_text.dtype == batch.base_image.dtype == batch.target.dtype == torch.float32
        assert batch.pixels.dtype == torch.uint8


def test_targets_of_pairs_are_those_of_the_captions_drawn():
    for batch in loader(pairs(targets=axes(12, start=3)), captions=2, per_image=False)(1, 3):
        assert places_of(batch.target) == [place + 3 for place in places_of(batch.base_text)]


def test_without_names_targets_vectors_and_negatives_there_are_none():
    batch = next(loader(pairs(image_vectors=None), tokenize=None)(1, 1))
    assert batch.names == [f"row {row}" for row in rows_of(batch)]
    assert (batch.tokens, batch.base_image, batch.target) == (None, None, None)
    assert (batch.negatives, batch.allowed, len(batch.negative_places)) == (None, None, 0)


@pytest.mark.parametrize("captions", [None, 1, 2])
def test_tokens_are_those_of_the_distinct_captions_each_once(captions):
    for epoch in range(1, 5):
        batch = next(loader(pairs(), batch=6, captions=captions)(epoch, 1))
        texts = [FLAT[place] for place in places_of(batch.base_text)]
        assert len(read(batch.tokens)) == len(set(texts))
        assert [read(batch.tokens)[i] for i in batch.text_places.tolist()] == texts


@pytest.mark.parametrize("captions", [None, 1, 2])
def test_positives_mark_every_caption_of_a_picture_drawn_with_it_or_not(captions):
    undrawn = 0
    for epoch in range(1, 13):
        batch = next(loader(pairs(), batch=6, captions=captions)(epoch, 1))
        rows, texts = rows_of(batch), [FLAT[place] for place in places_of(batch.base_text)]
        assert batch.positives.tolist() == [[text in CAPTIONS[row] for text in texts] for row in rows]
        drawn_of = {(i, text) for i, text in zip(batch.owner.tolist(), texts, strict=True)}
        undrawn += sum((i, "cat") not in drawn_of for i in (rows.index(0), rows.index(3)) if "cat" in texts)
    if captions == 1:
        assert undrawn > 0, "a caption that was drawn for another picture only is a positive too"


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("threads", [1, 3])
def test_skipping_gives_exactly_the_rest(skip, threads):
    load = loader(pairs(targets=axes(6), negatives=Negatives([["x"]] * 10)), batch=2, captions=1, threads=threads)
    everything, rest = list(load(2, 3)), list(load(2, 3, skip))
    assert len(rest) == max(0, 3 - skip)
    for found, wanted in zip(rest, everything[skip:], strict=True):
        assert_same(found, wanted)


def test_an_epoch_may_be_shortened():
    load = loader(pairs(), batch=1)
    assert [rows_of(b) for b in load(1, 4)] == [rows_of(b) for b in load(1, 6)][:4]
    assert [rows_of(b) for b in load(1, 4, 3)] == [rows_of(b) for b in load(1, 6)][3:4]


@pytest.mark.parametrize("threads", [2, 5])
def test_batches_do_not_depend_on_the_number_of_threads(threads):
    data = pairs(targets=axes(6), negatives=Negatives([["x"]] * 10))
    alone = list(loader(data, batch=1, captions=1)(1, 6))
    together = list(loader(data, batch=1, captions=1, threads=threads)(1, 6))
    for found, wanted in zip(together, alone, strict=True):
        assert_same(found, wanted)


def test_noise_has_unit_length_on_average_and_is_new_in_every_batch():
    data = pairs([[f"{i}"] for i in range(512)], caption_vectors=unit_rows(512, 64), image_vectors=None)
    batches = [b for epoch in (1, 2) for b in loader(data, tokenize=None, batch=256)(epoch, 2)]
    assert all(b.noise.shape == (256, 64) and b.noise.dtype == torch.float32 for b in batches)
    for batch in batches:
        assert batch.noise.square().sum(1).mean().item() == pytest.approx(1, abs=0.05)
        assert batch.noise.mean().item() == pytest.approx(0, abs=0.005)
    assert len({batch.noise[0, 0].item() for batch in batches}) == 4


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_pictures_and_texts_and_all_else_is_the_same(size):
    data = pairs(targets=axes(6), negatives=Negatives([["x"], *[[]] * 9]))
    whole = next(loader(data, batch=6)(1, 1))
    parts = [next(loader(data, batch=6, group=Group(rank, size))(1, 1)) for rank in range(size)]
    assert all(len(part.pixels) == 6 // size for part in parts)
    assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
    assert len({len(part.tokens) for part in parts}) == 1
    tokens = torch.cat([part.tokens for part in parts])
    assert torch.equal(tokens[: len(whole.tokens)], whole.tokens)
    assert len(tokens) - len(whole.tokens) < size and (tokens[len(whole.tokens) :] == whole.tokens[-1]).all()
    for part in parts:
        assert_same(dataclasses.replace(part, pixels=whole.pixels, tokens=whole.tokens), whole)


def test_a_batch_on_a_device_is_the_same_batch():
    batch = next(loader(pairs())(1, 1))
    assert_same(batch.to("cpu"), batch)
    assert {v.device.type for v in fields(batch.to("meta")).values() if isinstance(v, torch.Tensor)} == {"meta"}


# Hard negatives: of "cat" and "dog" one equal one, of "old cat" a caption of picture 1, of "sea" one of its own.
WRONG = {"cat": ["hat", "rat"], "old cat": ["dog"], "dog": ["hat"], "sea": ["wave", "land"]}


def with_negatives(*, vectors=False, captions=CAPTIONS):
    data = pairs(captions)
    texts = [WRONG.get(text, []) for text in data.distinct]
    return dataclasses.replace(data, negatives=Negatives(texts, axes(7) if vectors else None))


@pytest.mark.parametrize("captions", [None, 1, 2])
def test_negatives_are_those_of_the_captions_drawn_each_once(captions):
    for epoch in range(1, 9):
        for batch in loader(with_negatives(), captions=captions, batch=3)(epoch, 2):
            texts = [FLAT[place] for place in places_of(batch.base_text)]
            found = [read(batch.tokens)[i] for i in batch.negative_places.tolist()]
            assert sorted(found) == sorted({negative for text in texts for negative in WRONG.get(text, [])})
            assert len(read(batch.tokens)) == len({*texts, *found}), "a caption that is also a negative is read once"


def test_negatives_that_are_captions_of_a_picture_are_not_allowed_for_it():
    for epoch in range(1, 9):
        batch = next(loader(with_negatives(), batch=6, captions=1 + epoch % 3)(epoch, 1))
        found = [read(batch.tokens)[i] for i in batch.negative_places.tolist()]
        assert batch.allowed.tolist() == [[text not in CAPTIONS[row] for text in found] for row in rows_of(batch)]
    batch = next(loader(with_negatives(), batch=6)(1, 1))
    found = [read(batch.tokens)[i] for i in batch.negative_places.tolist()]
    forbidden = {(row, found[k]) for i, row in enumerate(rows_of(batch)) for k in range(5) if not batch.allowed[i, k]}
    assert forbidden == {(1, "dog"), (2, "wave")}


def test_frozen_negatives_come_with_their_vectors():
    # In the order of the captions: hat, rat of "cat"; dog of "old cat"; hat of "dog"; wave, land of "sea".
    data = with_negatives(vectors=True)
    assert data.negative_texts == ["hat", "rat", "dog", "hat", "wave", "land"]
    batch = next(loader(data, tokenize=None, batch=6)(1, 1))
    assert batch.tokens is None
    assert places_of(batch.negatives) == [0, 1, 2, 4, 5]
    assert batch.allowed.shape == (6, 5)


def test_a_batch_without_negatives_of_its_captions_has_empty_ones():
    data = with_negatives(vectors=True)
    load = loader(data, tokenize=None, batch=1)
    empty = [b for b in load(1, 6) if rows_of(b)[0] in (4, 5)]
    assert len(empty) == 2
    for batch in empty:
        assert batch.negatives.shape == (0, 16)
        assert batch.allowed.shape == (1, 0)
        assert len(batch.negative_places) == 0


def test_negatives_of_are_flat_places_without_equal_texts():
    data = with_negatives()
    number = {text: i for i, text in enumerate(data.distinct)}

    def of(*texts):
        return data.negatives_of(np.array([number[text] for text in texts], dtype=np.int64)).tolist()

    assert of("cat") == [0, 1]
    assert of("dog") == [3]
    assert of("dog", "cat") == of("cat", "dog", "cat") == [0, 1]
    assert of("sun") == of() == []
    assert of("sea", "old cat") == [2, 4, 5]


# Against plain loops


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
        tokens = read(batch.tokens)
        negatives = [tokens[i] for i in batch.negative_places]
        assert [tokens[i] for i in batch.text_places] == texts
        assert sorted(negatives) == sorted({negative for text in texts for negative in wrong[text]})
        assert batch.positives.tolist() == [[text in captions[row] for text in texts] for row in rows]
        assert batch.allowed.tolist() == [[text not in captions[row] for text in negatives] for row in rows]
        assert [int(rows[i]) for i in batch.owner] == [int(data.owner[place]) for place in places]


# Pictures decoded whenever they are read

SAMPLES = {
    Split.TRAIN: {f"mscoco-{i}": [f"caption {i}"] for i in range(4)},
    Split.VAL: {f"mscoco-{i}": [f"caption {i}"] for i in range(4, 6)},
}


def test_decoded_pictures_make_the_batches_that_cached_ones_make(tmp_path):
    clip, manifest = tiny_clip(), write_manifest(tmp_path / "curate", SAMPLES)
    rows, read_anew = cached(clip, manifest, tmp_path / "cache"), Decoded(clip, manifest)
    assert len(read_anew) == len(rows) == 6
    order = np.array([5, 0, 3, 3])
    assert np.array_equal(read_anew[order], rows[order])
    assert (read_anew[order].dtype, read_anew[order].shape) == (np.uint8, (4, 3, 32, 32))
    found, wanted = (
        list(loader(pairs(manifest.captions, pixels=pixels), batch=2, threads=3)(1, 3)) for pixels in (read_anew, rows)
    )
    assert len(found) == 3
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def test_pictures_that_cannot_be_read_are_an_error_of_their_batch(tmp_path):
    class Broken:
        def __len__(self):
            return 6

        def __getitem__(self, rows):
            if 4 in rows:
                raise OSError("picture 4")
            return np.zeros((len(rows), 3, 1, 1), dtype=np.uint8)

    batches, shown = loader(pairs(pixels=Broken()), batch=1, threads=2)(1, 6), 0
    before = [int(rows[0]) for rows, _ in epoch_order(pairs(), 1, None, 1, 1)].index(4)
    with pytest.raises(OSError, match="picture 4"):
        for _ in batches:
            shown += 1
    assert shown == before
