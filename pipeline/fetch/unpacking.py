"""Members of zips and tars as files, none outside the folder; what is there already is not written again."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from pipeline.errors import InputError
from pipeline.machine.progress import track

_Read = Callable[[str], IO[bytes] | None]
"""Opens a member."""


_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    NotImplementedError,  # a compression that zipfile does not know
)


class UnsafeArchive(InputError):
    """An archive has a member that would be written elsewhere, or is none."""


def unpack(archive: Path, folder: Path, members: Sequence[str]) -> int:
    """Write the wanted members of an archive below `folder`; each is whole or not there.

    Args:
        members: names, or names of folders that end with a slash, of which all below is taken.

    Returns:
        how many files there are.

    Raises:
        UnsafeArchive: one of any members would lie outside `folder`, is no plain file, or is twice in it; a wanted one
            is not there; or the archive is damaged. Nothing is written then but, of a damaged one, what came before.
    """
    try:
        with _opened(archive) as (held, read):
            for name in held:
                _check(archive, name)
            wanted = {name: size for name, size in held.items() if _is_wanted(name, members)}
            for member in members:
                if not any(_is_wanted(name, [member]) for name in wanted):
                    raise UnsafeArchive(f"{archive} has no {member}; expected {', '.join(members)}")
            for name in track(wanted, f"unpack {archive.name}", unit="files"):
                stream = read(name)
                assert stream is not None, "it is a plain file"
                with stream:
                    _write(folder / name, wanted[name], stream, archive)
    except _DAMAGED as error:
        raise UnsafeArchive(
            f"{archive} is damaged, or no archive that is read here ({error}); fetch it again"
        ) from error
    return len(wanted)


def _is_wanted(name: str, members: Sequence[str]) -> bool:
    return any(name.startswith(member) if member.endswith("/") else name == member for member in members)


def _check(archive: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name:
        raise UnsafeArchive(f"{archive} has a member {name!r}, which would lie outside; it is not unpacked")


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[dict[str, int], _Read]]:
    """Sizes of all members that are files, by name, and what opens one."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            links = [info.filename for info in infos if (info.external_attr >> 16) & 0o170000 == 0o120000]
            yield _sizes(archive, [(info.filename, info.file_size) for info in infos], links), opened.open
        return
    with tarfile.open(archive) as tar:
        plain = [member for member in tar.getmembers() if not member.isdir()]
        odd = [member.name for member in plain if not member.isreg()]
        yield _sizes(archive, [(member.name, member.size) for member in plain], odd), tar.extractfile


def _sizes(archive: Path, members: Sequence[tuple[str, int]], odd: Sequence[str]) -> dict[str, int]:
    if odd:
        raise UnsafeArchive(f"{archive} has a member {odd[0]!r}, which is a link or a device; it is not unpacked")
    sizes = dict(members)
    if len(sizes) < len(members):
        raise UnsafeArchive(f"{archive} has a member twice; it is not unpacked")
    return sizes


def _write(path: Path, size: int, stream: IO[bytes], archive: Path) -> None:
    """A file of so many bytes; one that is there and has as many was written whole, and stays."""
    if path.is_file() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.unpacking")
    try:
        with temporary.open("wb") as out:
            left = size
            while left and (chunk := stream.read(min(left, 1 << 20))):
                out.write(chunk)
                left -= len(chunk)
            if left or stream.read(1):
                raise UnsafeArchive(f"{archive}: {path.name} has another size than its {size:,} bytes; fetch it again")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
