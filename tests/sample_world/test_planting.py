"""What planted.json claims of the smallest sample world, checked by opening the files."""

import io
import string
from collections import Counter

import ftfy
import numpy as np
import pytest
from PIL import Image, ImageOps
from small_world import CAPTIONS, IMAGES, PAIRS, SOURCES, captions, image_paths, splits, texts

from pipeline.sample_world import corpora
from pipeline.sample_world.items import random_items
from pipeline.sample_world.rendering import DrawnImage, encode

BROKEN = (
    "unreadable_image", "missing_image", "empty_file", "not_an_image", "oversized_image", "small_image",
    "extreme_shape", "animated_image",
)  # fmt: skip
ODD = ("grey", "cmyk", "palette", "grey16", "exif", "transparent")
EVERYWHERE = {*BROKEN, *ODD, *PAIRS, *CAPTIONS}
ABSENT = {"mscoco": {"not_utf8", "malformed_row"}, "flickr30k": set(), "conceptual_captions": set()}


def keys(own):
    """Every key in which something was planted: of pairs both."""
    single = [key for name in (*BROKEN, *ODD, "evaluation_image") for key in own.get(name, [])]
    return single + [key for name in PAIRS for pair in own[name] for key in pair]


def pairs(small_world, name):
    paths = image_paths(small_world[0])
    return [(paths[a], paths[b]) for own in small_world[1].values() for a, b in own[name]]


def difference(a, b):
    """Mean difference of two images in grey levels, seen small so that a shift of a pixel or two hardly counts."""
    small = []
    for path in (a, b):
        with Image.open(path) as image:
            small.append(np.asarray(image.convert("RGB").resize((24, 24), Image.Resampling.BOX), dtype=float))
    return np.abs(small[0] - small[1]).mean()


@pytest.mark.parametrize("source", SOURCES)
def test_everything_is_planted_in_every_corpus(small_world, source):
    expected = EVERYWHERE - ABSENT[source] | ({"evaluation_image"} if source != "conceptual_captions" else set())
    own = small_world[1][source]
    assert set(own) == expected
    assert all(own.values())


def test_no_image_is_planted_twice_but_as_an_evaluation_image_and_its_copies(small_world):
    folder, planted = small_world
    counts = Counter(key for own in planted.values() for key in keys(own))
    evaluation = splits(folder)
    assert {key for key, count in counts.items() if count > 1} <= set(evaluation)
    copies = [key for own in planted.values() for pair in own["evaluation_copy"] for key in pair]
    assert max(Counter(copies).values()) == 1


def test_an_image_with_a_faulty_caption_is_whole_and_has_one_of_them(small_world):
    folder, planted = small_world
    for source, own in planted.items():
        places = [
            p if isinstance(p, str) else p[0] for name in set(CAPTIONS) - {"malformed_row"} for p in own.get(name, [])
        ]
        faulty = [texts(folder)[source][place][0] for place in places]
        assert len(faulty) == len(set(faulty))
        assert not set(faulty) & {key for other in planted.values() for key in keys(other)}


@pytest.mark.parametrize("source", SOURCES)
def test_two_thirds_of_the_smallest_corpus_can_be_used(small_world, source):
    own = small_world[1][source]
    lost = sum(len(own.get(name, [])) for name in (*BROKEN, "evaluation_image", *PAIRS[:3]))
    assert lost <= IMAGES[source] / 3


def test_ordinary_images_are_plain_and_untouched_by_the_planting(small_world):
    folder, planted = small_world
    special = {key for own in planted.values() for key in keys(own)}
    items = random_items(17, "mscoco", IMAGES["mscoco"], lambda i: f"{7 * i + 9:012d}")
    ordinary = [item for item in items if item.key not in special]
    assert len(ordinary) >= 25
    paths, said = image_paths(folder), captions(folder)
    for item in ordinary:
        assert paths[item.key].read_bytes() == encode(DrawnImage(item.scene))
        assert said[item.key][: len(item.captions)] == [text.encode() for text in item.captions]


def test_broken_images_are_what_they_are_called(small_world):
    folder, planted = small_world
    paths = image_paths(folder)
    for own in planted.values():
        files = {name: [paths[key] for key in own[name]] for name in (*BROKEN, *ODD)}
        assert not any(path.exists() for path in files["missing_image"])
        for path in files["unreadable_image"]:
            with Image.open(path) as image, pytest.raises(OSError, match="truncated"):
                image.load()
        assert all(path.read_bytes() == b"" for path in files["empty_file"])
        assert all(path.read_bytes().startswith(b"<!DOCTYPE html>") for path in files["not_an_image"])
        for path in files["oversized_image"]:
            assert path.stat().st_size < 1000
            with pytest.raises(Image.DecompressionBombError, match="3600000000 pixels"):
                Image.open(path)
        for name, size in (("small_image", (8, 8)), ("extreme_shape", (400, 60))):
            for path in files[name]:
                with Image.open(path) as image:
                    image.load()
                    assert image.size == size
        for path in files["animated_image"]:
            with Image.open(path) as image:
                assert (image.format, image.n_frames, image.size) == ("GIF", 2, (192, 192))
        stored = {"grey": "L", "cmyk": "CMYK", "palette": "P", "grey16": "I;16", "exif": "RGB", "transparent": "RGBA"}
        for name, mode in stored.items():
            for path in files[name]:
                with Image.open(path) as image:
                    image.load()
                    assert (image.mode, image.size, getattr(image, "n_frames", 1)) == (mode, (192, 192), 1)
                    assert image.getexif().get(0x0112) == (6 if name == "exif" else None)


def test_images_stored_on_their_side_are_upright_once_turned(small_world):
    folder, planted = small_world
    items = random_items(17, "mscoco", IMAGES["mscoco"], lambda i: f"{7 * i + 9:012d}")
    for key in planted["mscoco"]["exif"]:
        (item,) = (item for item in items if item.key == key)
        with (
            Image.open(image_paths(folder)[key]) as stored,
            Image.open(io.BytesIO(encode(DrawnImage(item.scene)))) as plain,
        ):
            turned = np.asarray(ImageOps.exif_transpose(stored), dtype=int)
            assert np.abs(turned - np.asarray(plain, dtype=int)).mean() < 3


def test_duplicates_are_the_same_bytes(small_world):
    assert all(a.read_bytes() == b.read_bytes() for a, b in pairs(small_world, "duplicate_image"))


def test_near_duplicates_show_the_same_in_other_bytes(small_world):
    found = pairs(small_world, "near_duplicate")
    for a, b in found:
        assert a.read_bytes() != b.read_bytes()
        assert difference(a, b) < 10
    strangers = [difference(a, b) for (a, _), (_, b) in zip(found, found[1:] + found[:1], strict=True)]
    assert min(strangers) > 15


def test_near_duplicates_lie_within_corpora_and_across_them(small_world):
    found = {source: {a.rpartition("-")[0].removesuffix("-cc") for a, _ in own["near_duplicate"]}
             for source, own in small_world[1].items()}  # fmt: skip
    assert found == {"mscoco": {"mscoco"}, "flickr30k": {"mscoco", "flickr30k"}, "conceptual_captions": set(SOURCES)}


def test_evaluation_copies_hide_in_training_images_as_the_same_bytes_and_altered(small_world):
    folder, planted = small_world
    named, paths = splits(folder), image_paths(folder)
    origins = {"mscoco": {"flickr30k"}, "flickr30k": {"mscoco"}, "conceptual_captions": {"mscoco", "flickr30k"}}
    for source, own in planted.items():
        kinds = set()
        for original, copy in own["evaluation_copy"]:
            assert original in named
            assert copy not in named
            same = paths[original].read_bytes() == paths[copy].read_bytes()
            kinds.add((original.partition("-")[0], same))
            assert difference(paths[original], paths[copy]) < 10
        assert kinds == {(origin, same) for origin in origins[source] for same in (True, False)}


def test_a_copy_is_described_in_other_words(small_world):
    said = captions(small_world[0])
    for own in small_world[1].values():
        for name in ("near_duplicate", "duplicate_image", "evaluation_copy"):
            for original, copy in own[name]:
                assert set(said[copy]) - set(said[original])


def test_twins_differ_in_a_part_of_the_picture_only(small_world):
    for a, b in pairs(small_world, "twins"):
        with Image.open(a) as one, Image.open(b) as other:
            assert one.size == other.size == (192, 192)
            differing = np.any(np.asarray(one) != np.asarray(other), axis=2).mean()
        assert 0.01 < differing < 0.5


@pytest.mark.parametrize("source", SOURCES)
def test_faulty_captions_stand_at_their_places(small_world, source):
    folder, planted = small_world
    own, found = planted[source], texts(folder)[source]
    said = captions(folder)
    text = {name: [found[place][1] for place in own.get(name, [])] for name in CAPTIONS if name != "mojibake"}
    assert all(not t.strip() for t in text["empty_caption"])
    for t in text["not_utf8"]:
        with pytest.raises(UnicodeDecodeError):
            t.decode()
    for place in own.get("malformed_row", []):
        assert found[place][0] is None
    for t in text["no_words"]:
        assert t.strip()
        assert not any(w.isalpha() for w in t.decode().split() if not w.startswith("http"))
    assert all(len(t.split()) == 1 and t.strip(b"!").isalpha() for t in text["short_caption"])
    assert all(len(t.split()) > 100 for t in text["long_caption"])
    for place in own["duplicate_caption"]:
        key, repeated = found[place]
        same = [t for t in said[key] if plain(t) == plain(repeated)]
        assert len(same) == 2
    for place, repaired in own["mojibake"]:
        raw = " ".join(found[place][1].decode().split())
        assert raw != repaired == ftfy.fix_text(raw)


def plain(text):
    return text.decode().casefold().strip(string.whitespace + string.punctuation)


def test_rates_are_about_as_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "render", lambda pictures, what, workers: [b""] * len(pictures))
    planted = corpora.build(
        tmp_path, images={"mscoco": 2000, "flickr30k": 1000, "conceptual_captions": 1000}, test=100, seed=1, workers=1
    )
    counts = {source: {name: len(rows) for name, rows in own.items()} for source, own in planted.items()}
    for source, count in (("mscoco", 2000), ("flickr30k", 1000), ("conceptual_captions", 1000)):
        own = counts[source]
        assert own["unreadable_image"] == 0.01 * count
        assert {own[name] for name in (*BROKEN[2:], *ODD)} == {0.003 * count}
        assert own["twins"] == own["near_duplicate"] == 0.02 * count
        assert {own[name] for name in CAPTIONS[3:]} == {0.005 * count}
    assert counts["conceptual_captions"]["missing_image"] == 50
    assert counts["mscoco"]["evaluation_image"] == 80
    originals = [a for own in planted.values() for a, _ in own["evaluation_copy"]]
    assert len(originals) == len(set(originals)) == 50
