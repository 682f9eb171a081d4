"""WebDataset shards: original bytes and a JSON record, tar by tar, the same bytes for the same input."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.disk import files, tars
from pipeline.errors import InputError
from pipeline.images.formats import EXTENSIONS

_KNOWN = frozenset(EXTENSIONS.values())
_AGAIN = "run: dvc repro -sf curate"
_BUFFER = 1 << 17
"""Bytes; tarfile writes 10 kB at a time, which costs more than the copying."""


def name(shard: int) -> str:
    """File name of a shard by its number."""
    return f"{shard:06d}.tar"


def write_one(path: Path, samples: Iterable[dict[str, Any]]) -> None:
    """Write samples (`__key__`, `<extension>`: bytes, `json`: bytes) as one tar, whole or not at all."""
    import webdataset as wds  # imports torch: seconds, and hundreds of megabytes

    with files.whole(path) as temporary, temporary.open("wb", buffering=_BUFFER) as stream:
        with wds.TarWriter(stream, mtime=0, user="", group="", encoder=False) as tar:
            for sample in samples:
                tar.write(sample)
        stream.flush()
        _leave_cache(stream.fileno())


def _leave_cache(descriptor: int) -> None:
    """Let a written file go from the page cache: what is cached of the images still to be written is worth more."""
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def write(folder: Path, samples: Iterable[dict[str, Any]], per_shard: int) -> None:
    """Write samples as folder/NNNNNN.tar of `per_shard` each; shards of an earlier, larger run are removed."""
    iterator = iter(samples)
    shard = 0
    for first in iterator:
        write_one(folder / name(shard), chain([first], islice(iterator, per_shard - 1)))
        shard += 1
    remove_beyond(folder, shard)


def remove_beyond(folder: Path, count: int) -> None:
    """Remove shards of an earlier, larger run, so that `count` are left."""
    for stale in set(folder.glob("*.tar")) - {folder / name(shard) for shard in range(count)}:
        stale.unlink()


def record(key: str, extension: str, data: bytes, **fields: Any) -> dict[str, Any]:
    """A sample as `write` takes it; `fields` become its JSON member."""
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return {"__key__": key, extension: data, "json": text.encode()}


def read(folder: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Key, image bytes and JSON record of every sample of a folder of shards, in order.

    Raises:
        InputError: the folder holds no shard, or a sample has no image.
    """
    paths = sorted(folder.glob("*.tar"))
    if not paths:
        raise InputError(
            f"no shards (*.tar) in {folder}; run the stage that writes them (dvc repro) or fetch them (dvc pull)"
        )
    for path in paths:
        yield from read_one(path)


def read_one(path: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Key, image bytes and JSON record of every sample of a shard, in order.

    Raises:
        InputError: there is no such shard, it is not whole, or a sample has no image, two, or no readable record.
    """
    for key, members in groupby(_members(path), lambda found: found[0]):
        images, record = [], b"{}"
        for _, extension, member in members:
            if extension == "json":
                record = member.read_bytes()
            elif extension in _KNOWN:
                images.append(member.read_bytes())
        if len(images) != 1:
            found = f"{len(images)} images" if images else "no image"
            raise InputError(f"{path}: {key} has {found}; {_AGAIN}")
        yield key, images[0], files.parse_json(record, f"{path}: {key}.json")


def here(url: str, names: Iterable[str], folder: Path) -> Path:
    """A folder of this machine in which some shards lie: the one that a URL names, or `folder` with copies of them.

    Args:
        url: of a folder of shards by split, as fsspec takes it.
        names: of the shards below it, such as `train/000000.tar`.

    Raises:
        InputError: the URL cannot be read.
    """
    try:
        fs, base = fsspec.core.url_to_fs(url)
        if isinstance(fs, LocalFileSystem):
            return Path(base)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            fs.get_file(f"{base}/{name}", str(folder / name))
    except Exception as error:  # fsspec's backends have no error in common
        raise InputError(
            f"shards at {url} cannot be read ({type(error).__name__}: {error}); expected data/curate as it is here"
        ) from error
    return folder


def places(path: Path) -> Iterator[tuple[str, int, int]]:
    """Key, offset and length in bytes of every image of a shard, in order, so that any of them can be read by itself.

    Raises:
        InputError: there is no such shard, or it is not whole.
    """
    for key, extension, member in _members(path):
        if extension in _KNOWN:
            yield key, member.offset, member.size


def _members(path: Path) -> Iterator[tuple[str, str, tars.Member]]:
    """Key, extension and place of every file of a shard, split at the first dot of its name as webdataset does it."""
    if not path.is_file():
        raise InputError(f"there is no shard {path}; run the stage that writes it: dvc repro curate")
    try:
        for member in tars.whole(path):
            folder, slash, name = member.name.rpartition("/")
            key, dot, extension = name.partition(".")
            if dot:
                yield f"{folder}{slash}{key}", extension.lower(), member
    except tars.DamagedTar as error:
        raise InputError(f"{path} is {error}; run: dvc checkout, or dvc repro -sf curate") from error
