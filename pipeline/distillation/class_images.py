"""The images of a zero-shot set as a source of `pixels.cached`: decoded once, mapped, and not held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from pipeline.clip.image_files import ImageFile, bytes_of
from pipeline.disk import files
from pipeline.machine.ahead import ahead
from pipeline.machine.progress import track
from pipeline.store import keys


class ClassImages:
    """Images by class, in the order of a `ZeroshotSet`; a `pixels.Source`.

    Args:
        image_files: of the set.
        threads: that read.
    """

    splits: Sequence[str] = ("zero-shot",)

    def __init__(self, image_files: Sequence[ImageFile], threads: int = 1) -> None:
        self._files, self._threads = image_files, threads

    @cached_property
    def fingerprint(self) -> str:
        """The bytes of all of them, in order; each is read."""
        read = track(self._files, "read zero-shot images", unit="images")
        found = ahead(
            lambda file: keys.from_bytes(bytes_of(file)), read, threads=self._threads, depth=4 * self._threads
        )
        return files.fingerprint(images=keys.from_bytes(b"".join(found)).hex())

    def __len__(self) -> int:
        return len(self._files)

    def image(self, row: int, /) -> bytes:
        """The bytes of one of them."""
        return bytes_of(self._files[row])

    def images(self, what: str, /) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each."""
        for file in track(self._files, what, unit="images"):
            yield str(file), bytes_of(file)
