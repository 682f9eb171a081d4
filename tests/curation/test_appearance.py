import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.curation.appearance import perceptual_hash, sharpness, sketch
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


def test_a_flat_picture_has_no_edges_and_the_level_that_it_has():
    assert sharpness(Image.new("RGB", (300, 200), (40, 40, 40))) == (0.0, 40.0)


def test_one_white_point_has_the_laplacian_of_a_point():
    grey = np.zeros((60, 80), np.uint8)
    grey[30, 40] = 100
    edges = np.zeros(60 * 80)
    edges[:5] = -400, 100, 100, 100, 100
    assert sharpness(Image.fromarray(grey)) == (round(edges.var(), 3), round(100 / 4800, 3))


@pytest.mark.parametrize("seed", range(3))
def test_the_more_a_picture_is_blurred_the_less_sharp_it_is_whatever_its_size(seed):
    blocks = np.random.default_rng(seed).integers(0, 2, (16, 16), dtype=np.uint8) * 255
    picture = Image.fromarray(np.kron(blocks, np.ones((30, 30), np.uint8)))
    blurred = [sharpness(picture.filter(ImageFilter.GaussianBlur(radius)))[0] for radius in (0, 4, 8, 16)]
    assert blurred == sorted(blurred, reverse=True)
    assert blurred[0] > 2 * blurred[-1]
    half = sharpness(picture.resize((240, 240), Image.Resampling.BOX))[0]
    assert half == pytest.approx(blurred[0], rel=0.3)
