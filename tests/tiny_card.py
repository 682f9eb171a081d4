"""What curation leaves for a data card: two corpora, one copy of an evaluation image."""

from tiny_corpora import encoded, picture

from pipeline.curation.card_content import SIDE_BINS, WORD_BINS
from pipeline.curation.card_quality import BINS, MEASURES
from pipeline.disk import files

HOSTILE = "<script>alert('licence')</script> | `code`"


def facts():
    counts = {"read": 9, "kept": 6, "missing_image": 3}
    splits = {split: {"images": 1234 + i, "captions": 50} for i, split in enumerate(("train", "val", "test"))}
    guard = {
        "test": "published split", "in_corpus": 5, "kept_as_test": 4, "excluded_by_id": 1, "not_seen": 2, "copies": 1,
        "split_file": {"name": "dataset.json", "sha256": "ab" * 32, "images": {"test": 4, "val": 1}},
    }  # fmt: skip
    example = {
        "key": "flickr30k-7", "source": "flickr30k", "detail": "same bytes as mscoco-1", "original_key": "mscoco-1",
        "picture": "examples/a.jpg", "original": "examples/b.jpg",
    }  # fmt: skip
    order = ["mscoco", "flickr30k"]
    about = {"title": "A corpus", "citation": "Someone, 2014", "terms": "as it says", "licences": [[HOSTILE, 6]]}
    return {
        "order": order,
        "counts": {
            "image": {"mscoco": counts, "flickr30k": {"read": 2, "kept": 1, "evaluation_copy": 1}},
            "caption": {"mscoco": {"read": 20, "kept": 19, "no_words": 1}},
        },
        "kept": dict.fromkeys(order, splits),
        "sources": dict.fromkeys(order, about),
        "leak_guard": {
            "sources": {"mscoco": guard, "flickr30k": {**guard, "split_file": None}},
            "held_out": [
                {"folder": "data/zeroshot", "pictures": 40, "not_seen": 3},
                {"folder": "data/attributes", "pictures": 0, "not_seen": 0},
            ],
            "copies": [["flickr30k-7", "same bytes as mscoco-1"]],
            "copies_total": 1,
        },
        "rules": {"seed": 3, "radius": 12, "captions_of_copies": "merged", "merged_captions": 8},
        "caption_words": {source: [0, 1, 5] + [0] * (WORD_BINS - 2) for source in order},
        "captions_cut": dict.fromkeys(order, 0),
        "context": 77,
        "shorter_sides": {source: [0, 0, 7] + [0] * (SIDE_BINS - 3) for source in order},
        "quality": {
            name: {
                "counts": {source: [0, 3, 7] + [0] * (BINS - 3) for source in order},
                "start": 0,
                "step": 1,
                "ends": {
                    "lowest": [{"key": "mscoco-1", "value": 0.5, "picture": "examples/a.jpg"}],
                    "highest": [{"key": "mscoco-9", "value": 7.5}],
                },
            }
            for name in MEASURES
        },
        "similarity": {},
        "examples": {
            "image": {
                "evaluation_copy": [example],
                "missing_image": [{"key": "mscoco-2", "source": "mscoco", "detail": "gone", "original_key": None}],
            },
            "caption": {"no_words": [{"source": "mscoco", "place": "f.json#3", "detail": f"no words in {HOSTILE!r}"}]},
        },
    }


def write_card(folder):
    """facts.json and the images of its examples."""
    files.write_json(folder / "facts.json", facts())
    (folder / "examples").mkdir()
    for name, number in (("a", 1), ("b", 2)):
        (folder / f"examples/{name}.jpg").write_bytes(encoded(picture(number), "JPEG"))
    return folder
