import numpy as np
import pytest
import torch
from tiny_batches import CAPTIONS, FLAT, assert_same, axes, fields, loader, pairs, places_of, read, rows_of
from tiny_models import unit_rows

from pipeline.distillation.loader import epoch_order
from pipeline.distillation.pairs import Negatives
from pipeline.machine.in_flight import each
from pipeline.training.distributed import Group


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
        assert batch.owner.tolist() == sorted(batch.owner.tolist()), "ordered by image"


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
    batch = next(loader(pairs(image_embeddings=None), tokenize=None)(1, 1))
    assert batch.names == [f"row {row}" for row in rows_of(batch)]
    assert (batch.texts, batch.base_image, batch.target) == (None, None, None)
    assert (batch.negatives, batch.regions, batch.knowledge) == (None, None, None)


@pytest.mark.parametrize("captions", [None, 1, 2])
def test_tokens_are_those_of_the_distinct_captions_each_once(captions):
    for epoch in range(1, 5):
        batch = next(loader(pairs(), batch=6, captions=captions)(epoch, 1))
        texts = [FLAT[place] for place in places_of(batch.base_text)]
        assert len(read(batch.texts.tokens)) == len(set(texts))
        assert [read(batch.texts.tokens)[i] for i in batch.texts.places.tolist()] == texts
        assert len(batch.texts.negative_places) == 0


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
        assert undrawn > 0, "a caption that was drawn for another image only is a positive too"


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
    data = pairs([[f"{i}"] for i in range(512)], caption_embeddings=unit_rows(512, 64), image_embeddings=None)
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
    assert len({len(part.texts.tokens) for part in parts}) == 1
    tokens, distinct = torch.cat([part.texts.tokens for part in parts]), whole.texts.tokens
    assert torch.equal(tokens[: len(distinct)], distinct)
    assert len(tokens) - len(distinct) < size and (tokens[len(distinct) :] == distinct[-1]).all()
    for part in parts:
        assert_same(part, whole, but=("pixels", "texts.tokens"))


def test_a_batch_on_a_device_is_the_same_batch():
    batch = next(loader(pairs(negatives=Negatives([["x"]] * 10)))(1, 1))
    assert_same(each(batch, lambda rows: rows.to("cpu")), batch)
    there = each(batch, lambda rows: rows.to("meta"))
    assert {v.device.type for v in fields(there).values() if isinstance(v, torch.Tensor)} == {"meta"}
