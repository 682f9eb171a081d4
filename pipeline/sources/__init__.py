"""The corpora as they are downloaded; `registry` names them."""

from pipeline.sources.registry import CORPORA, read
from pipeline.sources.rows import (
    Box,
    Caption,
    Corpus,
    File,
    Held,
    Image,
    Negative,
    Rejected,
    Rewrite,
    Row,
    SourceError,
    TooManyBytes,
)

__all__ = ["CORPORA", "Box", "Caption", "Corpus", "File", "Held", "Image"]
__all__ += ["Negative", "Rejected", "Rewrite", "Row", "SourceError", "TooManyBytes", "read"]
