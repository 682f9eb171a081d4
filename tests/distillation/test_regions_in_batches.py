import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_batches import assert_same

from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Pairs, Regions
from pipeline.machine.in_flight import each
from pipeline.training.distributed import Group

CAPTIONS = [["cat", "old cat"], ["dog"], ["sea", "wave"], ["pet"], ["hill"], ["sun"]]
START = np.array([0, 1, 3, 7, 9, 10, 13])
"""Image 0 has no box, image 1 one, image 2 three, image 3 one, image 4 none, image 5 two."""
SHOWN = {0: 0, 2: 100, 4: 101, 5: 102, 6: 103, 8: 104, 9: 4, 11: 105, 12: 106}
"""What a region that may be drawn shows: crop 0 is 100, crop 1 is 101, and so on; an image is its number."""


def axes(count):
    """Vectors that say which row they are."""
    return np.eye(16, dtype=np.float16)[:count]


def numbers(first, count):
    """Pixels that say which row they are."""
    return np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=1)


def regions(start=START):
    return Regions(numbers(100, 7), axes(13), start)


def pairs(**given):
    return Pairs(numbers(0, 6), CAPTIONS, axes(8), axes(6), names=list("012345"), **given)


def batches(data, epoch, *, batch=2, seed=1, skip=0, group=None, threads=1):
    load = Loader(data, None, batch, None, seed, True, group or Group(), "cpu", threads)
    return list(load(epoch, 6 // batch, skip))


def shown(pixels):
    return pixels[:, 0, 0, 0].tolist()


def drawn_of(batch):
    """The regions whose vectors are in a batch."""
    assert (batch.regions.base.sum(1) == 1).all()
    return batch.regions.base.argmax(1).tolist()


# Which regions are drawn


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=12), st.integers(0, 99)
)
def test_a_crop_is_drawn_or_the_picture_where_there_is_none(boxes, picked, seed):
    start = np.concatenate([[0], np.cumsum(np.array(boxes) + 1)])
    rows = np.array([row % len(boxes) for row in picked], dtype=np.int64)
    drawn = regions(start).draw(rows, np.random.default_rng(seed))
    assert len(drawn) == len(rows)
    for row, region in zip(rows, drawn, strict=True):
        own = list(range(start[row], start[row + 1]))
        assert region in (own[1:] or own)


def test_every_crop_is_drawn_about_as_often():
    drawn = regions().draw(np.repeat([2, 5], 3000), np.random.default_rng(0))
    counts = np.bincount(drawn, minlength=13)
    assert (np.abs(counts[4:7] - 1000) < 120).all() and (np.abs(counts[11:] - 1500) < 120).all()
    assert counts.sum() == counts[4:7].sum() + counts[11:].sum()


def test_equal_generators_draw_the_same_and_others_do_not():
    rows = np.full(50, 2)
    one, same, other = (regions().draw(rows, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


# What they show


def test_pixels_are_those_of_the_regions_drawn():
    rows = np.array([5, 0, 2, 1, 4, 3])
    found = regions().pixels(numbers(0, 6)[rows], rows, np.array([12, 0, 5, 2, 9, 8]))
    assert (found.shape, found.dtype) == ((6, 3, 1, 1), np.uint8)
    assert shown(found) == [106, 0, 102, 100, 4, 104]


@pytest.mark.parametrize("region", SHOWN)
def test_every_region_alone_shows_its_own_pixels(region):
    row = int(np.searchsorted(START, region, side="right")) - 1
    assert shown(regions().pixels(numbers(row, 1), np.array([row]), np.array([region]))) == [SHOWN[region]]


def test_pictures_stay_as_they_were():
    pictures = numbers(1, 3)
    regions().pixels(pictures, np.array([1, 2, 3]), np.array([2, 4, 8]))
    assert np.array_equal(pictures, numbers(1, 3))


# Batches


def test_a_batch_has_its_pictures_then_a_region_of_each():
    for epoch in range(1, 5):
        for batch in batches(pairs(regions=regions()), epoch):
            rows, drawn = [int(name) for name in batch.names], drawn_of(batch)
            assert (shown(batch.pixels), shown(batch.regions.pixels)) == (rows, [SHOWN[region] for region in drawn])
            assert shown(batch.tower_images) == shown(batch.pixels) + shown(batch.regions.pixels)
            assert [int(np.searchsorted(START, region, side="right")) - 1 for region in drawn] == rows
            assert (batch.regions.pixels.dtype, batch.regions.base.dtype) == (torch.uint8, torch.float32)


def test_in_time_every_crop_is_drawn():
    data = pairs(regions=regions())
    assert {region for epoch in range(1, 40) for b in batches(data, epoch, batch=6) for region in drawn_of(b)} == set(
        SHOWN
    )


def test_without_regions_there_are_only_pictures():
    for batch in batches(pairs(), 1):
        assert shown(batch.pixels) == [int(name) for name in batch.names]
        assert batch.regions is None
        assert batch.tower_images is batch.pixels


def test_regions_change_nothing_else_in_a_batch():
    for found, wanted in zip(batches(pairs(regions=regions()), 2), batches(pairs(), 2), strict=True):
        assert torch.equal(found.noise, wanted.noise)
        assert_same(dataclasses.replace(found, regions=None), wanted)


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_pictures_and_regions_and_know_all_vectors(size):
    data, own = pairs(regions=regions()), 6 // size
    (whole,) = batches(data, 1, batch=6)
    parts = [batches(data, 1, batch=6, group=Group(rank, size))[0] for rank in range(size)]
    for rank, part in enumerate(parts):
        mine = slice(rank * own, (rank + 1) * own)
        assert torch.equal(part.pixels, whole.pixels[mine])
        assert torch.equal(part.regions.pixels, whole.regions.pixels[mine])
        assert shown(part.regions.pixels) == [SHOWN[region] for region in drawn_of(whole)[mine]]
        assert_same(part, whole, but=("pixels", "regions.pixels"))
    gathered = torch.cat([part.tower_images.flatten(1) for part in parts])
    images, of_regions = whole.separated(gathered, size)
    assert torch.equal(images, whole.pixels.flatten(1))
    assert torch.equal(of_regions, whole.regions.pixels.flatten(1))


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_same_seed_draws_the_same_regions_from_any_step_on(skip, threads):
    data = pairs(regions=regions())
    everything, rest = batches(data, 2), batches(data, 2, skip=skip, threads=threads)
    assert len(rest) == 3 - skip
    for found, wanted in zip(rest, everything[skip:], strict=True):
        assert_same(found, wanted)


def test_another_epoch_or_seed_draws_other_regions():
    data = pairs(regions=regions())

    def drawn(epoch, seed):
        found = [region for b in batches(data, epoch, seed=seed) for region in drawn_of(b)]
        return tuple(sorted(found))

    assert len({drawn(epoch, 1) for epoch in range(1, 9)}) > 1
    assert len({drawn(1, seed) for seed in range(1, 9)}) > 1


def test_regions_go_to_the_device_with_their_batch():
    batch = batches(pairs(regions=regions()), 1)[0]
    assert_same(each(batch, lambda rows: rows.to("cpu")), batch)
    there = each(batch, lambda rows: rows.to("meta"))
    assert {part.device.type for part in vars(there.regions).values()} == {"meta"}


@pytest.mark.parametrize("start", [START[:-1], np.append(START, 13)], ids=["of 5", "of 7"])
def test_regions_of_another_number_of_pictures_are_refused(start):
    with pytest.raises(ValueError, match=rf"^regions of {len(start) - 1} images .* expected 6, "):
        pairs(regions=regions(start))


@pytest.mark.parametrize(("crops", "vectors"), [(6, 13), (7, 12), (8, 14)])
def test_regions_without_a_crop_or_a_vector_of_each_are_refused(crops, vectors):
    with pytest.raises(ValueError, match=rf"with {vectors} embeddings and {crops} crops, expected 6, 13 and 7$"):
        pairs(regions=Regions(numbers(100, crops), axes(vectors), START))
