"""What a student is shown of an image is what every teacher has embedded: views, regions, texts."""

import numpy as np
import pytest
import torch
from tiny_batches import assert_same

from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Pairs, Phrases, Regions, Teacher, Views
from pipeline.machine.in_flight import each
from pipeline.training.distributed import Group

CAPTIONS = [["cat", "old cat"], [], ["sea", "wave"], ["pet"], ["hill"], ["sun"]]
START = np.array([0, 1, 3, 7, 9, 10, 13])
"""Image 0 has no crop, image 1 one, image 2 three, image 3 one, image 4 none, image 5 two."""
COUNT = 3
PHRASES = Phrases(["cat", "sea", "old"], np.array([0, 2, 0, 1]), np.array([0, 1, 3, 4, 4, 4, 4, 4]), np.eye(16)[:3])


def shows(first, count):
    """Pixels that say what they show."""
    return np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=1)


def says(first, count, teacher):
    """A teacher's vectors that say what it has seen, and who it is."""
    return np.stack([np.arange(first, first + count), np.full(count, teacher)], axis=1).astype(np.float16)


def teacher(number):
    return Teacher(
        10.0 * number, images=says(0, 6, number), captions=says(200, 7, number), views=says(20, 6 * COUNT, number),
        crops=says(100, 7, number), phrases=says(250, 3, number),
    )  # fmt: skip


def pairs(**given):
    return Pairs(**{
        "pixels": shows(0, 6), "captions": CAPTIONS, "caption_embeddings": np.eye(16, dtype=np.float16)[:7],
        "regions": Regions(shows(100, 7), np.eye(16)[:13], START), "phrases": PHRASES,
        "teachers": [teacher(1), teacher(2)], "views": Views(shows(20, 6 * COUNT), COUNT), **given,
    })  # fmt: skip


def batches(data, epochs=6, *, group=None, batch=3, skip=0):
    load = Loader(data, None, batch, None, 5, True, group or Group(), "cpu", 1)
    return [found for epoch in range(1, epochs + 1) for found in load(epoch, 6 // batch, skip)]


def numbers(vectors):
    return vectors[:, 0].long().tolist()


def seen(pixels):
    return pixels[:, 0, 0, 0].tolist()


def test_every_teacher_has_embedded_the_very_view_and_region_that_the_student_sees():
    views = set()
    for batch in batches(pairs(), 60):
        for number, known in enumerate(batch.teachers, start=1):
            assert numbers(known.image) == seen(batch.pixels)
            assert numbers(known.region) == seen(batch.regions.pixels)
            assert set(known.image[:, 1].tolist()) == {number} and known.scale == 10.0 * number
        views |= set(seen(batch.pixels))
    assert views == set(range(6)) | set(range(20, 20 + 6 * COUNT)), "in time every view, and every image itself"


def test_a_view_is_one_of_its_own_image_and_a_region_is_cut_from_the_image_itself():
    own = {image: {image, *range(20 + image * COUNT, 20 + (image + 1) * COUNT)} for image in range(6)}
    for batch in batches(pairs()):
        for name, view, region in zip(batch.names, seen(batch.pixels), seen(batch.regions.pixels), strict=True):
            image = int(name.split()[1])
            assert view in own[image]
            crops = range(100 + START[image] - image, 100 + START[image + 1] - image - 1)
            assert region in (list(crops) or [image])


def test_texts_are_those_of_the_batch():
    for batch in batches(pairs()):
        captions = batch.base_text.argmax(1)
        phrases = batch.base_phrase.argmax(1)
        for known in batch.teachers:
            assert numbers(known.text) == (200 + captions).tolist()
            assert numbers(known.phrase) == (250 + phrases).tolist()
        wanted = {p for c in captions.tolist() for p in PHRASES.ids[PHRASES.start[c] : PHRASES.start[c + 1]].tolist()}
        assert phrases.tolist() == sorted(wanted)


def test_views_change_nothing_else_and_without_them_the_images_are_seen():
    plain = [Teacher(t.scale, t.images, t.captions, None, t.crops, t.phrases) for t in pairs().teachers]
    for found, wanted in zip(batches(pairs()), batches(pairs(views=None, teachers=plain)), strict=True):
        assert seen(wanted.pixels) == [int(name.split()[1]) for name in wanted.names]
        assert_same(found, wanted, but=("pixels", "teachers"))


@pytest.mark.parametrize("size", [2, 3])
def test_processes_see_their_part_of_the_same_batch_and_know_all_that_teachers_say(size):
    whole = batches(pairs(), 1, batch=6)[0]
    parts = [batches(pairs(), 1, batch=6, group=Group(rank, size))[0] for rank in range(size)]
    assert torch.equal(torch.cat([part.pixels for part in parts]), whole.pixels)
    assert torch.equal(torch.cat([part.regions.pixels for part in parts]), whole.regions.pixels)
    for part in parts:
        for found, wanted in zip(part.teachers, whole.teachers, strict=True):
            assert_same(found, wanted)


def test_shuffled_teachers_speak_of_other_images_and_of_the_same_texts():
    known = teacher(1)
    moved = known.shuffled(seed=3)
    for name in ("images", "views", "crops"):
        before, after = getattr(known, name), getattr(moved, name)
        assert (before != after).any(axis=1).all()
        assert sorted(after[:, 0]) == sorted(before[:, 0])
    assert moved.captions is known.captions and moved.phrases is known.phrases
    assert np.array_equal(known.shuffled(seed=3).images, moved.images)


def test_what_teachers_say_goes_to_the_device_with_the_batch():
    batch = each(batches(pairs(), 1)[0], lambda rows: rows.to("meta"))
    assert {
        part.device.type for t in batch.teachers for part in vars(t).values() if isinstance(part, torch.Tensor)
    } == {"meta"}
