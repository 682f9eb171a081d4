import json

import numpy as np
import pytest
from PIL import Image
from tiny_manifest import png
from tiny_models import COMPUTE, picture, tiny_clip

from pipeline.artifacts.tables import ContractError
from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import encode
from pipeline.errors import InputError
from pipeline.search.engine import Search
from pipeline.search.index import RetrievalIndex
from pipeline.search.vectors import Kind

KEYS = [f"mscoco-{i}" for i in range(8)]
TEXTS = [[f"an image of number {i}", f"{i} <again>"] for i in range(8)]


def indexed(clip, count=8, kind=None):
    to_pixels = clip.pixels()
    rows = [encode.images(clip, [to_pixels(picture(seed))], COMPUTE).numpy()[0] for seed in range(count)]
    images = np.array(rows, np.float32).reshape(count, clip.dimension)
    captions = encode.texts(clip, [text for texts in TEXTS[:count] for text in texts], COMPUTE).numpy()
    return RetrievalIndex.of(
        images, captions, KEYS[:count], TEXTS[:count], weights=clip.weights, manifest="m", kind=kind
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("search")
    clip = tiny_clip()
    clip.save(made / "student")
    indexed(clip).save(made / "faiss")
    return made


@pytest.fixture(scope="module")
def search(folder):
    return Search(folder / "student", folder / "faiss")


@pytest.mark.parametrize("seed", range(8))
def test_a_picture_finds_itself_first(search, seed):
    hits = search.image(png(picture(seed)), 3)
    assert hits[0].key == KEYS[seed]
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert len(hits) == 3


def test_a_picture_of_another_format_and_mode_is_taken(search, tmp_path):
    picture(2).convert("RGBA").save(tmp_path / "x.webp", lossless=True)
    assert search.image((tmp_path / "x.webp").read_bytes(), 1)[0].key == KEYS[2]


def test_a_text_finds_pictures_by_the_cosine_of_its_own_vector(search):
    query = encode.texts(tiny_clip(), ["a red star"], COMPUTE).numpy()[0]
    cosines = search.index.vectors()[0] @ query
    hits = search.text("a red star", 8)
    assert [hit.key for hit in hits] == [KEYS[i] for i in np.argsort(-cosines)]
    assert [hit.similarity for hit in hits] == pytest.approx(sorted(cosines, reverse=True), abs=1e-5)


def test_a_text_that_a_caption_says_is_found_by_its_own_vector(tmp_path):
    clip = tiny_clip()
    clip.save(tmp_path / "student")
    rows = encode.texts(clip, [texts[0] for texts in TEXTS], COMPUTE).numpy()
    RetrievalIndex.of(rows, rows, KEYS, [t[:1] for t in TEXTS], weights=clip.weights, manifest="m").save(tmp_path / "i")
    searching = Search(tmp_path / "student", tmp_path / "i")
    for key, texts in zip(KEYS, TEXTS, strict=True):
        assert searching.text(texts[0], 1)[0].key == key


@pytest.mark.parametrize("query", ["漢字 é 🌟", "word " * 400, "<b>&'\"", "\x00", "?"])
def test_any_text_that_is_not_empty_is_an_answer(search, query):
    assert len(search.text(query, 3)) == 3


@pytest.mark.parametrize("query", ["", "  ", "\n\t", "\u3000"])
def test_an_empty_text_is_refused(search, query):
    with pytest.raises(InputError, match="the query is empty"):
        search.text(query, 3)


def broken():
    whole = png(picture(0))
    return {"nothing": b"", "text": b"no image", "half": whole[: len(whole) // 2], "svg": b"<svg/>"}


@pytest.mark.parametrize("what", broken())
def test_bytes_that_are_no_picture_are_refused(search, what):
    with pytest.raises(InputError, match=r"the query is no image \(.+\)"):
        search.image(broken()[what], 3)


def test_what_is_told_is_json_in_order(search):
    hits = search.text("number 3", 4)
    told = search.told(hits)
    assert json.loads(json.dumps(told)) == told
    assert [row["rank"] for row in told] == [1, 2, 3, 4]
    assert [row["key"] for row in told] == [hit.key for hit in hits]
    assert [row["captions"] for row in told] == [TEXTS[KEYS.index(hit.key)] for hit in hits]
    similarities = [row["similarity"] for row in told]
    assert similarities == sorted(similarities, reverse=True)
    assert set(told[0]) == {"rank", "key", "similarity", "captions"}
    assert search.told([]) == []


def test_more_than_there_are_gives_all(search):
    assert {hit.key for hit in search.text("a star", 100)} == set(KEYS)


@pytest.mark.parametrize("kind", [Kind("ivf", nlist=2, nprobe=2), Kind("hnsw")], ids=lambda kind: kind.name)
def test_an_approximate_index_is_searched(folder, tmp_path, kind):
    indexed(tiny_clip(), kind=kind).save(tmp_path / "faiss")
    assert Search(folder / "student", tmp_path / "faiss").image(png(picture(5)), 1)[0].key == KEYS[5]


def test_an_empty_index_is_refused(folder, tmp_path):
    indexed(tiny_clip(), count=0).save(tmp_path / "faiss")
    with pytest.raises(InputError, match="holds no image; run: dvc repro index"):
        Search(folder / "student", tmp_path / "faiss")


def test_an_index_of_other_weights_is_refused(folder, tmp_path):
    other = tiny_clip(seed=1)
    other.save(tmp_path / "student")
    with pytest.raises(ContractError, match=rf"{tiny_clip().weights[:12]}.*{other.weights[:12]}.*dvc repro index"):
        Search(tmp_path / "student", folder / "faiss")


def test_no_student_and_no_index_are_named(folder, tmp_path):
    with pytest.raises(WrongWeights, match=r"nobody has no open_clip_config\.json"):
        Search(tmp_path / "nobody", folder / "faiss")
    with pytest.raises(ContractError, match="no index in"):
        Search(folder / "student", tmp_path / "nothing")


def test_a_text_that_is_no_unicode_is_refused(search):
    with pytest.raises(InputError, match="is no valid text; expected UTF-8"):
        search.text("caf\udce9", 3)


def test_a_picture_too_long_and_thin_is_refused_before_it_is_enlarged(search):
    with pytest.raises(InputError, match="20000 x 1: more than 200 times as long as wide"):
        search.image(png(Image.new("L", (20_000, 1))), 3)
