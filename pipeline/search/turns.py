"""Work that a thread of its own does piece by piece, each with a deadline for whoever asked.

A thread cannot be stopped from outside: what takes too long goes on, but nobody waits for it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Full, Queue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Busy(Exception):
    """Work was not begun: others were before it, for longer than it may wait, or too many of them."""


class Late(Exception):
    """Work was begun, and not finished in time."""


class Turns:
    """One piece of work at a time.

    Args:
        most: pieces that may wait.
    """

    def __init__(self, most: int) -> None:
        self._waiting: Queue[tuple[Future[Any], Callable[[], Any]]] = Queue(most)
        self._working = False
        Thread(target=self._work, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a piece of work is under way, or waits."""
        return self._working or not self._waiting.empty()

    def ask(self, work: Callable[[], T], seconds: float) -> T:
        """Have some work done.

        Raises:
            Busy: it was not begun within so many seconds, or too much waits already.
            Late: it was not finished by then.
            Exception: whatever the work itself raises.
        """
        future: Future[T] = Future()
        try:
            self._waiting.put_nowait((future, work))
        except Full as error:
            raise Busy from error
        try:
            return future.result(seconds)
        except TimeoutError as error:
            if future.cancel():
                raise Busy from error
            if future.done():
                return future.result()
            raise Late from error

    def _work(self) -> None:
        while True:
            future, work = self._waiting.get()
            self._working = True
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del future, work
            self._working = False
