"""The local search page: a small HTTP server on this machine alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from pipeline.artifacts.manifest import Manifest
from pipeline.errors import InputError
from pipeline.pages.html import render
from pipeline.search.connections import ANSWER_SECONDS, Server
from pipeline.search.connections import MOST as MOST_CONNECTIONS
from pipeline.search.turns import Busy, Late, Turns

if TYPE_CHECKING:
    from pipeline.search.engine import Search
    from pipeline.search.index import Hit

MOST_BYTES = 32 * 2**20
"""The most bytes of an image that is sent."""
MOST = 100
"""Images that are shown."""
SECONDS = 10.0
"""Seconds in which a query is answered, with what was found or with an error."""
_NAMES = ("127.0.0.1", "localhost")
_EXAMPLES = 4
"""Captions that the page offers as queries."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every answer: whatever a browser may be talked into, the page and its images stay together."""


def server(search: Search, manifest: Manifest, port: int) -> Server:
    """A server on 127.0.0.1 that is not yet running.

    `GET /` is the page, `GET /search?q=<text>&top=<n>` and `POST /search?top=<n>` with an image's bytes give what
    `Search.described` gives as JSON, with a header `Warning` if the text was cut off; `GET /image/<key>` gives
    an
    image's bytes. Errors are JSON, `{"error": ".."}`. A query that is not answered within `SECONDS` is an error, too;
    an image never waits for a query, nor a text for an image.

    Args:
        search: what answers; asked for texts by one thread at a time, and for images by another.
        port: 0 for any that is free.
    """
    rows = {key: i for i, key in enumerate(manifest.keys)}
    first = manifest.image(0)  # finds all images; threads may read them afterwards
    assert first
    page = render("serve.html.j2", images=len(rows), examples=_examples(manifest), most=MOST).encode()
    # whoever is let in may wait, until the deadline
    by_text, by_image = Turns(MOST_CONNECTIONS), Turns(MOST_CONNECTIONS)

    class Handler(BaseHTTPRequestHandler):
        timeout = ANSWER_SECONDS
        server: Server

        def parse_request(self) -> bool:
            """Refuse what another site has a browser ask: images are for whoever sits at this machine."""
            if not super().parse_request():
                return False
            port = self.connection.getsockname()[1]
            if stranger := _stranger(self.headers, port):
                self._refuse(HTTPStatus.FORBIDDEN, f"asked as {stranger}; open http://127.0.0.1:{port}")
                return False
            return self.command == "POST" or self._heard()

        def _heard(self) -> bool:
            """Whether all of the request has come in time."""
            if self.server.heard(self.connection):
                return True
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request did not come in time")
            return False

        def do_GET(self) -> None:
            self._handle(self._get)

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:
            self._handle(self._post)

        def _handle(self, answer: Callable[[SplitResult], None]) -> None:
            try:
                asked = urlsplit(self.path)
            except ValueError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, f"{self.path!r:.200} is no address ({error})")
                return
            try:
                answer(asked)
            except (ConnectionError, TimeoutError):
                raise
            except Exception as error:  # a fault of ours: told here, and on the terminal
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
                raise

        def _get(self, asked: SplitResult) -> None:
            if asked.path == "/":
                self._send(page, "text/html; charset=utf-8")
            elif asked.path == "/search":
                query = parse_qs(asked.query).get("q", [""])[0]
                self._answer(by_text, lambda top: (search.text(query, top), search.unread(query)))
            elif asked.path.startswith("/image/") and (key := unquote(asked.path[7:])) in rows:
                self._image(rows[key])
            else:
                self._refuse(HTTPStatus.NOT_FOUND, f"there is nothing at {asked.path}")

        def _post(self, asked: SplitResult) -> None:
            if asked.path != "/search":
                self._refuse(HTTPStatus.NOT_FOUND, "images are sent to /search")
                return
            stated = self.headers.get_all("Content-Length", ["0"])
            length = _number(stated[0])
            if stated == ["0"] or "Transfer-Encoding" in self.headers:
                self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected an image, and its Content-Length")
                return
            if not length or len(stated) > 1:
                lengths = ", ".join(stated)
                self._refuse(HTTPStatus.BAD_REQUEST, f"Content-Length is {lengths!r:.100}; expected a number of bytes")
                return
            if length > MOST_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected an image of at most {MOST_BYTES:,} bytes")
                return
            data = self.rfile.read(length)
            if not self._heard():
                return
            if len(data) < length:
                self._refuse(HTTPStatus.BAD_REQUEST, f"found {len(data):,} bytes, expected {length:,}")
                return
            self._answer(by_image, lambda top: (search.image(data, top), None))

        def _answer(self, turns: Turns, ask: Callable[[int], tuple[list[Hit], str | None]]) -> None:
            text = parse_qs(urlsplit(self.path).query).get("top", ["12"])[0]
            if not 1 <= (top := _number(text)) <= MOST:
                self._refuse(HTTPStatus.BAD_REQUEST, f"top is {text!r:.100}; expected 1 to {MOST}")
                return
            try:
                hits, unread = turns.ask(lambda: ask(top), SECONDS)
            except InputError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            except Busy:
                self._refuse(
                    HTTPStatus.SERVICE_UNAVAILABLE, "other queries are being answered; ask again", {"Retry-After": "1"}
                )
            except Late:
                self._refuse(HTTPStatus.GATEWAY_TIMEOUT, f"the query takes longer than {SECONDS:g} s; ask for less")
            else:
                warning = {"Warning": f'199 - "{unread}"'} if unread else {}
                self._send(json.dumps(search.described(hits)).encode(), "application/json", headers=warning)

        def _image(self, row: int) -> None:
            try:
                data = manifest.image(row)
            except InputError as error:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                return
            self._send(data, "application/octet-stream")

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """Whatever http.server itself refuses, as JSON, too."""
            self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

        def _refuse(self, status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> None:
            self._send(json.dumps({"error": why}).encode(), "application/json", status, headers)

        def _send(
            self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            every = {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS, **(headers or {})}
            for name, value in every.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing of requests."""

    return Server(port, Handler, (by_text, by_image))


def _examples(manifest: Manifest) -> list[str]:
    """A few captions to begin with, of images that lie apart."""
    every = manifest.captions
    return [every[i][0] for i in range(0, len(every), max(1, -(-len(every) // _EXAMPLES)))]


def _stranger(headers: Message, port: int) -> str | None:
    """The other site that has a request made; None for this site's own page, and for what no page asks.

    A browser tells the page that asks in `Origin`, though not for an image or a link, and in `Sec-Fetch-Site`; old
    ones in `Referer` alone. `Host` is another one where a foreign name was bound to this machine.
    """
    names = [name if port == 80 else f"{name}:{port}" for name in _NAMES]
    hosts = headers.get_all("Host", [])
    if len(hosts) != 1 or hosts[0].strip().lower() not in names:
        return ", ".join(hosts) or "no host"
    for origin in headers.get_all("Origin", []):
        if origin not in {f"http://{name}" for name in names}:
            return origin or "no origin"
    for site in headers.get_all("Sec-Fetch-Site", []):
        if site.strip().lower() not in ("same-origin", "none"):
            return f"{site} page"
    for referer in headers.get_all("Referer", []):
        if not any(f"{referer}/".startswith(f"http://{name}/") for name in names):
            return referer
    return None


def _number(text: str) -> int:
    """A number of up to nine digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
