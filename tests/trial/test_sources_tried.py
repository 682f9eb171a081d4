import hashlib
from itertools import islice

import pytest
from tiny_corpora import coco, png, write

from pipeline import sources
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.ledger import draw
from pipeline.curation.select import Rules
from pipeline.sources import Source
from pipeline.trial.sources import try_source

IDS = range(1, 31)
LIMITS = CaptionLimits(2, 50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 images: 1 and 2 are Karpathy's, 3 is missing, 4 broken, 5 has no caption that can be used."""
    path = tmp_path_factory.mktemp("corpora") / "mscoco"
    texts = {i: ["a small dog", f"number {i} here"] for i in IDS} | {5: ["dog"]}
    coco(path, texts, karpathy={1: "test", 2: "val"}, missing=[3])
    write(path / "train2017" / f"{4:012d}.jpg", png(4)[:-300])
    return path


def rules(**changes):
    default = {
        "quota": {"mine": 12}, "test": {"mine": "karpathy"}, "validation": 0.1, "images": ImageLimits(8, 10**6, 10),
        "radius": 12, "merge": True, "seed": 3, "kinds": {"mine": "mscoco"},
    }  # fmt: skip
    return Rules(**(default | changes))


def tried(folder, images=100, most_rows=10**6, **changes):
    given = Source("mscoco", folder)
    return try_source("mine", given, rules(**changes), LIMITS, images=images, most_rows=most_rows)


def test_rows_images_and_reasons_are_counted(folder):
    found = tried(folder)
    assert found.complete and found.rows == 30 + 59
    assert (found.images, found.files, found.captions) == (30, 29, 59)
    assert (found.pool, found.test, found.evaluation) == (28, 1, 1)
    assert found.published == {"test": 1, "val": 1}
    assert found.lost == {"caption": {"short_caption": 1}}
    assert found.inspected == 28
    assert found.faults == {"missing_image": 1, "unreadable_image": 1, "no_caption": 1}
    assert len(found.usable) == 25
    assert "000000000003.jpg" in found.examples["missing_image"]


def test_the_images_are_those_that_curation_draws_first(folder):
    found = tried(folder, images=10)
    keys = sorted((f"mine-{i:012d}" for i in IDS if i > 2), key=lambda key: draw(3, "quota", key))
    assert found.inspected == 10
    names = {image.file.name for image in found.usable}
    assert names <= {f"{key.removeprefix('mine-')}.jpg" for key in keys[:10]}


def test_its_reasons_are_those_of_curation(folder, tmp_path):
    found = tried(folder)
    whole = curate(
        folder.parent, tmp_path, rules(quota={"mine": 30}), LIMITS, samples_per_shard=50, workers=1,
        given={"mine": Source("mscoco", folder)},
    )["image"]["mine"]  # fmt: skip
    for reason, count in found.faults.items():
        assert whole[reason] == count


def test_only_so_many_rows_are_read(folder):
    found = tried(folder, most_rows=40)
    assert found.rows == 40 and not found.complete
    assert tried(folder, most_rows=89).complete


def test_no_more_is_taken_of_a_reader_than_was_asked_for(folder, monkeypatch):
    taken = []
    read = sources.read

    def counting(*given):
        for row in read(*given):
            taken.append(row)
            yield row

    monkeypatch.setattr(sources, "read", counting)
    tried(folder, most_rows=10)
    assert len(taken) == 11


def test_nothing_is_written_beside_the_source(folder):
    def state():
        files = (path for path in folder.parent.rglob("*") if path.is_file())
        return {path: hashlib.sha256(path.read_bytes()).digest() for path in islice(files, 100)}

    before = state()
    tried(folder)
    assert state() == before


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(sources.SourceError, match="mine: no folder"):
        tried(tmp_path / "nowhere")
