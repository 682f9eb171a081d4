"""Altered copies of evaluation images, and copies of copies, do not train; altered copies of other images do."""

import pyarrow.parquet as pq
import pytest
from photographs import ALTERED, cropped, photograph
from PIL import Image
from tiny_corpora import encoded, flickr, write

from pipeline.curation.captions import CaptionLimits
from pipeline.curation.curate import curate
from pipeline.curation.held_out import HeldOut
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.select import Rules
from pipeline.disk import files
from pipeline.sources import File


def jpeg(image):
    return encoded(image, "JPEG", quality=85)


@pytest.fixture
def decide(tmp_path):
    """Splits and reasons by name, details by name, and the card's facts of a corpus with images by name; those of
    `splits` are in its split file."""

    def run(pictures, splits, *, seed=1, quota=100, workers=1, **more):
        corpus, out = tmp_path / "raw", tmp_path / f"out{seed}{workers}"
        if not corpus.exists():
            data = {
                f"{name}.jpg": own if isinstance(own, bytes) else own and jpeg(own) for name, own in pictures.items()
            }
            lines = [f"{name}#0\tcaption of {name}".encode() for name in data]
            flickr(
                corpus / "flickr30k", lines, pictures={n: d for n, d in data.items() if d},
                karpathy={f"{name}.jpg": split for name, split in splits.items()},
            )  # fmt: skip
        rules = Rules({"flickr30k": quota}, {"flickr30k": "karpathy"}, 0.3, ImageLimits(8, 10**7, 10), 12, True, seed)
        curate(corpus, out, rules, CaptionLimits(1, 50), samples_per_shard=50, workers=workers, **more)
        rows = {name: pq.read_table(out / f"{name}.parquet").to_pylist() for name in ("manifest", "rejected")}
        short = {row["key"].removeprefix("flickr30k-"): row["split"] for row in rows["manifest"]}
        lost = [row for row in rows["rejected"] if row["kind"] == "image"]
        reasons = {row["key"].removeprefix("flickr30k-"): row["reason"] for row in lost}
        details = {row["key"].removeprefix("flickr30k-"): row["detail"] for row in lost}
        return {**short, **reasons}, details, files.read_json(out / "card/facts.json")

    return run


OTHERS = {f"other{n}": photograph(500 + n) for n in range(8)}


def test_altered_copies_of_evaluation_images_do_not_train_and_those_of_other_images_do(decide):
    pictures = {"evaluated": photograph(1), "plain": photograph(2), **OTHERS}
    names = {name: name.replace(" ", "").replace(",", "") for name in ALTERED}
    pictures |= {f"e{names[name]}": change(pictures["evaluated"]) for name, change in ALTERED.items()}
    pictures |= {
        "plainmirrored": ALTERED["mirrored"](pictures["plain"]),
        "plaingrey": ALTERED["grey"](pictures["plain"]),
    }
    outcome, details, _ = decide(pictures, {"evaluated": "test"})
    assert outcome["evaluated"] == "test"
    assert {outcome[f"e{name}"] for name in names.values()} == {"evaluation_copy"}
    assert "as flickr30k-evaluated" in details["egrey"]
    assert all(outcome[name] in ("train", "val") for name in ("plain", "plainmirrored", "plaingrey", *OTHERS))


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_copies_do_not_train_whichever_is_drawn_first(decide, seed):
    original = photograph(1, (480, 360))
    chain = {f"copy{n}": cropped(original, *[0.04 * n] * 4) for n in range(1, 8)}
    outcome, _, _ = decide({"evaluated": original, **chain, **OTHERS}, {"evaluated": "test"}, seed=seed)
    assert {name: outcome[name] for name in chain} == dict.fromkeys(chain, "evaluation_copy")


def test_the_end_of_that_chain_alone_is_another_picture(decide):
    original = photograph(1, (480, 360))
    outcome, _, _ = decide(
        {"evaluated": original, "far": cropped(original, *[0.28] * 4), **OTHERS}, {"evaluated": "test"}
    )
    assert outcome["far"] in ("train", "val")


@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_back_makes_room_for_another(decide, seed):
    original = photograph(1, (480, 360))
    chain = {f"copy{n}": cropped(original, *[0.04 * n] * 4) for n in range(1, 8)}
    outcome, _, _ = decide(
        {"evaluated": original, **chain, **OTHERS}, {"evaluated": "test"}, seed=seed, quota=len(OTHERS)
    )
    kept = {name for name, what in outcome.items() if what in ("train", "val")}
    assert len(kept) == len(OTHERS)


def test_pictures_that_are_part_of_no_corpus_are_guarded_and_the_card_says_so(decide, tmp_path):
    shown = write(tmp_path / "zeroshot/test/dog/1.jpg", jpeg(photograph(3)))
    broken = write(tmp_path / "zeroshot/test/dog/2.jpg", b"404")
    held_out = {
        tmp_path / "zeroshot": [HeldOut(f"zero-shot image {p.name}", File(str(p))) for p in (shown, broken)],
        tmp_path / "attributes": [],
    }
    pictures = {
        "evaluated": photograph(1), "bytes": shown.read_bytes(), **OTHERS,
        "mirrored": ALTERED["mirrored"](photograph(3)),
    }  # fmt: skip
    outcome, details, facts = decide(pictures, {"evaluated": "test"}, held_out=held_out)
    assert outcome["bytes"] == outcome["mirrored"] == "evaluation_copy"
    assert "zero-shot image 1.jpg" in details["bytes"]
    assert [(one["pictures"], one["not_seen"]) for one in facts["leak_guard"]["held_out"]] == [(2, 1), (0, 0)]


def test_evaluation_images_of_unknown_look_are_counted_as_not_seen(decide):
    pictures = {
        "seen": photograph(1), "cut": jpeg(photograph(2))[:700], "other": b"a page, not an image", "gone": None,
        "oversized": encoded(Image.new("RGB", (4000, 3000), "teal"), "PNG"), **OTHERS,
    }  # fmt: skip
    splits = dict.fromkeys(("seen", "cut", "other", "gone", "oversized"), "test")
    _, _, facts = decide(pictures, {**splits, "nowhere": "val"})
    assert facts["leak_guard"]["sources"]["flickr30k"]["not_seen"] == 5


def test_the_guard_decides_the_same_with_any_number_of_processes(decide):
    pictures = {"evaluated": photograph(1), "grey": ALTERED["grey"](photograph(1)), **OTHERS}
    pictures |= {f"again{n}": ALTERED["small"](own) for n, own in enumerate(OTHERS.values())}
    results = [decide(pictures, {"evaluated": "test"}, workers=workers) for workers in (1, 3)]
    assert results[0] == results[1]
    assert results[0][0]["grey"] == "evaluation_copy"
