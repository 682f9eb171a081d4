"""The sources as they are downloaded; `registry` names their kinds."""

from pipeline.sources.registry import CORPORA, Source, read, recognised
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
__all__ += ["Negative", "Rejected", "Rewrite", "Row", "Source", "SourceError", "TooManyBytes", "read", "recognised"]
