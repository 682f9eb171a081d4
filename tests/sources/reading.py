"""Reads a corpus into what its tests compare."""

from pipeline import sources
from pipeline.sources import Caption, Image, Rejected, Source


def read(kind, path, **options):
    """Every row of a source of a kind."""
    return sources.read(Source(kind, path, options))


def rows(source, folder):
    """Images by id, captions and rejected rows, in the reader's order. Asserts that equal ids are equal images."""
    found = list(read(source, folder))
    images = {}
    for image in (r for r in found if isinstance(r, Image)):
        assert images.setdefault(image.id, image) == image
    return images, [r for r in found if isinstance(r, Caption)], [r for r in found if isinstance(r, Rejected)]


def texts(captions):
    """Captions as (id, text)."""
    return [(c.id, c.text if isinstance(c.text, str) else c.text.decode()) for c in captions]


def places(rejected):
    """Rejected rows as (kind, place)."""
    return [(r.kind, r.place) for r in rejected]
