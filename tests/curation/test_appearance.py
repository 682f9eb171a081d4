import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.curation.appearance import perceptual_hash, sketch
from pipeline.images.decoding import decode, encode_jpeg


def scene(seed, side=96):
    """A smooth random image, as photographs are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def distance(a, b):
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


@pytest.mark.parametrize("seed", range(5))
def test_a_recompressed_or_resized_picture_has_nearly_the_same_hash(seed):
    picture = scene(seed)
    assert distance(picture, decode(encode_jpeg(picture, 50))) <= 4
    assert distance(picture, picture.resize((60, 60), Image.Resampling.BICUBIC)) <= 4


def test_other_pictures_have_other_hashes():
    pictures = [scene(seed) for seed in range(6)]
    assert min(distance(a, b) for i, a in enumerate(pictures) for b in pictures[:i]) > 12


def test_a_hash_is_of_the_light_and_not_of_its_level():
    picture = scene(3).point(lambda v: v // 2 + 20)
    assert distance(picture, picture.point(lambda v: v + 30)) <= 2
    assert 0 <= perceptual_hash(picture) < 2**64


def test_a_sketch_is_64_mean_colours():
    picture = Image.new("RGB", (160, 80), (10, 20, 30))
    picture.paste((200, 0, 0), (80, 0, 160, 80))
    found = np.frombuffer(sketch(picture), np.uint8).reshape(8, 8, 3)
    assert (found[:, :4] == (10, 20, 30)).all()
    assert (found[:, 4:] == (200, 0, 0)).all()
