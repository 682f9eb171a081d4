"""WebDataset shards: original bytes and a JSON record, tar by tar, the same bytes for the same input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import webdataset as wds

from pipeline import files
from pipeline.errors import InputError
from pipeline.images import EXTENSIONS


def write(folder: Path, samples: Iterable[dict[str, Any]], per_shard: int) -> list[tuple[int, int]]:
    """Write samples (`__key__`, `<extension>`: bytes, `json`: bytes) as folder/NNNNNN.tar of `per_shard` each.

    Shards of an earlier, larger run are removed.

    Returns:
        (shard, row) of every sample, in order.
    """
    places: list[tuple[int, int]] = []
    iterator = iter(samples)
    sample = next(iterator, None)
    shard = 0
    while sample is not None:
        with (
            files.whole(folder / f"{shard:06d}.tar") as temporary,
            wds.TarWriter(str(temporary), mtime=0, user="", group="", encoder=False) as tar,
        ):
            row = 0
            while sample is not None and row < per_shard:
                tar.write(sample)
                places.append((shard, row))
                row += 1
                sample = next(iterator, None)
        shard += 1
    for stale in set(folder.glob("*.tar")) - {folder / f"{i:06d}.tar" for i in range(shard)}:
        stale.unlink()
    return places


def record(key: str, extension: str, data: bytes, **fields: Any) -> dict[str, Any]:
    """A sample as `write` takes it; `fields` become its JSON member."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return {"__key__": key, extension: data, "json": text.encode()}


def read(folder: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Key, image bytes and JSON record of every sample of a folder of shards, in order.

    Raises:
        InputError: the folder holds no shard, or a sample has no image.
    """
    paths = sorted(str(p) for p in folder.glob("*.tar"))
    if not paths:
        raise InputError(f"no shards (*.tar) in {folder}; run the stage that writes them: dvc repro curate")
    known = set(EXTENSIONS.values())
    for sample in wds.WebDataset(paths, shardshuffle=False, empty_check=False):
        image = next((value for name, value in sample.items() if name in known), None)
        if image is None:
            raise InputError(f"{sample['__url__']}: {sample['__key__']} has no image; run: dvc repro -f curate")
        yield sample["__key__"], image, json.loads(sample.get("json", b"{}"))
