import io

import numpy as np
import pytest
import torch
from tiny_models import COMPUTE, picture, tiny_clip

from pipeline.clip import encode, image_files
from pipeline.clip.encode import Compute
from pipeline.errors import InputError

SIZES = [(48, 40), (32, 32), (20, 60), (90, 33), (64, 64), (48, 40)]


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def forwards(clip):
    """Shapes of what the image tower was given."""
    shapes = []
    hook = clip.model.visual.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape)))
    yield shapes
    hook.remove()


@pytest.fixture
def paths(tmp_path):
    """Six images of several sizes, whose names have another order than they."""
    made = [tmp_path / f"{9 - i}.png" for i in range(len(SIZES))]
    for i, (path, size) in enumerate(zip(made, SIZES, strict=True)):
        picture(i, *size).save(path)
    return made


def damaged():
    """The first half of an image's file."""
    out = io.BytesIO()
    picture(1).save(out, "JPEG")
    return out.getvalue()[: out.tell() // 2]


def test_pictures_are_decoded_for_the_tower_in_their_order(clip, paths):
    rows = list(image_files.pixels(clip, paths, "some"))
    assert [(row.shape, row.dtype) for row in rows] == [((3, 32, 32), np.uint8)] * 6
    for i, (row, size) in enumerate(zip(rows, SIZES, strict=True)):
        assert np.array_equal(row, clip.pixels()(picture(i, *size)))


def test_vectors_are_the_towers_own_at_unit_length_in_the_order_of_the_paths(clip, paths):
    found = image_files.embed(clip, paths, COMPUTE, "some")
    assert (found.shape, found.dtype) == ((6, 16), torch.float32)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(6))
    for i, (row, size) in enumerate(zip(found, SIZES, strict=True)):
        torch.testing.assert_close(row, encode.images(clip, [clip.pixels()(picture(i, *size))], COMPUTE)[0])
    assert torch.pdist(found, p=torch.inf).min() > 1e-4, "vectors within the tolerance could be in any order"


def test_vectors_follow_their_paths(clip, paths):
    order = [4, 0, 5, 0, 2]
    found = image_files.embed(clip, [paths[i] for i in order], COMPUTE, "some")
    torch.testing.assert_close(found, image_files.embed(clip, paths, COMPUTE, "some")[order])


@pytest.mark.parametrize("batch", [1, 2, 5, 6, 16])
def test_vectors_do_not_depend_on_the_batch_size(clip, paths, batch):
    found = image_files.embed(clip, paths, Compute("cpu", "float32", batch), "some")
    torch.testing.assert_close(found, image_files.embed(clip, paths, COMPUTE, "some"), atol=1e-5, rtol=0)


def test_every_forward_is_a_whole_batch(clip, paths, forwards):
    image_files.embed(clip, paths, COMPUTE, "some")
    assert forwards == [(4, 3, 32, 32)] * 2


@pytest.mark.parametrize("data", [b"", b"not an image", damaged()], ids=["empty", "text", "half an image"])
def test_a_file_that_is_no_picture_is_named_with_what_to_do(clip, paths, data):
    paths[3].write_bytes(data)
    with pytest.raises(InputError, match=r"6\.png is no image \(.+\); take it out or replace it") as caught:
        image_files.embed(clip, paths, COMPUTE, "some")
    assert str(paths[3]) in str(caught.value)


def test_pictures_are_decoded_a_batch_ahead_of_the_tower_at_most(clip, paths, forwards):
    paths[4].write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"5\.png"):
        image_files.embed(clip, paths, COMPUTE, "some")
    assert forwards == [(4, 3, 32, 32)], "the first four went through the tower before the fifth was opened"


def test_progress_says_what_and_how_many(clip, paths, capsys):
    image_files.embed(clip, paths, COMPUTE, "birds of two kinds")
    assert "birds of two kinds: 6 images in" in capsys.readouterr().err
