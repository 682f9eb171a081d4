"""Curation whose images actors have inspected, in this process and block by block: the same files."""

import os
from dataclasses import asdict

import pytest
from tiny_cluster import Here
from tiny_corpora import coco, flickr, png, write

from pipeline.artifacts.schema import Reason
from pipeline.cluster import inspections
from pipeline.cluster.inspections import Foreseen
from pipeline.curation import looking
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageFault, ImageLimits, inspect
from pipeline.curation.select import Rules
from pipeline.sources import File

LIMITS = ImageLimits(8, 10**6, 10)


@pytest.fixture
def corpora(tmp_path):
    folder = tmp_path / "corpora"
    coco(folder / "mscoco", {i: [f"number {i}"] for i in range(1, 31)}, karpathy={1: "test", 2: "val"}, missing=[3])
    write(folder / "mscoco/train2017/000000000004.jpg", png(4)[:300])
    write(folder / "mscoco/train2017/000000000005.jpg", b"no image")
    lines = [b"%d.jpg#0\ta dog" % n for n in range(100, 110)]
    pictures = {f"{n}.jpg": png(n) for n in range(100, 109)} | {"109.jpg": png(1)}
    flickr(folder / "flickr30k", lines, pictures=pictures, karpathy={"100.jpg": "test", "101.jpg": "test"})
    return folder


@pytest.fixture
def looked(monkeypatch):
    """The names of the files that are inspected in this process by the driver."""
    found = []
    monkeypatch.setattr(looking, "inspect", lambda file, limits: found.append(file.name) or inspect(file, limits))
    return found


def run(corpora, out, foresight=None, quota=20):
    rules = Rules(
        {"mscoco": quota, "flickr30k": quota}, {"flickr30k": "karpathy"}, 0.3, LIMITS, 12, merge=True, seed=17
    )
    counts = curate(corpora, out, rules, CaptionLimits(1, 50), samples_per_shard=5, workers=1, foresight=foresight)
    return counts, {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_the_same_files_are_written_and_only_what_actors_could_not_read_is_inspected_here(
    corpora, tmp_path, monkeypatch, looked
):
    alone = run(corpora, tmp_path / "alone")
    count = len(looked)
    looked.clear()
    monkeypatch.setattr(inspections, "BLOCK", 7)
    here = Here(tmp_path / "mine", str(tmp_path / "shared"))
    assert run(corpora, tmp_path / "out", Foreseen(here)) == alone
    assert looked == ["000000000004.jpg"], "the one that is cut short"
    assert sum(here.done.values()) == count - 1

    here.done.clear()
    assert run(corpora, tmp_path / "again", Foreseen(here)) == alone
    assert sum(here.done.values()) == 0


def test_no_more_is_inspected_than_there_is_room_for(corpora, tmp_path, looked):
    alone = run(corpora, tmp_path / "alone", quota=3)
    count = len(looked)
    here = Here(tmp_path / "mine")
    assert run(corpora, tmp_path / "out", Foreseen(here), quota=3) == alone
    assert sum(here.done.values()) <= count


def found(here, files, limits=LIMITS):
    foreseen = Foreseen(here)
    foreseen.expect(files, limits)
    return foreseen.find(files, limits)


def test_what_is_found_is_what_an_inspection_finds(tmp_path):
    good = File(str(write(tmp_path / "a.png", png(1))))
    packed = File(str(write(tmp_path / "b.tar", b"x" * 9 + png(2))), 9, len(png(2)))
    small = File(str(write(tmp_path / "c.png", png(3))))
    here = Here(tmp_path / "mine")
    files = [good, None, packed, good]
    assert found(here, files) == [one and inspect(one, LIMITS) for one in files]
    strict = ImageLimits(**asdict(LIMITS) | {"min_side": 40})
    assert found(here, [small], strict) == [inspect(small, strict)]
    assert found(here, [small], strict)[0].reason == Reason.SMALL_IMAGE


def test_what_another_machine_could_not_find_or_read_is_not_kept(tmp_path, monkeypatch):
    file = File(str(write(tmp_path / "a.png", png(1))))
    fault = ImageFault(Reason.MISSING_IMAGE, "a.png does not exist")
    here = Here(tmp_path / "mine")
    with monkeypatch.context() as patch:
        patch.setattr(inspections, "inspect", lambda file, limits: fault)
        assert found(here, [file, File(str(tmp_path / "none.png"))]) == [None, None]
    assert found(here, [file]) == [inspect(file, LIMITS)]


def test_a_file_that_has_changed_is_inspected_again(tmp_path):
    path = write(tmp_path / "a.png", png(1))
    here = Here(tmp_path / "mine")
    first = found(here, [File(str(path))])
    write(path, png(2))
    os.utime(path, ns=(1, 1))
    assert found(here, [File(str(path))]) == [inspect(File(str(path)), LIMITS)] != first


def test_a_cell_of_a_table_is_told_by_the_table(tmp_path):
    table = write(tmp_path / "a.parquet", b"table")
    foreseen = Foreseen(Here(tmp_path / "mine"))
    cells = [File(f"{table}/image", row) for row in (0, 1)]
    known = [foreseen._key(cell) for cell in cells]
    assert len({*known}) == 2
    os.utime(table, ns=(1, 1))
    assert Foreseen(Here(tmp_path / "mine"))._key(cells[0]) not in (None, *known)
