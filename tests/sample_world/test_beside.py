"""Side files of the sample world: none unless they are asked for, and each of them can be curated."""

import json

import pytest
from small_world import IMAGES, SOURCES, TEST, contents

from pipeline import sources
from pipeline.artifacts import catalog
from pipeline.artifacts.columns import says_something, texts
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.sample_world import corpora

FILES = {name: [f"{name}.jsonl"] for name in ("rewrites", "negatives", "boxes")}
UNCAPTIONED = 12


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    out = tmp_path_factory.mktemp("described")
    corpora.build(out, images=IMAGES, test=TEST, seed=17, workers=1, side_files=True, uncaptioned=UNCAPTIONED)
    return out


def test_all_else_is_the_same_bytes(small_world, described):
    plain, more = contents(small_world[0]), contents(described)
    assert {name: more[name] for name in plain} == plain
    new = {name.partition("/")[2].partition("/")[0] for name in more.keys() - plain.keys()}
    assert new == {"rewrites.jsonl", "negatives.jsonl", "boxes.jsonl", "negatives", "annotations", "unlabeled2017"}


def test_a_rewrite_has_the_words_of_its_caption_and_a_negative_others(described):
    for source in SOURCES:
        captions = {}
        for row in sources.read(sources.Source(source, described / source)):
            if isinstance(row, sources.Caption) and isinstance(row.text, str | bytes):
                text = row.text if isinstance(row.text, str) else row.text.decode(errors="replace")
                captions.setdefault(row.id, []).append(text)
        for line in (described / source / "negatives.jsonl").read_text().splitlines():
            record = json.loads(line)
            assert record["negatives"][0] not in captions[record["key"].removeprefix(f"{source}-")]


def test_it_is_curated_whole(described, tmp_path):
    rules = Rules(
        dict.fromkeys(SOURCES, 100), {"flickr30k": "karpathy"}, 0.2, ImageLimits(32, 10**7, 4), radius=12, merge=True,
        seed=1, uncaptioned=frozenset(["mscoco"]),
    )  # fmt: skip
    given = {name: sources.Source(name, described / name, beside=FILES) for name in SOURCES}
    counts = curate(described, tmp_path, rules, CaptionLimits(2, 100), samples_per_shard=500, workers=1, given=given)
    training = Manifest(tmp_path, (Split.TRAIN,))
    assert training.captions.count([]) == UNCAPTIONED
    for kind in ("rewrite", "negative", "box"):
        for source in SOURCES:
            found = counts[kind][source]
            assert found["kept"] > 0 and found["read"] == sum(found.values()) - found["read"]
            assert not found.keys() & {"malformed_row", "short_caption"}
    rewrites = [text for own in texts(catalog.REWRITES, training) for text in own]
    assert 0 < sum(not says_something(text) for text in rewrites) < 0.1 * len(rewrites)
    assert sum(map(bool, texts(catalog.NEGATIVES, training))) == len(training.captioned)
