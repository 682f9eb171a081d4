"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import InputError

PART = ".part"
"""How files end that are being written, or were when their writer was killed."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; flush it and rename it over `path` if the block succeeds.

    A kill at any moment, even of the machine, leaves either the old file or the new one, never half of one. Two writers
    of one path, on two machines that share a disk, do not meet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{uuid4().hex}{PART}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """32 hex digits that stand for Python source: files, and folders with all that is below them."""
    own = [f for path in paths for f in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    return fingerprint(files=[(f.name, sha256(f)) for f in own])
