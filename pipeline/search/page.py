"""What a search has found, as a page that stands alone."""

from __future__ import annotations

from pathlib import Path

from pipeline.artifacts.manifest import Manifest
from pipeline.disk import files
from pipeline.pages.html import render
from pipeline.pages.thumbnails import thumbnails
from pipeline.search.index import Hit


def write(path: Path, query: str, hits: list[Hit], captions: dict[str, list[str]], manifest: Manifest) -> None:
    """Write the images that a search found, in their order, as an HTML file with the images inside."""
    found = thumbnails(manifest, {hit.key for hit in hits})
    files.write_text(path, render("search.html.j2", query=query, hits=hits, captions=captions, thumbnails=found))
