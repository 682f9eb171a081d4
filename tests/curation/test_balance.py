"""Whatever is read, and however broken: kept + rejected = read, by kind and source, row by row."""

import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_corpora import coco, conceptual, encoded, flickr, picture, png, write

from pipeline.artifacts.schema import Reason, Split
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import EmptySplit, curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.intake import take
from pipeline.curation.ledger import Ledger
from pipeline.curation.select import Rules, select
from pipeline.sources import Caption, File, Image, SourceError

SOURCES = ("mscoco", "flickr30k", "conceptual_captions")
GOOD = ("0", "1", "2", "3", "4", "near 0", "near 1")
"""Two rows with the same image are copies of each other."""
IMAGES = (*GOOD, "truncated", "not an image", "empty", "gone", "never downloaded")
ROWS = st.lists(
    st.tuples(
        st.sampled_from(SOURCES),
        st.integers(0, 12),
        st.sampled_from(IMAGES),
        st.sampled_from([None, None, None, "val", "test"]),
        st.lists(st.sampled_from(["a dog", "A dog.", "two cats", "", " . ", b"caf\xe9 bar", "cat"]), max_size=4),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(5):
        write(folder / str(number), encoded(picture(number, (192, 144))))
    for number in range(2):
        write(folder / f"near {number}", encoded(picture(number, (192, 144)), "JPEG", quality=80))
    write(folder / "truncated", png(9)[:400])
    write(folder / "not an image", b"404")
    write(folder / "empty", b"")
    return folder


def rules(quota, **changes):
    default = {
        "test": {}, "validation": 0.4, "images": ImageLimits(8, 10**6, 10), "radius": 12, "merge": True, "seed": 1,
    }  # fmt: skip
    return Rules(quota, **(default | changes))


@settings(deadline=None, max_examples=150)
@given(
    rows=ROWS,
    quota=st.integers(1, 4),
    test=st.dictionaries(st.sampled_from(SOURCES), st.sampled_from([0.2, 0.8])),
    seed=st.integers(0, 3),
    merge=st.booleans(),
)
def test_every_row_is_kept_or_rejected_once(folder, tmp_path_factory, rows, quota, test, seed, merge):
    read = {source: [] for source in SOURCES}
    for i, (source, name, image, evaluation, texts) in enumerate(rows):
        file = None if image == "never downloaded" else File(str(folder / image))
        read[source].append(Image(str(name), file, url=f"{i}", evaluation=evaluation))
        read[source] += [Caption(str(name), text, f"{i}/{k}") for k, text in enumerate(texts)]
    with Ledger(tmp_path_factory.mktemp("ledger") / "db", folder) as ledger:
        for source in SOURCES:
            take(ledger, source, read[source], CaptionLimits(1, 50))
        wanted = rules(dict.fromkeys(SOURCES, quota), test=test, seed=seed, merge=merge)
        select(ledger, wanted, workers=1)
        counts = ledger.balance()
        kept = [(split, k) for split in Split for k in ledger.kept(split)]
        rejected = list(ledger.rejected())

    for source in SOURCES:
        images = [r for r in read[source] if isinstance(r, Image)]
        outcomes = [k for _, k in kept if k.source == source]
        outcomes += [r for r in rejected if (r["kind"], r["source"]) == ("image", source)]
        assert len(outcomes) == len(images)
        assert counts["image"].get(source, {"read": 0})["read"] == len(images)
    places = Counter(origin.partition(":")[2] for _, k in kept for origin in k.origins)
    places += Counter(r["place"] for r in rejected if r["kind"] == "caption")
    assert places == Counter(r.place for own in read.values() for r in own if isinstance(r, Caption))

    trained = [k for split, k in kept if split is not Split.TEST]
    assert len({k.image.sha256 for k in trained}) == len(trained)
    assert all(k.captions and len(k.captions) == len(k.origins) for _, k in kept)
    assert all(c in ("a dog", "A dog.", "two cats", "cat") for _, k in kept for c in k.captions)
    shows = [k.file.path.rpartition("/")[2].removeprefix("near ") for k in trained]
    assert set(shows) <= set(GOOD)
    assert len(set(shows)) == len(shows), "no image trains twice"
    published = {(source, str(name)) for source, name, _, evaluation, _ in rows if evaluation}
    assert not {(k.source, k.id) for k in trained} & published
    assert all(sum(k.source == source for k in trained) <= quota for source in SOURCES)
    assert {r["reason"] for r in rejected} <= set(Reason)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Three corpora of a dozen images, all of them in order."""
    folder = tmp_path_factory.mktemp("corpora")
    coco(folder / "mscoco", {i: [f"number {i}", "a café"] for i in range(1, 13)}, karpathy={1: "test", 2: "val"})
    names = [f"{n}.jpg" for n in range(100, 112)]
    lines = [f"{name}#{k}\ta dog number {k}".encode() for name in names for k in range(2)]
    pictures = {name: png(100 + i) for i, name in enumerate(names)}
    flickr(folder / "flickr30k", lines, pictures=pictures, karpathy=dict.fromkeys(names[:4], "test"))
    conceptual(folder / "conceptual_captions", {f"http://x/{i}.jpg": (b"a bird", png(200 + i)) for i in range(12)})
    return folder


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_no_damage_to_the_files_crashes_curation_or_loses_a_row(corpora, tmp_path_factory, data):
    damaged = tmp_path_factory.mktemp("damaged")
    shutil.copytree(corpora, damaged / "raw")
    paths = sorted(p for p in (damaged / "raw").rglob("*") if p.is_file())
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=4, unique=True)):
        content = path.read_bytes()
        match data.draw(st.sampled_from(["cut", "insert", "replace", "swap", "empty", "remove"])):
            case "cut":
                path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
            case "insert":
                at = data.draw(st.integers(0, len(content)))
                path.write_bytes(content[:at] + data.draw(st.binary(max_size=30)) + content[at:])
            case "replace":
                at, junk = data.draw(st.integers(0, len(content))), data.draw(st.binary(max_size=30))
                path.write_bytes(content[:at] + junk + content[at + len(junk) :])
            case "swap":
                other = data.draw(st.sampled_from(paths))
                path.write_bytes(other.read_bytes() if other.is_file() else b"")
            case "empty":
                path.write_bytes(b"")
            case "remove":
                path.unlink()
    lines = {
        "flickr30k": damaged / "raw/flickr30k/results_20130124.token",
        "conceptual_captions": damaged / "raw/conceptual_captions/Train_GCC-training.tsv",
    }
    out = damaged / "out"
    wanted = rules(dict.fromkeys(SOURCES, 8), test={"flickr30k": "karpathy"})
    try:
        counts = curate(
            damaged / "raw", out, wanted, CaptionLimits(1, 50), samples_per_shard=5, workers=1
        )  # fmt: skip
    except (SourceError, EmptySplit) as error:
        assert str(error)
        return
    manifest, rejected = (pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("manifest", "rejected"))
    kept = Counter(("image", row["source"]) for row in manifest)
    kept += Counter(("caption", o.partition(":")[0]) for row in manifest for o in row["caption_origins"])
    lost = Counter((row["kind"], row["source"]) for row in rejected)
    for kind, sources in counts.items():
        if kind != "kept":
            for source, numbers in sources.items():
                assert kept[kind, source] == numbers["kept"]
                assert kept[kind, source] + lost[kind, source] == numbers["read"]
    for source, path in lines.items():
        written = [line for line in path.read_bytes().split(b"\n") if line.strip()] if path.is_file() else []
        read = counts["caption"].get(source, {"read": 0})["read"]
        assert read == len(written), "a line was lost"
