"""One file over HTTP: goes on where it stopped, is verified, and gets its name when all of it is there and right."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx
from tqdm import tqdm

from pipeline.disk import files
from pipeline.errors import InputError, one_line

TRIES = 8
"""Tries in a row that bring nothing new, after which it is given up."""
LONGEST_WAIT = 60.0
"""Seconds between two tries, at most."""

_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "dclip"}  # sizes and ranges are of the file itself


class FetchError(InputError):
    """A file cannot be fetched, or is not the one that was expected."""


class _Again(Exception):
    """It may go better the next time."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Size in bytes and sha256 of a file that is there."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Partial:
    """What has come until now, beside the file that it becomes, and which version of which url it is a part of."""

    data: Path
    origin: Path
    url: str

    @property
    def size(self) -> int:
        return self.data.stat().st_size if self.data.exists() else 0

    def validator(self) -> str:
        """The server's name for the version that this is a part of; empty if it gave none or is of another url."""
        with suppress(OSError, ValueError, AttributeError):
            known = json.loads(self.origin.read_bytes())
            if known.get("url") == self.url:
                return str(known.get("validator") or "")
        return ""

    def is_of_url(self) -> bool:
        with suppress(OSError, ValueError, AttributeError):
            return bool(json.loads(self.origin.read_bytes()).get("url") == self.url)
        return False

    def start_over(self, validator: str) -> None:
        self.data.unlink(missing_ok=True)
        files.write_json(self.origin, {"url": self.url, "validator": validator})

    def remove(self) -> None:
        for path in (self.data, self.origin):
            path.unlink(missing_ok=True)


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch a file to `path`, unless it is there and right.

    What a killed run has left is gone on with, if the server says that the file is still the same one (ETag or date),
    or if `sha256` will tell; what was put together and turns out wrong is fetched once more from its beginning.
    Connections that break are tried again, with growing waits, until several tries in a row have brought nothing.

    Args:
        size: in bytes, if it is known.
        sha256: if it is known.
        wait: for so many seconds.

    Raises:
        FetchError: the server refuses it, nothing more comes, or it has another size or hash than is known.
    """
    if path.is_file():
        found = Fetched(path.stat().st_size, files.sha256(path))
        if fault := _fault(found, size, sha256):
            raise FetchError(f"{path} is there and {fault}; remove it to fetch it again from {url}")
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _Partial(path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.origin"), url)
    if not partial.is_of_url():
        partial.start_over("")
    with httpx.Client(headers=_HEADERS, follow_redirects=True, timeout=60) as client:
        is_one_piece = _complete(client, partial, size, sha256 is not None, wait)
        found = Fetched(partial.size, files.sha256(partial.data))
        if not is_one_piece and _fault(found, size, sha256):  # its pieces may be of two versions
            partial.start_over("")
            _complete(client, partial, size, sha256 is not None, wait)
            found = Fetched(partial.size, files.sha256(partial.data))
    if fault := _fault(found, size, sha256):
        partial.remove()
        raise FetchError(
            f"{url} {fault}; it has changed, or something between here and there changes it. Nothing is kept"
        )
    with partial.data.open("rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(partial.data, path)
    partial.remove()
    return found


def length(url: str) -> int | None:
    """How many bytes a server says that a file has; None if it does not say.

    Raises:
        FetchError: it cannot be asked.
    """
    try:
        response = httpx.head(url, headers=_HEADERS, follow_redirects=True, timeout=30)
    except httpx.HTTPError as error:
        raise FetchError(f"{url} cannot be reached: {one_line(error)}") from error
    given = response.headers.get("Content-Length", "")
    return int(given) if response.is_success and given.isdecimal() else None


def _fault(found: Fetched, size: int | None, sha256: str | None) -> str:
    if size not in (None, found.size):
        return f"has {found.size:,} bytes, expected {size:,}"
    if sha256 not in (None, found.sha256):
        return f"has sha256 {found.sha256}, expected {sha256}"
    return ""


def _complete(
    client: httpx.Client, partial: _Partial, size: int | None, verified: bool, wait: Callable[[float], None]
) -> bool:
    """Fetch what is lacking, as often as it takes; returns whether all of it came in one piece.

    Args:
        verified: whether a hash will tell if pieces fit together.
    """
    fruitless = pieces = 0
    while True:
        before = partial.size
        try:
            pieces += 1 + (before > 0)
            _fetch_rest(client, partial, size, verified)
            return pieces == 1
        except (httpx.TransportError, _Again) as error:
            fruitless = 0 if partial.size > before else fruitless + 1
            if fruitless >= TRIES:
                raise FetchError(
                    f"{partial.url} cannot be fetched: {one_line(error)}. {partial.size:,} bytes are here; the same "
                    "command goes on with them"
                ) from error
            wait(min(2.0**fruitless, LONGEST_WAIT))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchError(f"{partial.url} cannot be fetched: {one_line(error)}") from error


def _fetch_rest(client: httpx.Client, partial: _Partial, size: int | None, verified: bool) -> None:
    have, validator, headers = partial.size, partial.validator(), dict[str, str]()
    if have and have == size and verified:
        return
    if have and (validator or verified):
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    with client.stream("GET", partial.url, headers=headers) as response:
        total = _start(partial, response, have, size)
        if total is None and not verified and response.headers.get("Transfer-Encoding") != "chunked":
            raise FetchError(
                f"{partial.url}: the server does not say how long it is, and nobody else; fetch it by hand"
            )
        with partial.data.open("ab") as stream:
            _write(stream, response, total, partial)
    if total is not None and partial.size < total:
        raise _Again(f"{partial.size:,} of {total:,} bytes came")


def _start(partial: _Partial, response: httpx.Response, have: int, size: int | None) -> int | None:
    """Check the answer's head, make room for what comes, and say how many bytes there will be, if that is known."""
    status = response.status_code
    if status in _TEMPORARY:
        raise _Again(f"the server answers {status} {response.reason_phrase}")
    if status == 416:  # what is here is as long as the file, or longer
        partial.start_over("")
        raise _Again("the server has fewer bytes than are here")
    if status not in (200, 206):
        raise FetchError(f"{partial.url}: the server answers {status} {response.reason_phrase}; nothing is fetched")
    if response.headers.get("Content-Type", "").startswith("text/html") and not partial.url.endswith((".html", ".htm")):
        raise FetchError(f"{partial.url}: the server answers with a page, not with the file; open it in a browser")
    stated = response.headers.get("Content-Length", "")
    if status == 206:
        given = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not given or int(given[1]) != have:
            partial.start_over("")
            raise _Again(f"asked for bytes from {have:,}, the server gives {response.headers.get('Content-Range')}")
        return int(given[2]) if given[2] != "*" else size
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    partial.start_over(validator)
    return int(stated) if stated.isdecimal() else size


def _write(stream: BinaryIO, response: httpx.Response, total: int | None, partial: _Partial) -> None:
    name = partial.data.name.removeprefix(".").removesuffix(".partial")
    bar = tqdm(total=total, initial=stream.tell(), unit="B", unit_scale=True, desc=name, disable=None)
    with bar:
        for chunk in response.iter_raw():
            stream.write(chunk)
            bar.update(len(chunk))
            if total is not None and stream.tell() > total:
                partial.remove()
                raise FetchError(f"{partial.url}: more than {total:,} bytes come; nothing is kept")
