import logging

import pyarrow.parquet as pq
import pytest
from tiny_corpora import coco

from pipeline.artifacts import tables
from pipeline.artifacts.schema import SIMILARITIES, Split
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.ledger import draw
from pipeline.curation.select import Rules
from pipeline.curation.similarity import Similarity
from pipeline.errors import InputError

SEED, VALIDATION = 17, 0.3


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    coco(folder / "mscoco", {i: [f"number {i} here", f"a café {i}"] for i in range(1, 31)})
    return folder


def run(corpora, out, similarity=None, **changes):
    default = {
        "quota": {"mscoco": 50}, "test": {"mscoco": 0.2}, "validation": VALIDATION, "merge": True, "seed": SEED,
        "images": ImageLimits(8, 10**6, 10), "radius": 12, "similarity": similarity,
    }  # fmt: skip
    limits = CaptionLimits(1, 50)
    return curate(corpora, out, Rules(**(default | changes)), limits, samples_per_shard=50, workers=1)


def rows(out, name="manifest"):
    return pq.read_table(out / f"{name}.parquet").to_pylist()


@pytest.fixture(scope="module")
def first(corpora, tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    run(corpora, out)
    return rows(out)


def value(origin):
    """A similarity that follows from where a caption stands."""
    return draw(0, "similarity", origin) - 0.5


def table(path, manifest, of=value, clips="base,large"):
    found = [
        {
            "key": row["key"], "caption_index": i, "split": row["split"], "origin": origin, "caption": caption,
            "cosines": [of(origin), -of(origin)],
        }
        for row in manifest
        for i, (caption, origin) in enumerate(zip(row["captions"], row["caption_origins"], strict=True))
    ]  # fmt: skip
    tables.write_parquet(path, found, SIMILARITIES, clips=clips)
    return path


def origins(manifest, *splits):
    return {origin for row in manifest if row["split"] in splits for origin in row["caption_origins"]}


def test_the_worst_share_of_what_trains_is_dropped_and_nothing_else(corpora, first, tmp_path):
    path = table(tmp_path / "first.parquet", first)
    counts = run(corpora, tmp_path / "out", Similarity(path, "base", 0.25, -1))
    trains = sorted(origins(first, Split.TRAIN), key=value)
    worst = set(trains[: int(len(trains) * 0.25)])
    second = rows(tmp_path / "out")
    assert origins(second, Split.TRAIN) == set(trains) - worst
    for split in (Split.VAL, Split.TEST):
        assert origins(second, split) == origins(first, split)
    refused = [row for row in rows(tmp_path / "out", "rejected") if row["reason"] == "low_similarity"]
    assert {f"mscoco:{row['place']}" for row in refused} == worst
    assert all("under base, dropped: the worst 25%" in row["detail"] for row in refused)
    captions = counts["caption"]["mscoco"]
    assert captions["low_similarity"] == len(worst)
    assert captions["read"] == sum(count for name, count in captions.items() if name != "read")


def test_what_lies_below_a_threshold_is_dropped_under_the_clip_that_is_named(corpora, first, tmp_path):
    path = table(tmp_path / "first.parquet", first)
    run(corpora, tmp_path / "out", Similarity(path, "large", 0.0, 0.1))
    kept = {origin for origin in origins(first, Split.TRAIN) if -value(origin) >= 0.1}
    assert origins(rows(tmp_path / "out"), Split.TRAIN) == kept


def test_an_image_without_captions_left_is_not_kept(corpora, first, tmp_path):
    path = table(tmp_path / "first.parquet", first, of=lambda _: 0.0)
    key = next(row["key"] for row in first if row["split"] == Split.TRAIN)
    some = [row for row in first if row["key"] == key]
    run(corpora, tmp_path / "out", Similarity(table(path, some, of=lambda _: -0.5), "base", 0.0, 0.0))
    assert key not in {row["key"] for row in rows(tmp_path / "out")}
    (found,) = [row for row in rows(tmp_path / "out", "rejected") if row["key"] == key and row["kind"] == "image"]
    assert found["reason"] == "no_caption"


def test_captions_that_no_table_knows_stay_and_are_counted(corpora, first, tmp_path, caplog):
    half = [row for row in first if row["split"] == Split.TRAIN][:3]
    path = table(tmp_path / "first.parquet", half, of=lambda _: -0.9)
    with caplog.at_level(logging.WARNING):
        run(corpora, tmp_path / "out", Similarity(path, "base", 0.0, 0.0))
    left = origins(first, Split.TRAIN) - origins(half, Split.TRAIN)
    assert origins(rows(tmp_path / "out"), Split.TRAIN) == left
    assert f"{len(left)} of {len(left) + 6} captions" in caplog.text


def test_a_caption_that_says_something_else_now_is_not_known(corpora, first, tmp_path):
    other = [row | {"captions": [f"other {text}" for text in row["captions"]]} for row in first]
    run(
        corpora, tmp_path / "out", Similarity(table(tmp_path / "a.parquet", other, of=lambda _: -0.9), "base", 0.0, 0.0)
    )
    assert origins(rows(tmp_path / "out"), Split.TRAIN) == origins(first, Split.TRAIN)


def test_of_several_passes_the_last_counts_and_what_it_left_out_stays_out(corpora, first, tmp_path):
    folder = tmp_path / "similarity"
    table(folder / "similarities-0001.parquet", first)
    table(folder / "similarities-0002.parquet", first[:4], of=lambda _: 0.9)
    run(corpora, tmp_path / "out", Similarity(folder, "base", 0.0, 0.0))
    above = origins(first[:4], Split.TRAIN) | {o for o in origins(first, Split.TRAIN) if value(o) >= 0}
    assert origins(rows(tmp_path / "out"), Split.TRAIN) == above


def test_validation_images_by_their_draw_keep_their_captions(corpora, first):
    validates = {row["key"] for row in first if draw(SEED, "split", row["key"]) < VALIDATION}
    assert {row["key"] for row in first if row["split"] == Split.VAL} <= validates


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path, first: path, "no table at .* dclip similarities"),
        (lambda path, first: table(path, first, clips="other,large"), "expected some under base"),
        (lambda path, first: path.write_bytes(b"PAR1") and path, "is damaged"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_named(corpora, first, tmp_path, make, told):
    path = make(tmp_path / "first.parquet", first)
    with pytest.raises(InputError, match=told):
        run(corpora, tmp_path / "out", Similarity(path, "base", 0.5, -1))


def test_sharpness_and_brightness_stand_in_the_manifest_and_the_card_shows_the_ends(corpora, first, tmp_path):
    from pipeline.disk import files

    assert all(row["sharpness"] > 0 and 0 < row["brightness"] < 255 for row in first)
    path = table(tmp_path / "first.parquet", first)
    run(corpora, tmp_path / "out", Similarity(path, "base", 0.1, -1))
    card, kept = files.read_json(tmp_path / "out/card/facts.json"), rows(tmp_path / "out")
    for name in ("sharpness", "brightness"):
        values = sorted((row[name], row["key"]) for row in kept)
        shown = card["quality"][name]
        assert shown["ends"]["lowest"][0]["key"] == values[0][1]
        assert shown["ends"]["highest"][0]["value"] == pytest.approx(values[-1][0], abs=0.01)
        assert sum(shown["counts"]["mscoco"]) == len(kept)
        assert (tmp_path / "out/card" / shown["ends"]["lowest"][0]["picture"]).is_file()
    assert sum(card["similarity"]["counts"]["mscoco"]) == sum(len(row["captions"]) for row in kept)
