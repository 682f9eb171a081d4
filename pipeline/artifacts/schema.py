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
    LOW_SIMILARITY = "low_similarity"
    """Image and caption are too unlike, as `curate.similarity` asks."""
    DUPLICATE_CAPTION = "duplicate_caption"
    """The image has the same caption already."""
    NOT_UTF8 = "not_utf8"
    MALFORMED_ROW = "malformed_row"
    HELD_OUT = "held_out"
    """A rewrite, a negative or a box of a val or test image: only training has use for them."""


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


_TEXT, _INTEGER, _SCORE = pa.string(), pa.int32(), pa.float32()


def _fields(kind: pa.DataType, names: str) -> list[tuple[str, pa.DataType]]:
    """Columns of one type, by their names in a row."""
    return [(name, kind) for name in names.split()]


MANIFEST = pa.schema(
    [
        *_fields(_TEXT, "key source source_id split"),
        *_fields(_INTEGER, "shard row"),
        ("image_sha256", _TEXT),
        ("phash", pa.uint64()),
        *_fields(_INTEGER, "width height"),
        *_fields(pa.list_(_TEXT), "captions caption_origins"),
        *_fields(_TEXT, "licence url"),
        *_fields(_SCORE, "sharpness brightness"),
    ]
)
"""One row a kept sample, ordered by split, shard, row. Width and height after EXIF rotation. `caption_origins` says of
every caption where it was read, `<source>:<place>`: a merged copy's captions keep their own corpus. `sharpness` is the
variance of the Laplacian at a shorter side of 120 pixels, low where an image is blurred; `brightness` the mean grey
level, 0..255."""

SIMILARITIES = pa.schema(
    [
        ("key", _TEXT),
        ("caption_index", _INTEGER),
        *_fields(_TEXT, "split origin caption"),
        ("cosines", pa.list_(_SCORE)),
    ]
)
"""One row a caption of a kept sample, in manifest order: its origin, and the cosine of its embedding and its image's
under the base and every teacher, whose names stand in the metadata, `clips`, with commas between."""
CLIPS = "clips"

REJECTED = pa.schema(_fields(_TEXT, "kind key source place reason detail"))
"""One row for every image (kind `image`) and caption (kind `caption`), and of side files every `rewrite`, `negative`
and `box`, that was read and not kept."""

_ORIGIN = _fields(_TEXT, "origin")
REWRITES = pa.schema([*_fields(_TEXT, "key text"), *_ORIGIN])
"""One row a rewrite of a training image's captions, in manifest order; one of a word or none stands for a caption of
its image. `origin` is `<source>:<place>`, as of captions."""

NEGATIVES = pa.schema([*_fields(_TEXT, "key text"), ("image", pa.binary()), *_ORIGIN])
"""One row a caption that is wrong for a training image; `image`: the bytes of one that it is right for, or null."""

GIVEN_BOXES = pa.schema([("key", _TEXT), ("box", pa.list_(_SCORE, 4)), ("score", _SCORE), ("phrase", _TEXT), *_ORIGIN])
"""One row a box of a training image, [x0, y0, x1, y1] in 0..1 of the upright image."""

_BOX = [("box", pa.list_(_SCORE, 4)), ("score", _SCORE), ("class_name", _TEXT)]
REGIONS = pa.schema([("key", _TEXT), ("region_index", _INTEGER), *_BOX, ("crop", pa.binary())])
"""Region 0 of every key is the whole image (score 1, class `image`, no crop: it stands in the shard).
Boxes are [x0, y0, x1, y1] in 0..1 of the upright image; `crop` is a JPEG."""

BOXES = pa.schema([field for field in REGIONS if field.name != "crop"])
"""Regions without their crops."""

_PLACE = _fields(_INTEGER, "caption_index span_index")
SPANS = pa.schema([("key", _TEXT), *_PLACE, ("kind", _TEXT), *_fields(_INTEGER, "start end")])
"""Character offsets into the caption; `span_index` counts within one kind. A token's offsets are null where the
tokenizer rewrote the text so that it does not occur in the caption."""


def embeddings(*index: str, dimension: int, name: str = "vector") -> pa.Schema:
    """Schema of an embedding table: key, integer index columns, and a fixed-size float16 list."""
    numbers = ((column, _INTEGER) for column in index)
    return pa.schema([("key", _TEXT), *numbers, (name, pa.list_(pa.float16(), dimension))])


_SHADE = _fields(_SCORE, "brightness contrast saturation")
VIEWS = pa.schema([("key", _TEXT), ("view", _INTEGER), ("box", pa.list_(_SCORE, 4)), ("flip", pa.bool_()), *_SHADE])
"""How a view is made of an image: cut to a box, [x0, y0, x1, y1] in 0..1 of the upright image, then turned left to
right, then its colours changed: factors of brightness, contrast and saturation."""

_LABEL = [("concepts", pa.list_(_INTEGER)), ("shares", pa.list_(_SCORE))]
LABELS = pa.schema([("key", _TEXT), ("caption_index", _INTEGER), *_LABEL])
"""One row a caption: its concepts, the largest share first, and the shares, which sum to 1."""


def concepts(dimension: int) -> pa.Schema:
    """One row a concept; `size` counts the distinct training captions that it is the nearest of."""
    examples = _fields(pa.list_(_TEXT), "words captions")
    return pa.schema([("concept", _INTEGER), ("size", pa.int64()), *examples, ("centre", pa.list_(_SCORE, dimension))])
