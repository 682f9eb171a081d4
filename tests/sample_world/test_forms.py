import io

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decoding import UnreadableImage, decode
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.forms import ALTERATIONS, FORMS, MARGIN, Alteration, altered, random_alteration
from pipeline.sample_world.rendering import DrawnImage, encode, render
from pipeline.sample_world.scenes import SIDE, Scene, Thing
from pipeline.sample_world.vocabulary import SHAPES


def scene(shape="circle"):
    return Scene((Thing(shape, "red", "plain", "large", 80.0, 110.0, 34.0, 10.0),), "stone", 7)


def opened(form):
    image = Image.open(io.BytesIO(encode(DrawnImage(scene(), form))))
    image.load()
    return image


@pytest.mark.parametrize(
    ("form", "kind", "mode"),
    [
        ("rgb", "JPEG", "RGB"),
        ("grey", "JPEG", "L"),
        ("cmyk", "JPEG", "CMYK"),
        ("exif", "JPEG", "RGB"),
        ("palette", "GIF", "P"),
        ("grey16", "PNG", "I;16"),
        ("transparent", "PNG", "RGBA"),
    ],
)
def test_a_form_is_how_the_file_is_stored(form, kind, mode):
    image = opened(form)
    assert (image.format, image.mode, image.size, getattr(image, "n_frames", 1)) == (kind, mode, (SIDE, SIDE), 1)


@pytest.mark.parametrize("form", ["cmyk", "exif", "palette", "transparent"])
def test_an_odd_form_shows_the_scene(form):
    picture = np.asarray(decode(encode(DrawnImage(scene(), form))), dtype=int)
    inner = slice(MARGIN, SIDE - MARGIN)
    assert np.abs(picture - np.asarray(draw(scene()), dtype=int))[inner, inner].mean() < 6


def test_sixteen_bit_grey_has_more_than_eight_bits():
    shades = np.asarray(opened("grey16"))
    assert shades.dtype == np.uint16
    assert np.array_equal(shades // 257, np.asarray(draw(scene()).convert("L")))


def test_a_transparent_margin_surrounds_an_opaque_picture():
    alpha = np.asarray(opened("transparent"))[..., 3]
    assert alpha[MARGIN:-MARGIN, MARGIN:-MARGIN].min() == 255
    assert alpha.sum() == 255 * (SIDE - 2 * MARGIN) ** 2


def test_an_animation_has_two_different_frames():
    with Image.open(io.BytesIO(encode(DrawnImage(scene(), "animated_image")))) as image:
        assert image.n_frames == 2
        frames = []
        for k in range(2):
            image.seek(k)
            frames.append(image.convert("RGB").tobytes())
    assert frames[0] != frames[1]


@pytest.mark.parametrize("form", ["unreadable_image", "empty_file", "not_an_image", "oversized_image"])
def test_a_broken_file_cannot_be_decoded(form):
    with pytest.raises(UnreadableImage):
        decode(encode(DrawnImage(scene(), form)))


def test_a_form_without_a_file_is_no_form():
    assert "missing_image" not in FORMS


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_a_near_copy_shows_the_same_in_other_bytes(kind):
    rng = np.random.default_rng(4)
    plain = encode(DrawnImage(scene()))
    for _ in range(8):
        how = random_alteration(rng, kind)
        data = encode(DrawnImage(scene(), alteration=how))
        assert data != plain
        left, top, right, bottom = how.cut
        original = decode(plain).crop((left, top, SIDE - right, SIDE - bottom))
        copy = decode(data)
        assert copy.size == how.size
        difference = np.asarray(copy.resize(original.size), dtype=int) - np.asarray(original, dtype=int)
        assert np.abs(difference).mean() < 7


def test_alterations_are_as_strong_as_they_should_be():
    rng = np.random.default_rng(4)
    found = {kind: [random_alteration(rng, kind) for _ in range(60)] for kind in ALTERATIONS}
    plain = Alteration()
    for kind, own in found.items():
        assert all((a.quality != plain.quality) == (kind in ("recompressed", "everything")) for a in own)
        assert all((a.factor != plain.factor) == (kind in ("resized", "everything")) for a in own)
        assert all((a.cut != plain.cut) == (kind in ("cropped", "everything")) for a in own)
    everything = found["everything"]
    assert 40 <= min(a.quality for a in everything) < 45 < 75 < max(a.quality for a in everything) <= 80
    assert 0.5 <= min(a.factor for a in everything) < 0.6 < 1.4 < max(a.factor for a in everything) <= 1.5
    assert {side for a in everything for side in a.cut} == {1, 2, 3, 4, 5}


def test_quality_is_that_of_the_file():
    sizes = [len(altered(draw(scene()), Alteration(quality=quality))) for quality in (40, 60, 80)]
    assert sizes == sorted(sizes)


def test_a_box_moves_with_the_cut_and_the_size():
    how = Alteration(factor=0.5, cut=(2, 4, 0, 0))
    assert how.size == (95, 94)
    assert how.box((0.0, 24.0, 42.0, 192.0)) == pytest.approx((0, 10, 20, 94))


def test_a_box_lies_where_the_thing_is_in_the_copy():
    how = Alteration(factor=1.25, cut=(5, 1, 3, 2))
    with_thing, without = (decode(altered(draw(s), how)) for s in (scene("square"), Scene((), "stone", 7)))
    far = np.abs(np.asarray(with_thing, dtype=int) - np.asarray(without, dtype=int)).max(axis=2) > 60
    rows, columns = np.flatnonzero(far.any(axis=1)), np.flatnonzero(far.any(axis=0))
    x0, y0, x1, y1 = how.box(scene("square").things[0].box)
    assert x0 - 3 <= columns[0] < columns[-1] <= x1 + 3
    assert y0 - 3 <= rows[0] < rows[-1] <= y1 + 3
    assert columns[-1] - columns[0] > 0.7 * (x1 - x0)


def test_pictures_are_rendered_in_order():
    pictures = [DrawnImage(scene(shape)) for shape in SHAPES[:3]]
    assert list(render(pictures, "draw", workers=1)) == [encode(p) for p in pictures]
