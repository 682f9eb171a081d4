"""The corpora as they are downloaded; `registry` names them."""

from pipeline.sources.registry import CORPORA, read
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError, TooManyBytes

__all__ = ["CORPORA", "Caption", "Corpus", "File", "Held", "Image"]
__all__ += ["Rejected", "Row", "SourceError", "TooManyBytes", "read"]
