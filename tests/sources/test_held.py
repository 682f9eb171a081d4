"""Every caption that a JSON file holds, in whatever shape, ends as a row: counted by marks, unknown to the readers."""

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import read
from tiny_corpora import write

from pipeline.sources import Caption, Rejected

ODD = st.none() | st.booleans() | st.integers(-1, 10**13) | st.just("") | st.just([]) | st.just({})
TEXTS = st.recursive(st.just("mark"), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=4)
"""A caption, or lists of them."""


def sentences(text):
    one = st.builds(lambda raw, number: {"raw": raw, "sentid": number}, text, ODD)
    some = st.lists(one | st.lists(one, max_size=2) | ODD, max_size=4)
    return some | some.map(lambda found: {str(k): each for k, each in enumerate(found)}) | one


SPLIT_FILES = st.lists(
    st.fixed_dictionaries(
        {"split": st.just("train"), "sentences": sentences(TEXTS)},
        optional={
            "cocoid": st.integers(1, 3) | ODD,
            "filepath": st.just("images") | ODD,
            "filename": st.just("1.jpg") | ODD,
        },
    ),
    max_size=4,
)  # fmt: skip
ANNOTATION = st.fixed_dictionaries({"caption": TEXTS}, optional={"id": ODD, "image_id": st.integers(1, 3) | ODD})
DOWNLOADED = st.fixed_dictionaries({"caption": TEXTS}, optional={"url": st.just("http://x/1") | ODD, "key": ODD})


def check(corpus, folder, content, name):
    """Every mark is in a caption, or there is a rejected caption for it, and no text is read that is not there."""
    data = json.dumps(content).encode()
    write(folder / name, data)
    found = list(read(corpus, folder))
    texts = [row.text for row in found if isinstance(row, Caption)]
    kinds = Counter(row.kind for row in found if isinstance(row, Rejected))
    count = len(re.findall(rb"mark", data))
    read_texts = sum(text == "mark" for text in texts)
    assert read_texts <= count <= read_texts + kinds["caption"]
    assert set(texts) <= {"mark", ""}


@pytest.mark.parametrize("corpus", ["mscoco", "flickr30k"])
@settings(max_examples=60, deadline=None)
@given(content=SPLIT_FILES)
def test_the_sentences_of_a_split_file(tmp_path_factory, corpus, content):
    folder = tmp_path_factory.mktemp(corpus)
    (folder / "images").mkdir()
    content = [*content, {"split": "train", "cocoid": 9, "filepath": "images", "filename": "9.jpg", "sentences": []}]
    check(corpus, folder, {"images": content}, "dataset_coco.json" if corpus == "mscoco" else "dataset_flickr30k.json")


@settings(max_examples=60, deadline=None)
@given(content=st.lists(ANNOTATION | st.lists(ANNOTATION, max_size=2) | ODD, max_size=5))
def test_the_annotations_of_coco(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("coco")
    (folder / "train2017").mkdir()
    check("mscoco", folder, {"images": [], "annotations": content}, "annotations/captions_train2017.json")


@settings(max_examples=60, deadline=None)
@given(content=DOWNLOADED)
def test_the_rows_of_img2dataset(tmp_path_factory, content):
    check("conceptual_captions", tmp_path_factory.mktemp("cc"), content, "00000/000000000.json")
