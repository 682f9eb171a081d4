"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

with suppress(ImportError):
    import fcntl

from pipeline.errors import InputError

PART = ".part"
"""How files end that are being written, or were when their writer was killed."""

ABANDONED_SECONDS = 86_400.0
"""After so long without a change what another machine was writing is taken to be a killed writer's."""

DAMAGED = ".damaged"
"""How files end that were set aside, since their bytes are not those that were written."""

_LEFT = re.compile(rf"\..+\.(?:(?P<machine>[0-9a-f]{{8}})-)?[0-9a-f]{{32}}{re.escape(PART)}", re.DOTALL)
_LOCKS = os.name == "posix"
"""Whether files can be locked; elsewhere age alone tells whether a writer is alive."""
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; flush it and rename it over `path` if the block succeeds.

    A kill at any moment, even of the machine, leaves either the old file or the new one, never half of one. Two writers
    of one path, on two machines that share a disk, do not meet. What killed writers have left in the folder is removed.

    The block has to write into the file that is there, rather than to rename another one over it: its writer holds a
    lock of it, by which others see that it is alive.
    """
    with scratch(path) as temporary:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, of a name that no other writer has; it is removed when the block ends.

    It is locked meanwhile, as `whole` needs it, and swept if its writer was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_folder(path.parent)
    name = os.fsencode(path.name)[:100].decode(errors="ignore")
    temporary, lock = _locked(path.parent, f".{name}.{_MACHINE}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


def _locked(folder: Path, beginning: str) -> tuple[Path, int]:
    """A new empty file, and a descriptor that keeps it locked until it is closed or its process ends."""
    while True:
        path = folder / f"{beginning}-{uuid4().hex}{PART}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if not _LOCKS:
            return path, descriptor
        with suppress(OSError):  # a disk without locks, on which age alone tells
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if path.exists():
            return path, descriptor
        os.close(descriptor)  # a sweeper came between the two calls


def sweep(root: Path) -> None:
    """Remove what killed writers have left in a folder and below it; links are not followed."""
    for folder, _, _ in os.walk(root):
        _sweep_folder(Path(folder))


def _sweep_folder(folder: Path) -> None:
    """Remove what killed writers have left in a folder; what may not be removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        left = [Path(entry) for entry in entries if entry.name.endswith(PART) and entry.is_file(follow_symlinks=False)]
        for path in left:
            if found := _LEFT.fullmatch(path.name):
                with suppress(OSError):
                    _remove_abandoned(path, same_machine=found["machine"] == _MACHINE)


def _remove_abandoned(path: Path, *, same_machine: bool) -> None:
    """Remove a file that ends with `PART`, unless its writer may be alive.

    A writer holds a lock of its file; this is done under the same lock. Not every disk that machines share has locks,
    or passes them on, so what another machine was writing has to be old besides.
    """
    old = path.stat().st_mtime < time.time() - ABANDONED_SECONDS
    with path.open("rb+") as stream:
        try:
            if _LOCKS:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            same_machine = False  # no locks on this disk
        if (same_machine and _LOCKS) or old:
            path.unlink()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait for others who take files out of a folder, as this block does; on a disk without locks nobody waits.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not _LOCKS:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> str:
    """Rename a damaged file, so that nothing reads it; say in a few words what has become of it.

    Of one name only the last one is kept.
    """
    aside = path.with_suffix(DAMAGED)
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        pass  # another process has just done so
    except OSError:
        return "it may not be renamed and is not read"
    return f"it is now {aside.name}"


def _flush_folder(folder: Path) -> None:
    """Flush the name of a new file; what cannot open folders (Windows) flushes them by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def is_file(path: Path) -> bool:
    """Whether there is such a file; `Path.is_file` raises for a name that the disk cannot have, such as a long one."""
    return os.path.isfile(path)  # noqa: PTH113


def names_below(folder: Path, paths: Iterable[object]) -> list[str]:
    """Paths relative to a folder that all lie in: names that stay when the folder is moved."""
    return [Path(str(path)).relative_to(folder).as_posix() for path in paths]


def is_dir(path: Path) -> bool:
    """Whether there is such a folder; `Path.is_dir` raises for a name that the disk cannot have, such as a long one."""
    return os.path.isdir(path)  # noqa: PTH112


def read_json(path: Path) -> Any:
    """Read a JSON file; `InputError` names the file if there is none, or if it is not one."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        lost = f", which links to {path.readlink()}" if path.is_symlink() else ""
        raise InputError(f"there is no file {path}{lost} ({error.strerror}); expected a JSON file") from error
    return parse_json(content, str(path))


def parse_json(content: bytes, name: str) -> Any:
    """What a JSON file holds; `InputError` names the file if it is broken, or nested deeper than can be read."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, not UTF-8, a number of 5,000 digits
        raise InputError(
            f"{name} is not valid JSON: {error}. Expected a complete UTF-8 JSON file; download or write it again."
        ) from error


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(**parts: Any) -> str:
    """32 hex digits that stand for everything a result depends on: parameters, weights, inputs, code version."""
    canonical = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def code(*paths: Path) -> str:
    """32 hex digits that stand for source: files, and folders with all sources that are below them."""
    found = [f for path in paths for f in ([path] if path.is_file() else filter(is_source, sorted(path.rglob("*"))))]
    return fingerprint(files=[(f.name, sha256(f)) for f in found])


def is_source(path: Path) -> bool:
    """Whether something in a folder of sources is one: no folder, nothing that Python compiled or an editor left."""
    left = path.name.startswith(".") or path.name.endswith("~") or path.parent.name == "__pycache__"
    return path.is_file() and not left
