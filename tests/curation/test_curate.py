import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_corpora import coco, flickr, png

from pipeline import sources
from pipeline.artifacts import shards
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import MANIFEST, REJECTED, Split
from pipeline.artifacts.tables import ContractError
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import EmptySplit, ImageChanged, curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.errors import InputError

COCO = range(1, 31)
"""Ids of MSCOCO's images; 30 of them, of which 2 are Karpathy's."""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    coco(folder / "mscoco", {i: [f"number {i}", "a café"] for i in COCO}, karpathy={1: "test", 2: "val"}, missing=[3])
    lines = [b"%d.jpg#0\ta dog" % n for n in range(100, 110)]
    lines += [b"100.jpg#1\t . ", b"100.jpg#2\t\xff", b"no tab"]
    pictures = {f"{n}.jpg": png(n) for n in range(100, 110)}
    pictures["109.jpg"] = png(1)  # a test image of MSCOCO
    flickr(folder / "flickr30k", lines, pictures=pictures, karpathy={"100.jpg": "test", "101.jpg": "test"})
    return folder


def run(corpora, out, *, workers=2, samples_per_shard=5, **changes):
    default = {
        "quota": {"mscoco": 20, "flickr30k": 20}, "test": {"flickr30k": "karpathy"}, "validation": 0.3,
        "images": ImageLimits(8, 10**6, 10), "radius": 12, "merge": True, "seed": 17,
    }  # fmt: skip
    return curate(
        corpora, out, Rules(**(default | changes)), CaptionLimits(1, 50), samples_per_shard=samples_per_shard,
        workers=workers,
    )  # fmt: skip


@pytest.fixture(scope="module")
def curated(corpora, tmp_path_factory):
    out = tmp_path_factory.mktemp("curated")
    return out, run(corpora, out)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_counts_add_up_to_what_stands_in_the_files(curated):
    _, counts = curated
    coco_images = counts["image"]["mscoco"]
    assert (coco_images["read"], coco_images["kept"], coco_images["evaluation_image"]) == (30, 20, 2)
    assert counts["caption"]["mscoco"]["read"] == 60
    flickr_captions = counts["caption"]["flickr30k"]
    assert flickr_captions == {
        "read": 13, "kept": 9, "evaluation_copy": 1, "no_words": 1, "not_utf8": 1, "malformed_row": 1,
    }  # fmt: skip
    assert counts["image"]["flickr30k"] == {"read": 10, "kept": 9, "evaluation_copy": 1}
    assert counts["kept"]["test"] == 2
    assert sum(counts["kept"].values()) == 29


def test_every_rejected_row_has_its_place_and_reason(curated):
    out, counts = curated
    table = pq.read_table(out / "rejected.parquet")
    assert table.schema.remove_metadata().equals(REJECTED)
    rows = {(Path(r["place"]).name, r["reason"]) for r in table.to_pylist() if r["source"] == "flickr30k"}
    assert rows == {
        ("results_20130124.token:11", "no_words"),
        ("results_20130124.token:12", "not_utf8"),
        ("results_20130124.token:13", "malformed_row"),
        ("results_20130124.token:10", "evaluation_copy"),
        ("109.jpg", "evaluation_copy"),
    }
    assert table.num_rows == sum(
        n
        for by_source in (counts["image"], counts["caption"])
        for reasons in by_source.values()
        for reason, n in reasons.items()
        if reason not in ("read", "kept")
    )


def test_shards_hold_the_original_bytes_in_the_order_of_the_manifest(curated, corpora):
    out, _ = curated
    manifest = Manifest(out)
    assert pq.read_schema(out / "manifest.parquet").remove_metadata().equals(MANIFEST)
    assert len(manifest) == len(set(manifest.keys)) == 29
    assert [r["split"] for r in manifest.rows] == sorted((r["split"] for r in manifest.rows), key=list(Split).index)
    found = dict(manifest.images("check"))
    assert list(found) == manifest.keys
    for row in manifest.rows:
        assert found[row["key"]] == png(int(row["source_id"]))
        assert (row["width"], row["height"]) == (48, 36)


def test_a_shard_alone_says_what_its_samples_are(curated):
    out, _ = curated
    manifest = Manifest(out, (Split.TRAIN,))
    found = list(shards.read(out / "train"))
    assert [record["captions"] for _, _, record in found] == manifest.captions
    assert [record["source"] for _, _, record in found] == [row["source"] for row in manifest.rows]
    places = [(row["shard"], row["row"]) for row in manifest.rows]
    sizes = [sum(shard == s for shard, _ in places) for s in range(places[-1][0] + 1)]
    assert len(sizes) == -(-len(manifest) // 5)
    assert max(sizes) - min(sizes) <= 1
    assert places == [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]


def test_every_shard_mixes_the_corpora(curated):
    out, _ = curated
    order = [row["source"] for row in Manifest(out, (Split.TRAIN,)).rows]
    assert order not in (sorted(order), sorted(order, reverse=True))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_input_is_the_same_bytes_over_any_number_of_processes(curated, corpora, tmp_path, workers):
    out, _ = curated
    run(corpora, tmp_path / "again", workers=workers)
    assert contents(tmp_path / "again") == contents(out)


def test_a_manifest_of_some_splits_holds_no_others(curated):
    out, _ = curated
    test = Manifest(out, (Split.TEST,))
    assert sorted(test.keys) == ["flickr30k-100", "flickr30k-101"]
    assert [key for key, _ in test.images("check")] == test.keys
    assert test.fingerprint == Manifest(out).fingerprint


@pytest.mark.parametrize(
    ("changes", "split"),
    [
        ({"validation": 1e-12}, "val"),
        ({"validation": 1 - 1e-12}, "train"),
        ({"test": {"mscoco": 1e-12}}, "test"),
    ],
)
def test_an_empty_split_is_an_error_that_names_it(corpora, tmp_path, changes, split):
    with pytest.raises(EmptySplit, match=f"no sample was kept for the {split} split"):
        run(corpora, tmp_path, **changes)
    assert not (tmp_path / "manifest.parquet").exists()


def test_a_corpus_that_is_not_there_is_an_error(corpora, tmp_path):
    with pytest.raises(sources.SourceError, match="conceptual_captions: no folder"):
        run(corpora, tmp_path, quota={"mscoco": 5, "conceptual_captions": 5})


def test_a_caption_that_utf8_cannot_write_does_not_stop_the_run(tmp_path):
    coco(tmp_path / "mscoco", {i: ["a dog \ud83d", "a dog"] for i in COCO})
    run(tmp_path, tmp_path / "out", quota={"mscoco": 50}, test={"mscoco": 0.3})
    assert all(captions == ["a dog"] for captions in Manifest(tmp_path / "out").captions)


def test_a_manifest_that_is_not_there_names_its_stage(tmp_path):
    with pytest.raises(ContractError, match=r"manifest\.parquet does not exist; run: dvc repro curate"):
        Manifest(tmp_path)


def test_shards_of_another_manifest_are_refused_with_both_keys(curated, tmp_path):
    out, _ = curated
    shutil.copytree(out, tmp_path / "copy")
    samples = [shards.record(key, "png", data, captions=["a"]) for key, data, _ in shards.read(out / "test")]
    shards.write(tmp_path / "copy" / "test", samples[::-1], per_shard=5)
    manifest = Manifest(tmp_path / "copy", (Split.TEST,))
    with pytest.raises(ContractError, match=r"holds .* where the manifest has") as caught:
        list(manifest.images("check"))
    assert all(key in str(caught.value) for key in manifest.keys)


def test_a_shard_that_is_too_short_is_refused(curated, tmp_path):
    out, _ = curated
    shutil.copytree(out, tmp_path / "copy")
    samples = [shards.record(key, "png", data, captions=["a"]) for key, data, _ in shards.read(out / "test")]
    shards.write(tmp_path / "copy" / "test", samples[:1], per_shard=5)
    with pytest.raises(ContractError, match="holds None where the manifest has"):
        list(Manifest(tmp_path / "copy", (Split.TEST,)).images("check"))


def copied(curated, tmp_path, change):
    """A manifest of the train split whose shards hold `change` of their samples."""
    folder = tmp_path / "copy"
    shutil.copytree(curated[0], folder)
    for path in sorted((folder / "train").iterdir()):
        samples = change(list(shards.read_one(path)))
        shards.write_one(path, [shards.record(key, "png", data, captions=["a"]) for key, data, _ in samples])
    return Manifest(folder, (Split.TRAIN,))


@pytest.mark.parametrize("splits", [tuple(Split), (Split.TRAIN,), (Split.TEST, Split.VAL)])
def test_an_image_read_by_itself_is_that_of_the_whole_reading(curated, splits):
    manifest = Manifest(curated[0], splits)
    wanted = [data for _, data in manifest.images("check")]
    rows = np.random.default_rng(0).permutation(len(manifest))
    assert len(rows) == len(wanted)
    assert [manifest.image(int(row)) for row in rows] == [wanted[row] for row in rows]


def test_an_image_is_found_by_its_key_wherever_in_the_shard_it_is(curated, tmp_path):
    manifest = copied(curated, tmp_path, lambda samples: samples[::-1])
    assert [manifest.image(i) for i in range(len(manifest))] == [
        data for _, data in Manifest(curated[0], (Split.TRAIN,)).images("check")
    ]


def test_an_image_of_other_bytes_is_refused_with_both_hashes(curated, tmp_path):
    manifest = copied(curated, tmp_path, lambda samples: [(key, data + b"!", record) for key, data, record in samples])
    with pytest.raises(ContractError, match=r"000000\.tar: the image of .* has sha256 .*, the manifest has") as caught:
        manifest.image(1)
    assert manifest.keys[1] in str(caught.value)
    assert manifest.rows[1]["image_sha256"] in str(caught.value)


def test_an_image_that_its_shard_does_not_hold_is_named_with_it(curated, tmp_path):
    manifest = copied(curated, tmp_path, lambda samples: samples[:-1])
    with pytest.raises(
        ContractError, match=r"train/000000\.tar has no image of .*; run: dvc repro -sf curate"
    ) as caught:
        manifest.image(0)
    places = [(row["shard"], row["row"]) for row in manifest.rows]
    last = max(row for shard, row in places if shard == 0)
    assert f"no image of {manifest.keys[places.index((0, last))]};" in str(caught.value)


def test_an_image_of_a_shard_that_is_cut_while_it_is_read_is_refused(curated, tmp_path):
    manifest = copied(curated, tmp_path, lambda samples: samples)
    manifest.image(0)
    path = manifest.folder / "train/000000.tar"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ContractError, match="has sha256"):
        manifest.image(0)


def test_damage_in_a_shard_is_named(curated, tmp_path):
    manifest = copied(curated, tmp_path, lambda samples: samples)
    path = manifest.folder / "train/000000.tar"
    places = list(shards.places(path))
    data = bytearray(path.read_bytes())
    data[places[1][1] - 512 : places[1][1]] = b"x" * 512  # the header of the second image
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"000000\.tar is damaged or cut short at byte {places[1][1] - 512}"):
        manifest.image(0)


def test_an_image_of_a_shard_that_is_gone_names_the_stage(curated, tmp_path):
    manifest = copied(curated, tmp_path, lambda samples: samples)
    (manifest.folder / "train/000000.tar").unlink()
    with pytest.raises(InputError, match=r"there is no shard .*000000\.tar; run the stage that writes it"):
        manifest.image(0)


def test_shards_of_an_earlier_larger_run_are_removed(curated, corpora, tmp_path):
    run(corpora, tmp_path, samples_per_shard=1)
    run(corpora, tmp_path)
    assert contents(tmp_path) == contents(curated[0])


def test_captions_say_where_they_were_read(curated):
    row = next(r for r in Manifest(curated[0]).rows if r["key"] == "flickr30k-100")
    assert list(zip(row["captions"], row["caption_origins"], strict=True)) == [
        ("a dog", "flickr30k:results_20130124.token:1")
    ]


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(png(77)), Path.unlink], ids=["other", "gone"])
def test_an_image_that_changes_while_curate_runs_stops_it(corpora, tmp_path, monkeypatch, change):
    from pipeline.curation import curate as library

    raw = tmp_path / "raw"
    shutil.copytree(corpora, raw)
    original = library.select

    def select_and_change(*arguments):
        original(*arguments)
        for path in (raw / "mscoco/train2017").iterdir():
            change(path)

    monkeypatch.setattr(library, "select", select_and_change)
    with pytest.raises(ImageChanged, match=r"curate began"):
        run(raw, tmp_path / "out")
    assert not (tmp_path / "out/manifest.parquet").exists()


def test_nothing_is_left_beside_the_output(curated):
    out, _ = curated
    assert sorted(p.name for p in out.iterdir()) == [
        "card", "columns", "manifest.parquet", "rejected.parquet", "test", "train", "val",
    ]  # fmt: skip


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from pipeline.curation import curate as library
from test_curate import run

original, written = library._record, itertools.count(1)

def record_or_die(kept):
    if next(written) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(kept)

library._record = record_or_die
run(Path(sys.argv[1]), Path(sys.argv[2]), workers=1)
"""


@pytest.mark.parametrize("at", [1, 4, 13, 29])
def test_a_run_that_was_killed_leaves_nothing_that_a_second_run_minds(curated, corpora, tmp_path, at):
    command = [sys.executable, "-c", KILLED, str(corpora), str(tmp_path), str(at)]
    paths = os.pathsep.join(str(p) for p in (Path(__file__).parent, Path(__file__).parents[1], Path.cwd()))
    victim = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    assert not (tmp_path / "manifest.parquet").exists()
    assert contents(tmp_path), "it was killed on the way"
    run(corpora, tmp_path)
    assert contents(tmp_path) == contents(curated[0])
