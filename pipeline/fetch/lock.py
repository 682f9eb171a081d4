"""The lock file: size and sha256 of everything that was fetched without a published hash, as it came the first time."""

from __future__ import annotations

from pathlib import Path

from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.fetch.download import Fetched


class Lock:
    """What came from which url; kept in a JSON file that belongs beside params.yaml, in git.

    Raises:
        InputError: the file is none of these.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, object]] = files.read_json(path) if path.is_file() else {}
        if not isinstance(self._known, dict) or not all(map(_is_entry, self._known.values())):
            raise InputError(f"{path} is no lock file of dclip fetch: expected urls with size and sha256; remove it")

    def find(self, url: str) -> Fetched | None:
        """What came from a url before."""
        entry = self._known.get(url)
        return Fetched(int(str(entry["size"])), str(entry["sha256"])) if entry else None

    def record(self, url: str, fetched: Fetched) -> None:
        """Note what came; at once on disk."""
        if self.find(url) != fetched:
            self._known[url] = {"size": fetched.size, "sha256": fetched.sha256}
            files.write_json(self.path, self._known)


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("size"), int) and isinstance(value.get("sha256"), str)
