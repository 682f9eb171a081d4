"""Whatever kind a dataset is written as, the same samples come of it; and whatever breaks, every row is counted."""

import json
from functools import cache

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_kinds import BY_ID, BY_URL, KINDS, written

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Reason
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.intake import take
from pipeline.curation.ledger import Ledger
from pipeline.curation.select import PUBLISHED, Rules
from pipeline.sources import SourceError, read

CAPTIONS = {i: [f"a dog, number {i}", 'a "big" dog'][: 1 + i % 2] for i in range(1, 13)}


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Takes a form to the folder of what was curated from it, always under the same name."""

    @cache
    def run(form):
        folder = tmp_path_factory.mktemp(form)
        source = written(folder / "raw", form, CAPTIONS)
        rules = Rules({"mine": 100}, {"mine": 0.4}, 0.4, ImageLimits(8, 10**6, 10), 4, True, 3, {"mine": source.kind})
        limits = CaptionLimits(1, 50)
        curate(folder, folder / "out", rules, limits, samples_per_shard=4, workers=1, given={"mine": source})
        return folder / "out"

    return run


def samples(folder):
    """What was kept, by image: size, captions and hash, which no kind may change."""
    names = ("width", "height", "phash", "captions")
    return {row["image_sha256"]: [row[name] for name in names] for row in Manifest(folder).rows}


@pytest.mark.parametrize("form", KINDS)
def test_a_dataset_gives_the_same_samples_in_every_kind(curated, form):
    found = samples(curated(form))
    assert len(found) == 12
    assert found == samples(curated("csv"))


@pytest.mark.parametrize("form", BY_ID)
def test_where_ids_are_equal_manifest_and_shards_are(curated, form):
    here, there = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.tar")}
        for folder in (curated(form), curated("csv"))
    )
    assert len(here) >= 3
    assert here == there
    manifests = [pq.read_table(curated(each) / "manifest.parquet") for each in (form, "csv")]
    assert manifests[0].drop_columns("caption_origins") == manifests[1].drop_columns("caption_origins")


def test_where_urls_are_equal_ids_are(curated):
    ids = [{row["source_id"].removeprefix("cc-") for row in Manifest(curated(form)).rows} for form in BY_URL]
    assert ids == ids[:1] * len(BY_URL)


def test_a_split_of_its_own_is_tested_on_and_never_trains(tmp_path):
    source = written(tmp_path / "raw", "csv", CAPTIONS)
    path = tmp_path / "raw/captions.csv"
    header, *lines = path.read_text(encoding="utf-8-sig").splitlines()
    splits = {1: "test", 2: "test", 3: "validation"}
    rows = [f"{line},{splits.get(int(line.partition('.')[0]), 'train')}" for line in lines]
    path.write_text("\n".join([f"{header},split", *rows]))
    rules = Rules({"mine": 100}, {"mine": PUBLISHED}, 0.4, ImageLimits(8, 10**6, 10), 4, True, 3, {"mine": "table"})
    limits = CaptionLimits(1, 50)
    curate(tmp_path, tmp_path / "out", rules, limits, samples_per_shard=9, workers=1, given={"mine": source})
    found = {row["source_id"]: row["split"] for row in Manifest(tmp_path / "out").rows}
    assert {int(name) for name, split in found.items() if split == "test"} == {1, 2}
    assert {int(name) for name in found} == CAPTIONS.keys() - {3}


def damaged(data, draw):
    """Bytes with something done to them that happens to files."""
    how = draw(st.sampled_from(["cut", "flip", "repeat", "insert", "mark", "empty"]))
    at = draw(st.integers(0, len(data)))
    end = min(len(data), at + draw(st.integers(1, 60)))
    return {
        "cut": data[:at],
        "flip": data[:at] + bytes(byte ^ 0x5A for byte in data[at:end]) + data[end:],
        "repeat": data[:end] + data[at:end] + data[end:],
        "insert": data[:at] + draw(st.sampled_from(PIECES)) + data[at:],
        "mark": b"\xff\xfe" + data,
        "empty": b"",
    }[how]


PIECES = [
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b'"',
    b"\n",
    b",",
    b"\t",
    b"[[",
    b"null",
    b'{"text": ["a", [1, {}]]}\n',
    b"\\ud83d",
]


@pytest.mark.parametrize("form", KINDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(data=st.data())
def test_every_row_of_a_damaged_source_is_accounted_for(tmp_path_factory, form, data):
    folder = tmp_path_factory.mktemp(form)
    source = written(folder / "raw", form, {i: CAPTIONS[i] for i in (1, 2, 3)})
    paths = sorted(path for path in (folder / "raw").rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(paths), max_size=2, unique=True)):
        path.write_bytes(damaged(path.read_bytes(), data.draw))
    for path in data.draw(st.lists(st.sampled_from(paths), max_size=1)):
        path.unlink()
    with Ledger(folder / "ledger", folder) as ledger:
        try:
            take(ledger, "mine", read(source), CaptionLimits(1, 50))
        except SourceError as error:
            assert str(folder) in str(error)
            return
        ledger.reject_rest("mine", Reason.OVER_QUOTA, "")
        counts = ledger.balance()
        rejected = list(ledger.rejected())
    for kind, by_source in counts.items():
        read_rows = sum(numbers["read"] for numbers in by_source.values())
        assert read_rows == sum(row["kind"] == kind for row in rejected)
    json.dumps(rejected).encode()
