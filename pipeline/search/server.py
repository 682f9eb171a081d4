"""The local search page: a small HTTP server on this machine alone."""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipeline.errors import InputError
from pipeline.manifest import Manifest
from pipeline.report.html import render
from pipeline.search.engine import Search

MOST_BYTES = 32 * 2**20
"""Of a picture that is sent."""
_DRAINED = 4096
"""Reads of what is thrown away, at most."""
MOST = 100
"""Pictures that are shown."""
_NAMES = ("127.0.0.1", "localhost")
_EXAMPLES = 4
"""Captions that the page offers as queries."""
_POLICY = "default-src 'self' 'unsafe-inline'; img-src 'self' blob: data:"


def server(search: Search, manifest: Manifest, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 that is not yet running.

    `GET /` is the page, `GET /search?q=<text>&top=<n>` and `POST /search?top=<n>` with a picture's bytes give what
    `Search.told` tells as JSON, `GET /image/<key>` a picture's bytes. Errors are JSON, `{"error": ".."}`.

    Args:
        search: what answers; asked by one thread at a time.
        manifest: of the pictures.
        port: 0 for any that is free.
    """
    rows = {key: i for i, key in enumerate(manifest.keys)}
    first = manifest.image(0)  # finds all pictures; threads may read them afterwards
    assert first
    page = render("serve.html.j2", pictures=len(rows), examples=_examples(manifest), most=MOST).encode()
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # of a client that says nothing

        def parse_request(self) -> bool:
            """Refuse what another site has a browser ask: pictures are for whoever sits at this machine."""
            if not super().parse_request():
                return False
            host, own = self.headers.get("Host", ""), self.connection.getsockname()[1]
            known = {f"{name}:{own}" for name in _NAMES}
            origin = self.headers.get("Origin", "").removeprefix("http://")
            if host in known and (not origin or origin in known):
                return True
            self._refuse(HTTPStatus.FORBIDDEN, f"asked as {origin or host}; open http://127.0.0.1:{own}")
            return False

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/":
                self._send(page, "text/html; charset=utf-8")
            elif asked.path == "/search":
                self._answer(lambda top: search.text(parse_qs(asked.query).get("q", [""])[0], top))
            elif asked.path.startswith("/image/") and (key := unquote(asked.path[7:])) in rows:
                self._picture(rows[key])
            else:
                self._refuse(HTTPStatus.NOT_FOUND, f"there is nothing at {asked.path}")

        def do_POST(self) -> None:
            if urlsplit(self.path).path != "/search":
                self._refuse(HTTPStatus.NOT_FOUND, "pictures are sent to /search")
                return
            told = self.headers.get("Content-Length", "0")
            length = _number(told)
            if told == "0":
                self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected a picture, and its Content-Length")
                return
            if not length:
                self._refuse(HTTPStatus.BAD_REQUEST, f"Content-Length is {told!r}; expected a number of bytes")
                return
            if length > MOST_BYTES:
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a picture of at most {MOST_BYTES:,} bytes")
                self._read_no_more()
                return
            data = self.rfile.read(length)
            self._answer(lambda top: search.picture(data, top))

        def _answer(self, ask: Any) -> None:
            text = parse_qs(urlsplit(self.path).query).get("top", ["12"])[0]
            if not 1 <= (top := _number(text)) <= MOST:
                self._refuse(HTTPStatus.BAD_REQUEST, f"top is {text!r}; expected 1 to {MOST}")
                return
            try:
                with lock:
                    found = search.told(ask(top))
            except InputError as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
                return
            self._send(json.dumps(found).encode(), "application/json")

        def _read_no_more(self) -> None:
            """Throw away what is still being sent; whoever sends it would not read the answer otherwise."""
            self.close_connection = True
            self.connection.settimeout(1)
            try:
                for _ in range(_DRAINED):
                    if not self.rfile.read1(2**20):
                        return
            except TimeoutError:
                return

        def _picture(self, row: int) -> None:
            try:
                data = manifest.image(row)
            except InputError as error:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                return
            self._send(data, "application/octet-stream")

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """Whatever http.server itself refuses, as JSON, too."""
            self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

        def _refuse(self, status: HTTPStatus, why: str) -> None:
            self._send(json.dumps({"error": why}).encode(), "application/json", status)

        def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing of requests."""

    return _Server(("127.0.0.1", port), Handler)


def _examples(manifest: Manifest) -> list[str]:
    """A few captions to begin with, of pictures that lie apart."""
    every = manifest.captions
    return [every[i][0] for i in range(0, len(every), max(1, -(-len(every) // _EXAMPLES)))]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    request_queue_size = 64
    daemon_threads = True


def _number(text: str) -> int:
    """A number of up to nine digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
