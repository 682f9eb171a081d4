"""Layouts that are recognised by the names of files alone, the most particular first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.images.formats import ENDINGS
from pipeline.sources import conceptual_captions, flickr30k, mscoco
from pipeline.sources.recognition import Folder, Recognised

_SHARD = re.compile(r"[0-9]+(_stats\.json|\.parquet)")
_TABLES = ("*.csv", "*.tsv", "*.jsonl", "*.parquet")


def _huggingface(folder: Folder) -> Recognised | None:
    by = folder.matching("dataset_dict.json") or folder.matching("dataset_info.json")
    saved = folder.matching("*.arrow") or folder.matching("*/*.arrow") or folder.matching("state.json")
    return Recognised("huggingface", tuple(by)) if by and saved else None


def _img2dataset(folder: Folder) -> Recognised | None:
    by = [name for name in folder.names if _SHARD.fullmatch(name)]
    return Recognised("img2dataset", tuple(by[:3])) if by else None


def _webdataset(folder: Folder) -> Recognised | None:
    by = folder.matching("*.tar") or folder.matching("*/*.tar")
    return Recognised("webdataset", tuple(by[:3])) if by else None


def _table(folder: Folder) -> Recognised | None:
    by = [name for pattern in _TABLES for name in folder.matching(pattern)]
    return Recognised("table", tuple(by[:3])) if by else None


def _folder(folder: Folder) -> Recognised | None:
    """Images with .txt of the same name beside them."""
    for pattern in ("*.txt", "*/*.txt"):
        for name in folder.matching(pattern):
            stem = name.removesuffix(".txt")
            if any(folder.has(f"{stem}.{ending}") for ending in ENDINGS):
                return Recognised("folder", (name,))
    return None


RECOGNISERS: dict[str, Callable[[Folder], Recognised | None]] = {
    "mscoco": mscoco.recognise,
    "flickr30k": flickr30k.recognise,
    "huggingface": _huggingface,
    "conceptual_captions": conceptual_captions.recognise,
    "img2dataset": _img2dataset,
    "webdataset": _webdataset,
    "table": _table,
    "folder": _folder,
}
"""By kind, what recognises it; of several that do, the first counts."""


def recognised(path: Path) -> Iterator[Recognised]:
    """Every kind that a folder may be of, the likeliest first."""
    folder = Folder(path)
    found = (recognise(folder) for recognise in RECOGNISERS.values())
    yield from (one for one in found if one is not None)
