"""Segments on a remote: any place that fsspec reaches (a folder, S3, SSH), laid out as the store itself.

A segment's name is the hash of its bytes, so what has the same name need not be sent. Nothing has its name before it is
whole: a download is checked and flushed under a temporary name; an upload gets its name when all of it has arrived.

Segments that a larger one here replaces (`compaction`) are neither sent nor fetched: it holds their rows. Nothing is
taken away on a remote, so that members who are fetching from it get all that they have seen listed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec

from pipeline.disk import files
from pipeline.errors import Damaged, InputError
from pipeline.machine.progress import track
from pipeline.store import segment
from pipeline.store.collection import DESCRIPTION
from pipeline.store.inventory import FOLDER, chosen, described, described_fault

log = logging.getLogger(__name__)

_FILE = re.compile(rf"{FOLDER.pattern}/(?:{re.escape(DESCRIPTION)}|[0-9a-f]{{64}}{re.escape(segment.SUFFIX)})")

_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"}
"""Stores whose objects appear when their upload is complete; elsewhere a file is uploaded, then renamed."""

_MOST_BYTES = {segment.SUFFIX: 4 << 30, PurePosixPath(DESCRIPTION).suffix: 1 << 20}
"""The most bytes of a file, by its kind; a segment is closed at 32 MB and one more addition."""
_PIECE = 1 << 20

_EXPECTED = "expected a folder, s3://bucket/path or ssh://host/path"


class RemoteError(InputError):
    """A remote cannot be reached, read or written."""


@dataclass
class Moved:
    """What was sent, what was there already, and what was not sent since its bytes are damaged."""

    files: int = 0
    bytes: int = 0
    present: int = 0
    damaged: tuple[str, ...] = ()


@contextmanager
def _explained(url: str, what: str) -> Iterator[None]:
    """Whatever a backend raises says which remote it was; fsspec's backends have no error in common."""
    try:
        yield
    except (InputError, ImportError):
        raise
    except Exception as error:
        raise RemoteError(
            f"{what} {url} failed: {type(error).__name__}: {error}. What was sent before is whole and need not be sent "
            "again: run it once more"
        ) from error


def _open(url: str) -> tuple[Any, str]:
    if not url or re.match(r"\w+:/?(?!/)", url):
        raise RemoteError(f"{url!r} is no remote; {_EXPECTED}")
    try:
        fsspec.get_filesystem_class(urlsplit(url).scheme)
        with _explained(url, "opening"):
            fs, base = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise RemoteError(
            f"{url} needs another package: pip install dvc-s3 for S3, dvc-ssh for SSH ({error})"
        ) from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise RemoteError(f"{url}: {error}; {_EXPECTED}") from error
    return fs, str(base).rstrip("/")


def _listed(fs: Any, base: str) -> dict[str, int]:
    """Bytes of every file of the store on a remote, by its path there."""
    fs.invalidate_cache()
    try:
        found = fs.find(base, detail=True)
    except FileNotFoundError:
        return {}
    sizes = {
        path[len(base) :].lstrip("/"): int(info["size"]) for path, info in found.items() if info.get("type") == "file"
    }
    return {path: size for path, size in sizes.items() if _FILE.fullmatch(path)}


def _wanted(paths: Iterable[str], only: Iterable[str], where: str) -> list[str]:
    """Those of the collections that `only` names; descriptions first, so that no segment is without one."""
    paths = list(paths)
    folders = {PurePosixPath(path).parts[0] for path in paths}
    names = {folder.name for folder in chosen(sorted(map(Path, folders)), only, where)}
    return sorted((p for p in paths if p.partition("/")[0] in names), key=lambda p: (not p.endswith(DESCRIPTION), p))


def push(root: Path, url: str, only: Iterable[str] = ()) -> Moved:
    """Send what the remote lacks.

    Args:
        root: the store's folder.
        url: of the remote, as fsspec takes it.
        only: collections, as `inventory.collections` takes them; all by default.

    Raises:
        RemoteError: the remote cannot be reached or written.
    """
    fs, base = _open(url)
    moved = Moved()
    only = list(only)
    wanted = _here(root, only)
    if not wanted:
        raise RemoteError(f"{root} holds nothing to send; run: dvc repro features, or set DCLIP_HOME")
    with _explained(url, "listing"):
        there = _listed(fs, base)
    seen: set[str] = set()
    while new := [path for path in wanted if path not in seen]:  # what has gone meanwhile may be in a larger segment
        seen.update(new)
        _send(root, fs, base, url, track(new, f"push to {url}", unit="files"), there, moved)
        wanted = _here(root, only)
    return moved


def _here(root: Path, only: Iterable[str]) -> list[str]:
    """What is sent of a store, in the order of `_wanted`."""
    local = {p.relative_to(root).as_posix() for p in root.glob("*/*")} - _replaced(root.glob(f"*/*{segment.SUFFIX}"))
    return _wanted(filter(_FILE.fullmatch, local), only, str(root))


def _replaced(segments: Iterable[Path]) -> set[str]:
    """Paths in a store of the segments whose rows these hold as well."""
    names = ((path.parent.name, segment.replaced(segment.metadata(path))) for path in segments)
    return {f"{folder}/{name}{segment.SUFFIX}" for folder, replaced in names for name in replaced}


def _send(
    root: Path, fs: Any, base: str, url: str, paths: Iterable[str], there: Mapping[str, int], moved: Moved
) -> None:
    for path in paths:
        try:
            size = (root / path).stat().st_size
            if there.get(path) == size:
                moved.present += 1
                continue
            _check(root / path, root / path)
            with _explained(url, f"sending {path} to"):
                _upload(fs, root / path, f"{base}/{path}", size)
        except (FileNotFoundError, RemoteError):
            if (root / path).exists():
                raise
            continue  # gc or another process has just removed it
        except Damaged as error:
            log.warning("not sent to %s: %s", url, error)
            moved.damaged += (path,)
            continue
        moved.files, moved.bytes = moved.files + 1, moved.bytes + size


def collections(url: str) -> set[str]:
    """The folders of the collections that a remote holds.

    Raises:
        RemoteError: the remote cannot be reached.
    """
    fs, base = _open(url)
    fs.invalidate_cache()
    with _explained(url, "listing"):
        found = fs.ls(base, detail=False) if fs.exists(base) else []
    return {name for name in (PurePosixPath(path).name for path in found) if FOLDER.fullmatch(name)}


def send(root: Path, url: str) -> list[str]:
    """Send all of a small store; the remote is asked for each of its files and not listed, which may hold millions.

    Returns:
        the segments, as `<collection>-<fingerprint>/<sha256>.arrow`.

    Raises:
        RemoteError: the remote cannot be reached or written.
    """
    fs, base = _open(url)
    paths = [p.relative_to(root).as_posix() for p in root.glob("*/*")]
    wanted = _wanted(filter(_FILE.fullmatch, paths), (), str(root))
    for path in wanted:
        size = (root / path).stat().st_size
        with _explained(url, f"sending {path} to"):
            if _size(fs, f"{base}/{path}") != size:
                _upload(fs, root / path, f"{base}/{path}", size)
    return [path for path in wanted if path.endswith(segment.SUFFIX)]


def _size(fs: Any, path: str) -> int | None:
    """Bytes of a file on a remote; None if there is none."""
    fs.invalidate_cache()
    try:
        return int(fs.size(path))
    except FileNotFoundError:
        return None


def _upload(fs: Any, source: Path, target: str, size: int) -> None:
    folder, _, name = target.rpartition("/")
    fs.makedirs(folder, exist_ok=True)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    temporary = target if protocols & _WHOLE_PUTS else f"{folder}/.{name}.{uuid4().hex}{files.PART}"
    try:
        fs.put_file(str(source), temporary)
        fs.invalidate_cache()
        if (found := fs.size(temporary)) != size:
            raise RemoteError(f"{temporary} has {found} bytes after it was sent, expected {size}")
        if temporary != target:
            fs.mv(temporary, target)
    except BaseException:
        if temporary != target and fs.exists(temporary):
            fs.rm_file(temporary)
        raise


def pull(root: Path, url: str, only: Iterable[str] = ()) -> Moved:
    """Fetch what the store lacks; what arrives is checked against its name before it gets it. Arguments as of `push`.

    Raises:
        RemoteError: the remote cannot be reached or read, or holds no store.
    """
    fs, base = _open(url)
    moved = Moved()
    with _explained(url, "listing"):
        there = _listed(fs, base)
    if not there:
        raise RemoteError(f"{url} holds no feature store; one member runs: dclip cache push {url}")
    held = _replaced(root.glob(f"*/*{segment.SUFFIX}"))
    wanted = sorted(_wanted(there, only, url), key=lambda p: (not p.endswith(DESCRIPTION), -there[p], p))
    for path in track(wanted, f"pull from {url}", unit="files"):  # what replaces others is larger than each of them
        target = root / path
        if path in held or (target.is_file() and target.stat().st_size == there[path]):
            moved.present += 1
            continue
        try:
            with _explained(url, f"fetching {path} from"), files.whole(target) as temporary:
                _download(fs, f"{base}/{path}", temporary, there[path])
                _check(temporary, target)
        except Damaged as error:
            log.warning("not taken from %s: %s", url, error)
            moved.damaged += (path,)
            continue
        moved.files, moved.bytes = moved.files + 1, moved.bytes + there[path]
        if target.name != DESCRIPTION:
            held |= _replaced([target])
    return moved


def _download(fs: Any, source: str, target: Path, size: int) -> None:
    """Copy a file of a stated size; one that has more bytes, or no end, is left where its size is reached."""
    if size > (most := _MOST_BYTES[PurePosixPath(source).suffix]):
        raise Damaged(f"{source} has {size:,} bytes, expected {most:,} at most")
    left = size
    with fs.open(source, "rb") as stream, target.open("wb") as out:
        while piece := stream.read(min(_PIECE, left + 1)):
            if len(piece) > left:
                raise Damaged(f"{source} has more bytes than the {size:,} that the remote states")
            out.write(piece)
            left -= len(piece)


def _check(path: Path, target: Path) -> None:
    """Stop unless a file has the bytes that its name and folder stand for, and a segment its collection's columns."""
    if target.name != DESCRIPTION:
        segment.check(path, target.stem)
        rows = segment.read(path, target.parent.name.rpartition("-")[2])
        description, found = (
            described(target.with_name(DESCRIPTION), target.parent.name),
            segment.column_types(rows.schema)[2:],
        )
        if description and found != description.get("values"):
            raise Damaged(
                f"{target} belongs to another collection: it has {found}, expected {description.get('values')}"
            )
    elif fault := described_fault(path, target.parent.name):
        raise Damaged(f"{target.parent.name}/{target.name} is damaged: {fault}")
