"""Both parsers on a hundred real captions whose phrases were judged by hand.

judged_phrases.json names captions (file, row, sha256), drawn with a seed, and the phrases that are right in them; it
holds no words. A phrase is bad that cuts a noun phrase or joins two, holds a verb, is a pronoun or no noun phrase at
all ("front" of "in front of").
"""

import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.spans.phrases import Rules, load_parser

REAL = os.environ.get("DCLIP_REAL_DATA")
JUDGED = json.loads((Path(__file__).parent / "judged_phrases.json").read_text())

pytestmark = pytest.mark.skipif(not REAL, reason="DCLIP_REAL_DATA names no folder with real captions")


@pytest.fixture(scope="module")
def captions():
    annotations = json.loads((Path(REAL) / "mscoco/annotations/captions_train2017.json").read_text())["annotations"]
    flickr = (Path(REAL) / "flickr/results.token").read_text().splitlines()
    conceptual = (Path(REAL) / "conceptual_captions/Validation_GCC.tsv").read_text().splitlines()
    texts = {
        "mscoco/annotations/captions_train2017.json": [a["caption"] for a in annotations],
        "flickr/results.token": [line.split("\t")[1] for line in flickr],
        "conceptual_captions/Validation_GCC.tsv": [line.split("\t")[0] for line in conceptual],
    }
    chosen = [texts[one["file"]][one["row"]] for one in JUDGED]
    assert [hashlib.sha256(text.encode()).hexdigest()[:16] for text in chosen] == [one["sha256"] for one in JUDGED]
    return chosen


def share_of_bad_phrases(parser, captions):
    """Of the phrases that are found; and the share of those judged right that are found."""
    found = [{(span.start, span.end) for span in spans} for spans in parser(captions)]
    right = [set(map(tuple, one["phrases"])) for one in JUDGED]
    bad = [captions[i][slice(*span)] for i in range(len(found)) for span in sorted(found[i] - right[i])]
    count = sum(map(len, found))
    print(f"{parser.name}: {len(bad)} of {count} phrases are bad: {bad}")
    return len(bad) / count, sum(len(f & r) for f, r in zip(found, right, strict=True)) / sum(map(len, right))


def test_of_the_rules_phrases_at_most_8_in_100_are_bad(captions):
    bad, found = share_of_bad_phrases(Rules(), captions)
    assert bad <= 0.08
    assert found >= 0.9


def test_of_spacys_phrases_at_most_8_in_100_are_bad(captions):
    bad, found = share_of_bad_phrases(load_parser(str(Path(REAL) / "en_core_web_sm")), captions)
    assert bad <= 0.08
    assert found >= 0.9
