"""The connections of a server on this machine: how many, for how long, and that each ends with an answer.

A connection carries one request. Its thread is the operating system's to stop, not ours, so a socket whose request does
not come in time is shut for reading: the thread that waits for it goes on, and says why it ends.
"""

import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition
from typing import Any

from pipeline.search.turns import Turns

MOST = 64
"""Connections at a time."""
REQUEST_SECONDS = 15.0
"""Seconds in which a request is to arrive, body and all."""
ANSWER_SECONDS = 30.0
"""Seconds in which a client is to take its answer."""
_FULL = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\r\n"
    b'{"error": "too many connections at once; ask again"}'
)
_GOODBYE_SECONDS = 1.0
"""Seconds without a byte from a client that has its answer, after which its connection is closed."""
_ENDING_SECONDS = 5.0
"""Seconds in which the thread of a connection that was shut ends on a busy machine; a new one waits for it."""
_DRAINED = 4096
"""Reads of what such a client still sends, at most."""


class Server(ThreadingHTTPServer):
    """A server on 127.0.0.1 that is not yet running.

    A thread for every connection, of which there are at most `MOST`; the one that was idle longest makes room.

    Args:
        port: 0 for any that is free.
        turns: where it has its work done.
    """

    request_queue_size = MOST
    daemon_threads = True

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler], turns: Sequence[Turns]) -> None:
        self.turns = turns
        self._idle: dict[socket.socket, float] = {}  # since when each has been waited for, the longest first
        self._late: set[socket.socket] = set()
        self._answered: set[socket.socket] = set()  # those that are being answered
        self._lock = Condition()  # notified when a connection ends
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Make room for a connection, or turn it away."""
        with self._lock:
            most = MOST
            if self._count() >= MOST and (oldest := next((o for o in self._idle if o not in self._late), None)):
                self._shut(oldest)
            if self._late:  # their threads are about to end
                most = 2 * MOST
                self._lock.wait_for(lambda: self._count() < most, _ENDING_SECONDS)
            room = self._count() < most
            if room:
                self._idle[request] = time.monotonic()
        if room:
            super().process_request(request, client_address)
        else:
            request.settimeout(0)
            with suppress(OSError):
                request.sendall(_FULL)
                request.shutdown(socket.SHUT_WR)
                request.recv(1 << 16)  # a socket that is closed with bytes unread takes the answer back
            request.close()

    def _count(self) -> int:
        return len(self._idle) + len(self._answered)

    def _shut(self, request: socket.socket) -> None:
        self._late.add(request)
        with suppress(OSError):
            request.shutdown(socket.SHUT_RD)

    def service_actions(self) -> None:
        """Between two connections: shut those whose request has not come in time."""
        before = time.monotonic() - REQUEST_SECONDS
        with self._lock:
            for request, since in self._idle.items():
                if since > before:
                    break
                if request not in self._late:
                    self._shut(request)

    def heard(self, request: socket.socket) -> bool:
        """Whether a connection's request has come in time; from now on it is answered."""
        with self._lock:
            self._idle.pop(request, None)
            self._answered.add(request)
            return request not in self._late

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or work goes on that was asked for."""
        return bool(self._answered) or any(turn.busy for turn in self.turns)

    def shutdown_request(self, request: Any) -> None:
        """End a connection so that its client reads the answer: what it still sends is thrown away first.

        A socket that is closed with bytes unread takes the answer back from a client that has not read it.
        """
        with self._lock:
            self._answered.discard(request)
            self._late.discard(request)
            self._idle[request] = time.monotonic()
        try:
            request.shutdown(socket.SHUT_WR)
            request.settimeout(_GOODBYE_SECONDS)
            for _ in range(_DRAINED):
                if not request.recv(2**20):
                    break
        except OSError:
            pass  # it has gone, or says nothing
        finally:
            with self._lock:
                self._idle.pop(request, None)
                self._late.discard(request)
                self._lock.notify_all()
            self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or does not take its answer, is no error of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)
