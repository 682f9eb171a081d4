"""The spans table: phrases and tokens of every caption, as character offsets."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SPANS, SpanKind
from pipeline.artifacts.tables import TableWriter
from pipeline.machine.progress import track
from pipeline.spans.phrases import Parser
from pipeline.spans.tokens import Span, token_spans

CODE = "spans 3"
"""Raised whenever the same caption has other spans."""

ROWS_A_BATCH = 100_000


def phrases_of(text: str, found: list[Span], cap: int) -> list[Span]:
    """The first `cap` of a caption's phrases; a caption in which none was found is one."""
    return found[:cap] or [Span(0, len(text))]


def write(
    parser: Parser, manifest: Manifest, path: Path, metadata: dict[str, Any], *, cap: int, tokens: int
) -> dict[str, float]:
    """Write the spans of every caption of the manifest (`schema.SPANS`); a repeated caption is parsed once.

    A caption has at most `cap` phrases, and as many BPE `tokens` as the text tower reads between start and end; 0 where
    it reads others.

    Returns:
        counts: captions, phrases, tokens, captions without a phrase, captions whose end a text tower that reads BPE
        tokens does not read.
    """
    distinct = list(dict.fromkeys(chain.from_iterable(manifest.captions)))
    phrases = list(track(parser(distinct), "parse captions", len(distinct), "captions"))
    found = {}
    cut = set()
    for text, found_phrases in zip(distinct, phrases, strict=True):
        read = token_spans(text, tokens + 1)
        if len(read) > tokens > 0:
            cut.add(text)
        found[text] = {SpanKind.PHRASES: phrases_of(text, found_phrases, cap), SpanKind.TOKENS: read[:tokens]}
    bare = {text for text, found_phrases in zip(distinct, phrases, strict=True) if not found_phrases}
    counts = {"captions": 0, "phrases": 0, "tokens": 0, "captions_without_phrases": 0, "captions_cut": 0}
    with TableWriter(path, SPANS, metadata) as writer:
        rows: dict[str, list[Any]] = {name: [] for name in SPANS.names}
        for key, texts in zip(manifest.keys, manifest.captions, strict=True):
            for index, text in enumerate(texts):
                counts["captions"] += 1
                counts["captions_without_phrases"] += text in bare
                counts["captions_cut"] += text in cut
                for kind, spans in found[text].items():
                    counts[kind] += len(spans)
                    rows["key"] += [key] * len(spans)
                    rows["caption_index"] += [index] * len(spans)
                    rows["span_index"] += range(len(spans))
                    rows["kind"] += [str(kind)] * len(spans)
                    rows["start"] += [s.start for s in spans]
                    rows["end"] += [s.end for s in spans]
            if len(rows["key"]) >= ROWS_A_BATCH:
                writer.write(rows)
                rows = {name: [] for name in SPANS.names}
        writer.write(rows)
    if cut:
        print(
            f"{counts['captions_cut']:,} of {counts['captions']:,} captions have more than {tokens} tokens; the text "
            "tower does not read their ends",
            file=sys.stderr,
        )
    if tokens == 0:
        del counts["captions_cut"]  # nobody has looked
    return {**counts, "distinct_captions": len(distinct), "phrases_per_caption": counts["phrases"] / counts["captions"]}
