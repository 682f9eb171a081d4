"""The corpora as they are downloaded; `registry` names them."""

from pipeline.sources.registry import CORPORA, Source, read
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError, TooManyBytes

__all__ = ["CORPORA", "Caption", "Corpus", "File", "Held", "Image"]
__all__ += ["Rejected", "Row", "Source", "SourceError", "TooManyBytes", "read"]
