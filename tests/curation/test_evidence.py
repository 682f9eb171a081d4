"""A curation that fails, or of which a corpus yields nothing, leaves its evidence and says why."""

import logging
import os
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_corpora import coco, conceptual, flickr, png

from pipeline.artifacts import shards
from pipeline.artifacts.workspace import Workspace
from pipeline.curation import curate as library
from pipeline.curation import looking
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import EmptySplit, ImageChanged, curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.machine.processes import WorkerKilled
from pipeline.report import data_card
from pipeline.sources import SourceError


def run(folder, *, workers=1, **changes):
    default = {
        "quota": {"mscoco": 50, "flickr30k": 40}, "test": {"mscoco": 0.3}, "validation": 0.3,
        "images": ImageLimits(8, 10**6, 10), "radius": 12, "merge": True, "seed": 17,
    }  # fmt: skip
    return curate(
        folder,
        folder / "curate",
        Rules(**(default | changes)),
        CaptionLimits(1, 50),
        samples_per_shard=5,
        workers=workers,
    )


def rejected(folder):
    rows = pq.read_table(folder / "curate/rejected.parquet").to_pylist()
    return Counter((row["source"], row["kind"], row["reason"]) for row in rows)


@pytest.fixture
def folder(tmp_path):
    """Thirty good images of one corpus; of the other four without a file, two broken, and a line that is none."""
    coco(tmp_path / "mscoco", {i: [f"number {i}", "  "] for i in range(1, 31)})
    lines = [b"%d.jpg#0\ta dog" % n for n in range(100, 106)] + [b"no tab"]
    flickr(tmp_path / "flickr30k", lines, pictures={"104.jpg": b"404", "105.jpg": b"404"})
    return tmp_path


def test_a_corpus_that_yields_nothing_is_named_with_its_commonest_reasons(folder, caplog):
    with caplog.at_level(logging.WARNING):
        run(folder)
    (told,) = [record.getMessage() for record in caplog.records]
    assert re.match(r"of flickr30k \(images: 6 read, 0 kept, 4 missing_image, 2 not_an_image; captions: 7 read", told)
    assert "quota asks for 40" in told
    assert "rejected.parquet" in told
    assert (folder / "curate/manifest.parquet").is_file()


def test_a_corpus_of_which_only_test_images_are_kept_yields_nothing_to_train_on(tmp_path, caplog):
    coco(tmp_path / "mscoco", {i: [f"number {i}"] for i in range(1, 31)})
    pictures = {f"{n}.jpg": png(n) for n in range(100, 104)}
    lines = [b"%d.jpg#0\ta dog" % n for n in range(100, 104)]
    flickr(tmp_path / "flickr30k", lines, pictures=pictures, karpathy=dict.fromkeys(pictures, "test"))
    with caplog.at_level(logging.WARNING):
        run(tmp_path, test={"flickr30k": "karpathy"})
    (told,) = [record.getMessage() for record in caplog.records]
    assert "of flickr30k (images: 4 read, 4 kept" in told


def test_a_corpus_that_yields_something_is_not_named(tmp_path, caplog):
    coco(tmp_path / "mscoco", {i: [f"number {i}"] for i in range(1, 31)})
    with caplog.at_level(logging.WARNING):
        run(tmp_path, quota={"mscoco": 20})
    assert not caplog.records


def test_a_corpus_without_a_row_is_named_too(tmp_path, caplog):
    coco(tmp_path / "mscoco", {i: [f"number {i}"] for i in range(1, 31)})
    flickr(tmp_path / "flickr30k", [], pictures={})
    with caplog.at_level(logging.WARNING):
        run(tmp_path)
    assert "of flickr30k (images: 0 read, 0 kept; captions: 0 read, 0 kept)" in caplog.text


def test_an_empty_split_leaves_every_reason_and_a_card_and_says_the_commonest(folder):
    with pytest.raises(
        EmptySplit, match=r"train split of flickr30k \(images: 6 read, 0 kept, 4 missing_image"
    ) as caught:
        run(folder, quota={"flickr30k": 40}, test={})
    assert "rejected.parquet" in str(caught.value)
    assert rejected(folder) == {
        ("flickr30k", "image", "missing_image"): 4, ("flickr30k", "image", "not_an_image"): 2,
        ("flickr30k", "caption", "missing_image"): 4, ("flickr30k", "caption", "not_an_image"): 2,
        ("flickr30k", "caption", "malformed_row"): 1,
    }  # fmt: skip
    data_card.write(Workspace(folder))
    assert "missing_image" in (folder / "curate/card/README.md").read_text()
    assert not (folder / "curate/manifest.parquet").exists()


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def changed(shard):
    raise ImageChanged("changed")


def full(path, records):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("place", "name", "failing", "workers", "error", "decided"),
    [
        (looking, "_inspect_all", die, 2, WorkerKilled, False),
        (library, "_write", die, 2, WorkerKilled, True),
        (library, "_write", changed, 1, ImageChanged, True),
        (shards, "write_one", full, 1, OSError, True),
    ],
    ids=["killed while looking", "killed while writing", "changed", "disk full"],
)
def test_whatever_fails_after_rows_were_read_what_is_known_is_left(
    folder, monkeypatch, place, name, failing, workers, error, decided
):
    monkeypatch.setattr(place, name, failing)
    with pytest.raises(error):
        run(folder, workers=workers)
    assert rejected(folder)["mscoco", "caption", "empty_caption"] == 30
    assert (rejected(folder)["flickr30k", "image", "missing_image"] == 4) is decided
    assert (folder / "curate/card/facts.json").is_file() is decided
    assert not (folder / "curate/manifest.parquet").exists()


def test_a_corpus_that_is_missing_leaves_what_is_known_of_those_before_it(folder):
    shutil.rmtree(folder / "flickr30k")
    with pytest.raises(SourceError):
        run(folder)
    assert rejected(folder) == {("mscoco", "caption", "empty_caption"): 30}


def test_evidence_of_an_earlier_run_is_not_taken_for_this_one(folder):
    run(folder)
    shutil.rmtree(folder / "mscoco")
    with pytest.raises(SourceError):
        run(folder)
    assert not rejected(folder)


def test_a_stage_that_fails_writes_its_card_and_ends_with_the_sentence(tmp_path, monkeypatch):
    import yaml

    from pipeline.artifacts.code_dependencies import ROOT
    from pipeline.params import Params
    from stages.curate import curate as stage

    conceptual(tmp_path / "conceptual_captions", {f"http://a/{n}": (b"a dog", None) for n in range(3)})
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["sources"] |= {
        "path": str(tmp_path), "of": {"conceptual_captions": {"kind": "conceptual_captions", "quota": 5}}
    }  # fmt: skip
    content["curate"] |= {"test": {"conceptual_captions": 0.5}}
    with pytest.raises(EmptySplit, match="3 missing_image"):
        stage.work(Params.model_validate(content), Workspace(tmp_path / "data"))
    assert "missing_image" in Path(tmp_path / "data/curate/card/README.md").read_text()
