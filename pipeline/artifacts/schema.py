"""The contract between stages: keys, Arrow schemas, and the closed sets of splits, reasons and span kinds."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

import pyarrow as pa


class Split(StrEnum):
    """Where a kept sample goes."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Reason(StrEnum):
    """Why a row is not kept: the closed set of rejected.parquet. The captions of a rejected image have its reason."""

    MISSING_IMAGE = "missing_image"
    EMPTY_FILE = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    UNREADABLE_IMAGE = "unreadable_image"
    """Truncated or damaged, or in samples that are not read."""
    OVERSIZED_IMAGE = "oversized_image"
    """More bytes, or more pixels in its header, than would be decoded."""
    COSTLY_IMAGE = "costly_image"
    """So many scans, chunks or strips that decoding it would take far longer than its size explains."""
    SMALL_IMAGE = "small_image"
    EXTREME_SHAPE = "extreme_shape"
    ANIMATED_IMAGE = "animated_image"
    DUPLICATE_IMAGE = "duplicate_image"
    """The same bytes, or the same id, as another."""
    NEAR_DUPLICATE = "near_duplicate"
    """The same image as another: compressed again, resized, or cropped a little."""
    EVALUATION_IMAGE = "evaluation_image"
    """A published split names its id for evaluation."""
    EVALUATION_COPY = "evaluation_copy"
    """The same bytes or the same image as an evaluation image, in whatever corpus."""
    OVER_QUOTA = "over_quota"
    NO_CAPTION = "no_caption"
    EMPTY_CAPTION = "empty_caption"
    NO_WORDS = "no_words"
    """Nothing but addresses, digits and punctuation."""
    SHORT_CAPTION = "short_caption"
    LONG_CAPTION = "long_caption"
    DUPLICATE_CAPTION = "duplicate_caption"
    """The image has the same caption already."""
    NOT_UTF8 = "not_utf8"
    MALFORMED_ROW = "malformed_row"


class SpanKind(StrEnum):
    """`phrases`: noun phrases, encoded as text of their own. `tokens`: CLIP's BPE tokens, encoded in context."""

    PHRASES = "phrases"
    TOKENS = "tokens"


_SAFE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def make_key(source: str, source_id: str) -> str:
    """`<source>-<id>`: unique, and safe as a file name and as a WebDataset `__key__` (no dot, no slash).

    An id with other characters is replaced by 16 hex digits of its sha256, so that every id has a key.
    """
    if not _SAFE_KEY.fullmatch(source_id):
        source_id = hashlib.sha256(source_id.encode()).hexdigest()[:16]
    return f"{source}-{source_id}"


MANIFEST = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.string()),
        ("source_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("image_sha256", pa.string()),
        ("phash", pa.uint64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("captions", pa.list_(pa.string())),
        ("caption_origins", pa.list_(pa.string())),
        ("licence", pa.string()),
        ("url", pa.string()),
    ]
)
"""One row a kept sample, ordered by split, shard, row. Width and height after EXIF rotation. `caption_origins` says of
every caption where it was read, `<source>:<place>`: a merged copy's captions keep their own corpus."""

REJECTED = pa.schema(
    [
        ("kind", pa.string()),
        ("key", pa.string()),
        ("source", pa.string()),
        ("place", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""One row for every image (kind `image`) and caption (kind `caption`) that was read and not kept."""

REGIONS = pa.schema(
    [
        ("key", pa.string()),
        ("region_index", pa.int32()),
        ("box", pa.list_(pa.float32(), 4)),
        ("score", pa.float32()),
        ("class_name", pa.string()),
        ("crop", pa.binary()),
    ]
)
"""Region 0 of every key is the whole image (score 1, class `image`, no crop: it stands in the shard).
Boxes are [x0, y0, x1, y1] in 0..1 of the upright image; `crop` is a JPEG."""

BOXES = pa.schema([field for field in REGIONS if field.name != "crop"])
"""Regions without their crops."""

SPANS = pa.schema(
    [
        ("key", pa.string()),
        ("caption_index", pa.int32()),
        ("span_index", pa.int32()),
        ("kind", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ]
)
"""Character offsets into the caption; `span_index` counts within one kind. A token's offsets are null where the
tokenizer rewrote the text so that it does not occur in the caption."""


def embeddings(*index: str, dimension: int, name: str = "vector") -> pa.Schema:
    """Schema of an embedding table: key, integer index columns, and a fixed-size float16 list."""
    return pa.schema(
        [("key", pa.string()), *((i, pa.int32()) for i in index), (name, pa.list_(pa.float16(), dimension))]
    )


LABELS = pa.schema(
    [
        ("key", pa.string()),
        ("caption_index", pa.int32()),
        ("concepts", pa.list_(pa.int32())),
        ("shares", pa.list_(pa.float32())),
    ]
)
"""One row a caption: its concepts, the largest share first, and the shares, which sum to 1."""


def concepts(dimension: int) -> pa.Schema:
    """One row a concept; `size` counts the distinct training captions that it is the nearest of."""
    return pa.schema(
        [
            ("concept", pa.int32()),
            ("size", pa.int64()),
            ("words", pa.list_(pa.string())),
            ("captions", pa.list_(pa.string())),
            ("centre", pa.list_(pa.float32(), dimension)),
        ]
    )
