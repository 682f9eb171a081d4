"""Whatever is read, and however broken: kept + rejected = read, by kind and source, row by row."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_corpora import png, write

from pipeline.curation.ledger import Ledger
from pipeline.curation.select import check_captions, select
from pipeline.schema import Reason, Split
from pipeline.sources import Caption, Sample

SOURCES = ("mscoco", "flickr30k", "conceptual_captions")
IMAGES = ("0", "1", "2", "3", "4", "truncated", "not a picture", "gone", "never downloaded")
"""0 to 4 are good pictures; two rows with the same one are copies of each other."""

ROWS = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.sampled_from(IMAGES),
        st.sampled_from([None, None, None, "val", "test"]),
        st.lists(st.sampled_from(["a dog", "two cats", "", " . "]), max_size=3),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(5):
        write(folder / str(number), png(number))
    write(folder / "truncated", png(9)[:45])
    write(folder / "not a picture", b"404")
    return folder


def samples(folder, rows):
    for i, (source, image, evaluation, texts) in enumerate(rows):
        path = None if image == "never downloaded" else folder / image
        captions = tuple(Caption(text, f"{i}/{k}") for k, text in enumerate(texts))
        yield Sample(f"{source}-{i}", source, str(i), path, captions, evaluation=evaluation)


@settings(deadline=None, max_examples=150)
@given(
    rows=ROWS,
    quota=st.integers(1, 4),
    test=st.dictionaries(st.sampled_from(SOURCES), st.sampled_from([0.2, 0.8])),
    seed=st.integers(0, 3),
)
def test_every_row_is_kept_or_rejected_once(folder, rows, quota, test, seed):
    ledger = Ledger()
    read = list(samples(folder, rows))
    by_source = {source: [] for source in SOURCES}
    for sample in read:
        ledger.saw(sample)
        by_source[sample.source].append(check_captions(sample, ledger))
    kept = select(
        by_source, quota=dict.fromkeys(SOURCES, quota), test=test, validation=0.4, seed=seed, workers=2, ledger=ledger
    )
    counts = ledger.balance(k.sample for k in kept)

    images = Counter(k.sample.key for k in kept) + Counter(r.key for r in ledger.rejected if r.kind == "image")
    assert images == Counter(s.key for s in read)
    places = Counter(c.place for k in kept for c in k.sample.captions)
    places += Counter(r.place for r in ledger.rejected if r.kind == "caption")
    assert places == Counter(c.place for s in read for c in s.captions)
    for source in {s.source for s in read}:
        own = [s for s in read if s.source == source]
        assert counts["image"][source]["read"] == len(own)
        assert counts["image"][source]["kept"] == sum(k.sample.source == source for k in kept)
        assert counts["caption"][source]["read"] == sum(len(s.captions) for s in own)

    assert len({k.image.sha256 for k in kept}) == len(kept)
    assert all(k.sample.path.name in IMAGES[:5] and k.sample.captions for k in kept)
    assert all(c.text in ("a dog", "two cats") for k in kept for c in k.sample.captions)
    trained = [k for k in kept if k.split is not Split.TEST]
    evaluated = {s.path for s in read if s.evaluation}
    assert not any(k.sample.path in evaluated for k in trained)
    assert all(sum(k.sample.source == source for k in trained) <= quota for source in SOURCES)
    assert {r.reason for r in ledger.rejected} <= set(Reason)
