"""Work done by threads a little ahead of whoever consumes it, such as decoding while a model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def early(items: Iterable[T], count: int) -> Iterator[T]:
    """Items in order, of which up to `count` are taken and not yet given on.

    Raises:
        whatever `items` raises, after all items before it.
    """
    waiting: deque[T] = deque()
    iterator, stopped = iter(items), None
    while stopped is None:
        try:
            waiting.append(next(iterator))
        except (Exception, KeyboardInterrupt) as error:
            stopped = error  # what was taken before it is still consumed
        while len(waiting) >= (count if stopped is None else 1):
            yield waiting.popleft()
    if not isinstance(stopped, StopIteration):
        raise stopped


def ahead(function: Callable[[T], R], tasks: Iterable[T], *, threads: int, depth: int) -> Iterator[R]:
    """`function` of every task, in order.

    Args:
        function: spends its time where Python lets other threads run: decoding, resizing, reading.
        tasks: taken one after the other, in the thread of whoever consumes the results.
        threads: how many work.
        depth: how many tasks are under way or done and not yet consumed, at most.

    Raises:
        whatever `function` raises, where its result would have come, and whatever `tasks` raises, after the results of
        all tasks before it.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for future in early((pool.submit(function, task) for task in tasks), depth):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
