"""Work shared out over processes, with results in order and never far ahead of what is consumed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self, TypeVar

from pipeline.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class WorkerKilled(InputError):
    """A process that worked for this one was ended by something else."""


class Processes:
    """`workers` processes; with one worker everything runs in this process.

    A context manager. Functions and their arguments must be picklable.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ProcessPoolExecutor(workers, initializer=_end_with_parent) if workers > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """`function` of every task, in order; at most three tasks a worker are under way.

        Raises:
            WorkerKilled: one of the processes was killed.
        """
        if not self._pool:
            yield from map(function, tasks)
            return
        ahead: deque[Future[R]] = deque()
        try:
            for task in tasks:
                ahead.append(self._pool.submit(function, task))
                if len(ahead) >= 3 * self.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerKilled(
                f"one of {self.workers} worker processes was killed, most likely by the system because memory ran out; "
                "lower compute.workers (1 starts none), or give it more memory, and run it again"
            ) from error


def _end_with_parent() -> None:
    """A worker leaves Ctrl-C to its parent, and ends when the parent is killed instead of waiting for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
