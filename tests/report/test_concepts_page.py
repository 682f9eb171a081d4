import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_manifest import write_manifest
from tiny_models import unit_rows

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import LABELS, Split, embeddings
from pipeline.artifacts.schema import concepts as concepts_schema
from pipeline.artifacts.tables import ContractError, EmbeddingWriter, TableWriter
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.report.concepts import IMAGES_SHOWN, SHOWN, nearest_images, write

HOSTILE = '<script src="https://example.org/x.js">alert(1)</script> & "two" <b>cats</b>'
SAMPLES = {
    Split.TRAIN: {"t-1": ["one", "two"]},
    Split.TEST: {f"m-{i}": [f"{i} a {HOSTILE}", f"{i} b"] for i in range(7)},
}
K = SHOWN + 3
NEAREST = [0, 1, 2, 3, 2, 2, 2, 2, 2, 3, 2, 2, K - 1, 2, 2, 2]
"""Of every caption: concept 2 has captions of all seven images, the last concept, one of the smallest, one."""
SIZES = [3, 2, *range(K + 7, 9, -1)]
"""Of concepts: 2 is the largest, 1 the smallest."""


class Page(HTMLParser):
    """What a browser would fetch or lead to, the tags, and of every card its heading, texts, captions and images."""

    def __init__(self, html):
        super().__init__()
        self.sources, self.links, self.tags, self.cards = [], [], [], []
        self.before, self._within = "", None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._within = tag
        if tag == "section":
            self.cards.append({"h2": "", "p": "", "li": [], "figcaption": [], "img": [], "alt": []})
        if tag == "li":
            self.cards[-1]["li"].append("")
        for name, value in attrs:
            if name == "href":
                self.links.append(value)
            if name in ("src", "xlink:href", "srcset", "data", "action", "poster", "background"):
                self.sources.append(value)
                self.cards[-1]["img"].append(value)
            if name == "alt":
                self.cards[-1]["alt"].append(value)

    def handle_endtag(self, tag):
        self._within = None

    def handle_data(self, data):
        if not self.cards:
            self.before += data
        elif self._within in ("h2", "p"):
            self.cards[-1][self._within] += data
        elif self._within == "li":
            self.cards[-1]["li"][-1] += data
        elif self._within == "figcaption":
            self.cards[-1]["figcaption"].append(data)


def rows_for_pages():
    """Unit vectors of captions, those of concept 2 nearer to its centre the later they stand; and all centres."""
    centres = unit_rows(K, 8, seed=1)
    angle = np.linspace(0.9, 0.1, len(NEAREST))[:, None]
    other = unit_rows(K, 8, seed=2)
    other -= (other * centres).sum(axis=1, keepdims=True) * centres
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return np.cos(angle) * centres[NEAREST] + np.sin(angle) * other[NEAREST], centres


def write_concepts(data, fingerprint):
    rows, centres = rows_for_pages()
    metadata = {"manifest": fingerprint}
    places = [(key, i) for own in SAMPLES.values() for key, texts in own.items() for i in range(len(texts))]
    keys, index = zip(*places, strict=True)
    with EmbeddingWriter(
        data / "concepts/language.arrow", embeddings("caption_index", dimension=8), metadata
    ) as writer:
        writer.write(keys, index, rows)
    with TableWriter(data / "concepts/labels.arrow", LABELS, metadata) as writer:
        writer.write({
            "key": keys, "caption_index": index, "concepts": [[k, (k + 1) % K] for k in NEAREST],
            "shares": [[0.75, 0.25]] * len(NEAREST),
        })  # fmt: skip
    with TableWriter(data / "concepts/concepts.arrow", concepts_schema(8), metadata) as writer:
        writer.write({
            "concept": range(K), "size": SIZES,
            "words": [[] if k == 1 else [f"w{k}", f"<i>{k}</i>"] for k in range(K)],
            "captions": [[f"{k} {HOSTILE}", f"second of {k}"] for k in range(K)], "centre": list(centres),
        })  # fmt: skip


def write_probes(data, enabled=True):
    found = {"enabled": enabled}
    rows = ["concept,captions,base,student"]
    if enabled:
        found |= {"base": {"concepts": {"image": 0.25}}, "student": {"concepts": {"image": 0.375}}}
        rows += ["2,11,0.3000,0.4500", "3,2,0.0000,1.0000", f"{K - 1},1,0.0000,0.0000"]
    files.write_json(data / "probe/metrics.json", found)
    files.write_text(data / "probe/concepts.csv", "\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_concepts(folder, write_manifest(folder / "curate", SAMPLES).fingerprint)
    return folder


def page_of(data, enabled=True):
    write_probes(data, enabled)
    write(data / "page.html", Workspace(data), Manifest(data / "curate", (Split.TEST,)))
    return (data / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(data):
    return page_of(data)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def of(page, number):
    """The card of a concept."""
    (card,) = (card for card in page.cards if card["p"].startswith(f"concept {number},"))
    return card


def test_every_concept_is_there_the_largest_first(page):
    order = [int(card["p"].split(",")[0].removeprefix("concept ")) for card in page.cards]
    assert order == [*range(2, K), 0, 1]
    assert f"{K} concepts of the training captions" in page.before


def test_a_concept_is_told_by_its_size_its_words_and_its_captions(page):
    card = of(page, 7)
    assert card["p"].startswith(f"concept 7, {SIZES[7]} training captions")
    assert card["h2"] == "w7, <i>7</i>"
    assert card["li"] == [f"7 {HOSTILE}", "second of 7"]
    assert of(page, 1)["h2"] == "no word sets it apart"


def test_captions_and_words_are_escaped(page):
    assert not {"script", "b", "i"} & set(page.tags)
    assert of(page, 2)["alt"] == [f"{key.removeprefix('m-')} a {HOSTILE}" for key in of(page, 2)["figcaption"]]


def test_pictures_are_inside_and_no_host_is_asked(html, page):
    assert page.sources and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    for source in page.sources:
        picture = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert picture.size == (48, 40)
    assert page.links == ["index.html"]
    assert not {"script", "iframe", "link", "object", "embed", "base", "form"} & set(page.tags)
    assert "@import" not in html
    assert all(part.startswith(("#", "data:")) for part in html.replace("url('", "url(").split("url(")[1:])


def test_a_concept_shows_the_test_pictures_of_its_captions_nearest_first(page):
    """The later a caption the nearer: images 6, 5, 4 and so on; concept 3 has one caption of 3 and one of 0."""
    assert of(page, 2)["figcaption"] == ["m-6", "m-5", "m-4", "m-3", "m-2"]
    assert of(page, 3)["figcaption"] == ["m-3", "m-0"]
    assert len(of(page, 3)["img"]) == 2
    assert len({source for card in page.cards for source in card["img"]}) == 6, "each image looks its own way"


def test_a_concept_of_no_test_caption_has_no_picture(page):
    assert of(page, 9)["img"] == []


def test_of_the_smallest_concepts_words_and_captions_are_told_without_pictures(page, data):
    """The concept of an image's caption that is not among the largest."""
    small = of(page, K - 1)
    assert page.cards.index(small) == SHOWN
    assert small["img"] == []
    assert small["li"] == [f"{K - 1} {HOSTILE}", f"second of {K - 1}"]


def test_concepts_of_test_captions_have_the_shares_of_both_models(page):
    assert "of 11 test captions 30 % have their image in it under the base, 45 % under the student" in " ".join(
        of(page, 2)["p"].split()
    )
    assert "0 % have their image in it under the base, 100 % under the student" in of(page, 3)["p"]
    assert "test captions" not in of(page, 9)["p"]
    assert "25.0 % have an image that the base puts" in page.before
    assert "37.5 % one that the student does" in page.before


def test_without_probes_concepts_are_told_without_shares(data, page):
    plain = Page(page_of(data, enabled=False))
    assert "the base" not in plain.before
    assert not any("test captions" in card["p"] for card in plain.cards)
    for name in ("h2", "li", "figcaption", "img"):
        assert [card[name] for card in plain.cards] == [card[name] for card in page.cards]


@pytest.mark.parametrize("name", ["concepts", "language", "labels"])
def test_tables_of_another_manifest_are_refused(tmp_path, name):
    manifest = write_manifest(tmp_path / "curate", SAMPLES)
    write_concepts(tmp_path, "another")
    strange = (tmp_path / f"concepts/{name}.arrow").read_bytes()
    write_concepts(tmp_path, manifest.fingerprint)
    (tmp_path / f"concepts/{name}.arrow").write_bytes(strange)
    with pytest.raises(ContractError, match=rf"{name}\.arrow: manifest is 'another'"):
        page_of(tmp_path)
    assert not (tmp_path / "page.html").exists()


# Nearest images


def test_nearest_pictures_by_hand():
    centres = np.eye(3, dtype=np.float32)[:2]
    embeddings = np.float32([[0.6, 0.8, 0], [1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0.8, 0.6, 0], [0, 0.6, 0.8]])
    nearest = np.array([0, 0, 0, 1, 0, 1])
    owner = ["a", "b", "a", "a", "c", "c"]
    # Concept 0: b at 1, a and c at .8, a again at .6. Concept 1: a at 1, c at .6.
    assert nearest_images(embeddings, nearest, centres, owner) == [["b", "a", "c"], ["a", "c"]]


def test_a_caption_counts_for_its_own_concept_even_where_another_is_nearer():
    centres = np.eye(2, dtype=np.float32)
    assert nearest_images(centres[[0, 0]], np.array([1, 1]), centres, ["a", "b"]) == [[], ["a", "b"]]


def test_half_precision_vectors_will_do():
    rows, centres = rows_for_pages()
    nearest, owner = np.array(NEAREST), [str(i // 2) for i in range(len(NEAREST))]
    whole = nearest_images(rows.astype(np.float32), nearest, centres, owner)
    assert nearest_images(rows.astype(np.float16), nearest, centres, owner) == whole


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=30), st.integers(0, 99))
def test_nearest_pictures_are_those_of_plain_search(captions, seed):
    nearest, owner = np.array([k for k, _ in captions]), [f"p{picture}" for _, picture in captions]
    rows, centres = unit_rows(len(captions), 5, seed=seed), unit_rows(4, 5, seed=seed + 100)
    found = nearest_images(rows, nearest, centres, owner)
    for k in range(4):
        best = {}
        for row in np.flatnonzero(nearest == k):
            best[owner[row]] = max(best.get(owner[row], -2.0), float(rows[row] @ centres[k]))
        assert found[k] == sorted(best, key=lambda key, best=best: -best[key])[:IMAGES_SHOWN]
