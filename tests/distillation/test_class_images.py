import tracemalloc

import numpy as np
import pytest
from tiny_models import picture, tiny_clip

from pipeline.clip import image_files
from pipeline.distillation.class_images import ClassImages
from pipeline.distillation.pixels import cached
from pipeline.errors import InputError
from pipeline.images import decoding


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


def written(folder, count):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        picture(number % 50).save(path)
    return paths


def test_pixels_are_those_of_the_images_in_their_order_and_decoded_once(clip, tmp_path, monkeypatch):
    paths = written(tmp_path / "shown", 5)
    rows = cached(clip, ClassImages(paths, 2), tmp_path / "pixels", 2)
    assert np.array_equal(rows, list(image_files.pixels(clip, paths, "decode")))
    monkeypatch.setattr(decoding, "decode", None)
    assert np.array_equal(cached(clip, ClassImages(paths), tmp_path / "pixels"), rows)


def test_another_image_under_the_same_name_or_another_order_is_decoded_anew(clip, tmp_path):
    paths = written(tmp_path / "shown", 3)
    first = np.array(cached(clip, ClassImages(paths), tmp_path / "pixels"))
    assert np.array_equal(cached(clip, ClassImages(paths[::-1]), tmp_path / "pixels"), first[::-1])
    picture(9).save(paths[1])
    changed = cached(clip, ClassImages(paths), tmp_path / "pixels")
    assert [np.array_equal(*pair) for pair in zip(changed, first, strict=True)] == [True, False, True]


def test_a_file_that_is_no_image_is_named(clip, tmp_path):
    paths = written(tmp_path / "shown", 2)
    paths[1].write_bytes(b"404")
    with pytest.raises(InputError, match=r"1\.png is no image \(.+\); take it out or replace it"):
        cached(clip, ClassImages(paths), tmp_path / "pixels")


def test_memory_does_not_grow_with_the_number_of_images(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.disk.sealed._PIECE", 1 << 14)  # a megabyte at a time would hold all of these
    peaks = {}
    for count in (1, 100, 400):  # the first imports and warms up
        paths = written(tmp_path / "shown", count)
        tracemalloc.start()
        rows = cached(clip, ClassImages(paths), tmp_path / "pixels")
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(rows) == count
    assert peaks[400] < peaks[100] + 100 * rows[0].nbytes, "300 more images are 900 kB of pixels"
