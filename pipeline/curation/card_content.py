"""What a data card says of a curation: counts, leak guard, duplicates, lengths and sizes, licences, examples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Reason, Split
from pipeline.clip import bpe
from pipeline.curation import card_images, card_quality, similarity
from pipeline.curation.held_out import HeldOut
from pipeline.curation.ledger import Ledger
from pipeline.curation.select import PUBLISHED, Rules
from pipeline.disk import files
from pipeline.sources import CORPORA, Source, karpathy

EXAMPLES = 8
"""How many examples of each reason are shown."""
LEAKS = 200
"""Copies of evaluation images that are listed; all of them stand in rejected.parquet."""
WORD_BINS = 40
"""Captions of as many words and more are counted together."""
SIDE_BIN, SIDE_BINS = 64, 24
"""Shorter sides are counted in steps of 64 pixels; 1,472 and more together."""


def gather(
    ledger: Ledger,
    rules: Rules,
    given: Mapping[str, Source],
    out: Path,
    held_out: Mapping[Path, Sequence[HeldOut]],
    unseen: Sequence[HeldOut],
) -> dict[str, Any]:
    """Everything that the card shows; small images of rejected images are written to `out`/examples.

    Args:
        given: by source, its kind and where it lies; split files are hashed and counted.
        held_out: by folder, guarded images that are no part of a corpus.
        unseen: those of them whose look is unknown.
    """
    sources = list(rules.quota)
    lengths = {source: _lengths(ledger, source) for source in sources}
    return {
        "order": sources,
        "counts": ledger.balance(),
        "kept": _kept(ledger, sources),
        "sources": {source: _source(ledger, source, given[source].kind) for source in sources},
        "leak_guard": {
            "sources": {source: _guard(ledger, source, given[source], rules) for source in sources},
            "held_out": [
                {"folder": folder.as_posix(), "pictures": len(images), "not_seen": len({*images} & {*unseen})}
                for folder, images in held_out.items()
            ],
            "copies": ledger.db.execute(
                "SELECT key, detail FROM images WHERE reason = ? ORDER BY key LIMIT ?", (Reason.EVALUATION_COPY, LEAKS)
            ).fetchall(),
            "copies_total": _count(ledger, "reason = ?", Reason.EVALUATION_COPY),
        },
        "rules": {
            "seed": rules.seed,
            "radius": rules.radius,
            "captions_of_copies": "merged" if rules.merge else "dropped",
            "merged_captions": ledger.db.execute("SELECT count(*) FROM captions WHERE home <> image").fetchone()[0],
        },
        "caption_words": {source: words for source, (words, _) in lengths.items()},
        "captions_cut": {source: cut for source, (_, cut) in lengths.items()},
        "context": bpe.CONTEXT,
        "shorter_sides": {source: _sides(ledger, source) for source in sources},
        "quality": card_quality.gather(ledger, sources, rules.images.max_pixels, out),
        "similarity": similarity.summary(ledger, sources) if rules.similarity else {},
        "examples": {
            "image": _image_examples(ledger, rules.seed, rules.images.max_pixels, out),
            "caption": _caption_examples(ledger, rules.seed),
        },
    }


def _count(ledger: Ledger, where: str, *values: object) -> int:
    return int(ledger.db.execute(f"SELECT count(*) FROM images WHERE {where}", values).fetchone()[0])


def _kept(ledger: Ledger, sources: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Images and captions by the corpus they were read from, and split."""
    found = {source: {split.value: {"images": 0, "captions": 0} for split in Split} for source in sources}
    query = "SELECT source, split, count(*) FROM images WHERE split IS NOT NULL GROUP BY 1, 2"
    for source, split, count in ledger.db.execute(query):
        found[source][split]["images"] = count
    query = (
        "SELECT i.source, h.split, count(*) FROM captions c JOIN images i ON i.number = c.image "
        "JOIN images h ON h.number = c.home WHERE h.split IS NOT NULL GROUP BY 1, 2"
    )
    for source, split, count in ledger.db.execute(query):
        found[source][split]["captions"] = count
    return found


def _source(ledger: Ledger, source: str, kind: str) -> dict[str, Any]:
    corpus = CORPORA[kind]
    licences = ledger.db.execute(
        "SELECT licence, count(*) FROM images WHERE source = ? AND split IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1",
        (source,),
    ).fetchall()
    title = corpus.title if source == kind else f"{source}: {corpus.title}"
    return {"title": title, "citation": corpus.citation, "terms": corpus.terms, "licences": licences}


def _guard(ledger: Ledger, source: str, given: Source, rules: Rules) -> dict[str, Any]:
    """What kept the evaluation images of a corpus, and their copies, out of training."""
    split_file = given.path / CORPORA[given.kind].split_file
    mode = rules.test.get(source)
    splits = karpathy.counts(split_file) if CORPORA[given.kind].split_file and split_file.is_file() else {}
    published = splits.get("val", 0) + splits.get("test", 0)
    found: dict[str, Any] = {
        "test": "published split" if mode == PUBLISHED else f"drawn, {mode:g} of the images" if mode else "none",
        "in_corpus": _count(ledger, "source = ? AND role IS NOT NULL", source),
        "kept_as_test": _count(ledger, "source = ? AND split = ?", source, Split.TEST),
        "excluded_by_id": _count(ledger, "source = ? AND reason = ?", source, Reason.EVALUATION_IMAGE),
        "not_seen": _count(ledger, "source = ? AND role IS NOT NULL AND seen = 0", source)
        + max(0, published - _count(ledger, "source = ? AND evaluation IS NOT NULL", source)),
        "copies": _count(ledger, "source = ? AND reason = ?", source, Reason.EVALUATION_COPY),
        "split_file": None,
    }
    if splits:
        found["split_file"] = {"name": split_file.name, "sha256": files.sha256(split_file), "images": splits}
    return found


def _lengths(ledger: Ledger, source: str) -> tuple[list[int], int]:
    """Captions of a corpus that are kept, by their number of words from 0 to WORD_BINS, and how many CLIP would cut."""
    query = (
        "SELECT text FROM captions c JOIN images i ON i.number = c.image JOIN images h ON h.number = c.home "
        "WHERE i.source = ? AND h.split IS NOT NULL"
    )
    lengths: Counter[int] = Counter()
    cut = 0
    for (text,) in ledger.db.execute(query, (source,)):
        lengths[min(text.count(" ") + 1, WORD_BINS)] += 1
        cut += bpe.exceeds(text)
    return [lengths[n] for n in range(WORD_BINS + 1)], cut


def _sides(ledger: Ledger, source: str) -> list[int]:
    """Kept images of a corpus by their shorter side, in steps of SIDE_BIN pixels."""
    query = (
        "SELECT min(min(width, height) / ?, ?), count(*) FROM images WHERE source = ? AND split IS NOT NULL GROUP BY 1"
    )
    sides = dict(ledger.db.execute(query, (SIDE_BIN, SIDE_BINS - 1, source)).fetchall())
    return [sides.get(n, 0) for n in range(SIDE_BINS)]


def _image_examples(ledger: Ledger, seed: int, max_pixels: int, out: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    query = (
        "SELECT i.key, i.source, i.detail, i.path, i.offset, i.length, o.path, o.offset, o.length, o.key FROM images i "
        "LEFT JOIN images o ON o.number = i.original WHERE i.reason = ? "
        "ORDER BY draw(?, 'example', i.key), i.key LIMIT ?"
    )
    for reason in Reason:
        for place, row in enumerate(ledger.db.execute(query, (reason, seed, EXAMPLES)).fetchall()):
            key, source, detail, *where = row
            example = {"key": key, "source": source, "detail": detail, "original_key": where[6]}
            for name, i in (("picture", 0), ("original", 3)):
                path = f"examples/{reason}-{place}-{name}.jpg"
                if card_images.save((where[i], where[i + 1], where[i + 2]), max_pixels, out, path):
                    example[name] = path
            found.setdefault(reason.value, []).append(example)
    return found


def _caption_examples(ledger: Ledger, seed: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    query = (
        "SELECT source, place, detail FROM refused WHERE kind = 'caption' AND reason = ? "
        "ORDER BY draw(?, 'example', place), place LIMIT ?"
    )
    for reason in Reason:
        rows = ledger.db.execute(query, (reason, seed, EXAMPLES)).fetchall()
        if rows:
            names = ("source", "place", "detail")
            found[reason.value] = [dict(zip(names, row, strict=True)) for row in rows]
    return found
