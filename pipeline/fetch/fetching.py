"""An item of the register: every file of it fetched, verified and unpacked, or found to be there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.disk import files
from pipeline.errors import refusing
from pipeline.fetch.download import Fetched, FetchError, download
from pipeline.fetch.items import Item, Remote
from pipeline.fetch.lock import Lock
from pipeline.fetch.unpacking import unpack


def lacking(item: Item, data: Path) -> list[Remote]:
    """The files of an item that are not there yet."""
    return [remote for remote in item.remotes if not _is_there(remote, data)]


def check_room(remotes: list[Remote], data: Path) -> None:
    """Whether there is room for some files: an archive and what it holds lie there together for a while.

    Raises:
        FetchError: there is not.
    """
    here = next(folder for folder in (data.resolve(), *data.resolve().parents) if folder.is_dir())
    needed = sum((remote.size or 0) for remote in remotes) + max(
        ((remote.size or 0) for remote in remotes if remote.members), default=0
    )
    if needed > (free := shutil.disk_usage(here).free):
        raise FetchError(
            f"{here} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed; make room, or give --to"
        )


def fetch(
    item: Item, data: Path, lock: Lock, *, keep: bool = False, wait: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Fetch what is lacking of an item into the data folder, and say of each file what became of it.

    Without a published hash the first fetch is recorded in the lock, and any later one has to be the same. An archive
    is removed once it is unpacked, unless `keep`; a note of it stays, `.fetched/<name>.json`.

    Raises:
        FetchError: a file cannot be fetched, or is not the one that was expected.
        UnsafeArchive: an archive holds what must not be written.
    """
    for remote in item.remotes:
        folder = data / remote.folder
        path = folder / remote.name
        if _is_there(remote, data) and remote.members:
            yield f"{folder}: what {remote.name} holds is there"
            continue
        known = lock.find(remote.url)
        size, sha256 = remote.size, remote.sha256
        if known and sha256 is None:
            size, sha256 = known.size, known.sha256
        there = path.is_file()
        found = download(remote.url, path, size=size, sha256=sha256, wait=wait)
        if remote.sha256 is None:
            lock.record(remote.url, found)
        yield f"{path}: {found.size:,} bytes, sha256 {found.sha256}{' (it was there)' if there else ''}"
        if remote.members:
            yield _unpack(remote, path, folder, found, keep)
    if item.hub:
        yield _from_hub(*item.hub, data)


def _note(remote: Remote, data: Path) -> Path:
    return data / remote.folder / ".fetched" / f"{remote.name}.json"


def _is_there(remote: Remote, data: Path) -> bool:
    if not remote.members:
        return (data / remote.folder / remote.name).is_file()
    note = _note(remote, data)
    return note.is_file() and files.read_json(note) == {"url": remote.url, "members": list(remote.members)}


def _unpack(remote: Remote, path: Path, folder: Path, found: Fetched, keep: bool) -> str:
    count = unpack(path, folder, remote.members)
    os.sync()  # thousands of files, one flush
    note = folder / ".fetched" / f"{remote.name}.json"
    files.write_json(note, {"url": remote.url, "members": list(remote.members)})
    if not keep:
        path.unlink()
    return f"{folder}: {count:,} files of {remote.name}"


def _from_hub(repository: str, folder: str, data: Path) -> str:
    """A data set of Hugging Face by its own client, which goes on where it stopped."""
    from huggingface_hub import snapshot_download

    with refusing(f"{repository} cannot be fetched from Hugging Face", FetchError):
        snapshot_download(repository, repo_type="dataset", local_dir=data / folder)
    return f"{data / folder}: {repository}"
