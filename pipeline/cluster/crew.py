"""Actors and the tasks that they are given: failures tried again within limits, the dead and the stuck replaced."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.cluster.work import ClusterError, Done, Task
from pipeline.errors import InputError, one_line

TRIES = 3
"""How often a task, or the loading of a model, may fail by an error of its own."""
DEATHS = 10
"""How often an actor may die of a task: machines are taken away, but what kills ten is not their fault."""
MOST_FAILED = 8
"""Tasks that are given up, after which no more are begun."""
_START = "the start of an actor"
_LONGER = 20
_LOOK, _SAY = 30.0, 600.0
"""Seconds between two looks at what takes long, and after which it is said that nothing has come."""


@dataclass(frozen=True)
class Patience:
    """Seconds after which an actor is taken to be stuck, and replaced.

    Attributes:
        start: that it may take to find a machine and load its model.
        first: that the first task of a kind may take.
        least: that every other may take, or 20 times as long a row as the slowest of its kind, if that is longer.
    """

    start: float = 1800.0
    first: float = 6 * 3600.0
    least: float = 600.0


@dataclass(eq=False)
class _Member:
    """An actor and what it does: a task, or the loading of its model."""

    handle: Any
    doing: Any
    task: Task | None
    since: float


class Crew:
    """At most `count` actors that do tasks of one job.

    Args:
        ray: the module.
        start: starts an actor; gives its handle and the reference to the loading of its model.
        count: of actors.
        room: says in words what the cluster has, for errors.
        patience: with actors that say nothing.
    """

    def __init__(
        self,
        ray: Any,
        start: Callable[[], tuple[Any, Any]],
        count: int,
        room: Callable[[], str],
        patience: Patience | None = None,
    ) -> None:
        self._ray, self._start, self._count, self._room = ray, start, count, room
        self._patience = patience or Patience()
        self._members: list[_Member] = []
        self._errors, self._deaths = Counter[str](), Counter[str]()
        self._slowest: dict[str, float] = {}
        """Of every kind of task, the most seconds a row."""
        self._heard = 0.0

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Done]]:
        """Every task as it is done, in any order.

        Raises:
            ClusterError: no actor can be started, or tasks were given up; they are named, after all others are done.
        """
        waiting, failed = deque(tasks), dict[str, str]()
        self._errors.clear()
        self._deaths.clear()
        self._heard = time.monotonic()
        while True:
            self._give(waiting)
            busy = {member.doing: member for member in self._members if member.doing is not None}
            if not any(member.task for member in busy.values()) and not waiting:
                break
            ready, _ = self._ray.wait(list(busy), timeout=_LOOK)
            for reference in ready:
                member = busy[reference]
                task, done = member.task, self._settled(member, waiting, failed)
                if task and done is not None:
                    yield task, done
            self._listen(bool(ready), len(busy))
            self._replace_stuck(waiting, failed)
            if len(failed) > MOST_FAILED:
                waiting.clear()
        if failed:
            named = "; ".join(f"{name}: {why}" for name, why in sorted(failed.items()))
            raise ClusterError(
                f"{len(failed)} of {len(tasks)} could not be computed ({named}). What the others gave is in the store: "
                "mend it and run it again, and only the rest is computed"
            )

    def close(self) -> None:
        """End all actors."""
        for member in self._members:
            self._ray.kill(member.handle)
        self._members.clear()

    def _give(self, waiting: deque[Task]) -> None:
        """Give tasks to whoever is free, and start actors while there are more of them than actors to do them."""
        for member in self._members:
            if member.doing is None and waiting:
                member.task = waiting.popleft()
                member.since = time.monotonic()
                member.doing = member.handle.run.remote(member.task.given())
        loading = sum(member.doing is not None and member.task is None for member in self._members)
        for _ in range(min(self._count - len(self._members), len(waiting) - loading)):
            handle, reference = self._start()
            self._members.append(_Member(handle, reference, None, time.monotonic()))

    def _settled(self, member: _Member, waiting: deque[Task], failed: dict[str, str]) -> Done | None:
        """What an actor gave; None if it has loaded its model, failed or died, and then its task waits again."""
        task, took = member.task, time.monotonic() - member.since
        try:
            found = self._ray.get(member.doing)
        except self._ray.exceptions.RayTaskError as error:
            member.doing = member.task = None
            if task is None:
                self._members.remove(member)
                self._ray.kill(member.handle)
            self._again(task, self._errors, TRIES, _said(error.cause), waiting, failed)
            return None
        except self._ray.exceptions.RayError as error:  # it died, or its machine did, or what it gave was lost with it
            self._bury(member, f"its actor died ({one_line(error)})", waiting, failed)
            return None
        member.doing = member.task = None
        if task is None:
            self._errors[_START] = self._deaths[_START] = 0
            return None
        self._slowest[task.kind] = max(self._slowest.get(task.kind, 0.0), took / max(1, task.rows))
        assert isinstance(found, Done)
        return found

    def _bury(self, member: _Member, why: str, waiting: deque[Task], failed: dict[str, str]) -> None:
        self._members.remove(member)
        self._ray.kill(member.handle)
        self._again(member.task, self._deaths, DEATHS, why, waiting, failed)

    def _again(
        self,
        task: Task | None,
        count: Counter[str],
        most: int,
        why: str,
        waiting: deque[Task],
        failed: dict[str, str],
    ) -> None:
        """Have a task wait again, or give it up; where it was no task but a start, give up altogether."""
        name = task.name if task else _START
        count[name] += 1
        print(f"{name}: {why}; {count[name]} of {most}", file=sys.stderr)
        if count[name] < most:
            if task:
                waiting.appendleft(task)
        elif task:
            failed[name] = why
        else:
            raise ClusterError(f"actors cannot be started: {why}. The cluster has {self._room()}")

    def _replace_stuck(self, waiting: deque[Task], failed: dict[str, str]) -> None:
        """End whatever takes far longer than anything took until now; do without actors that do not start."""
        now = time.monotonic()
        stuck = [m for m in self._members if m.doing is not None and now - m.since > self._limit(m.task)]
        for member in stuck:
            why = f"nothing came of it in {now - member.since:.0f} s"
            if member.task:
                self._bury(member, why, waiting, failed)
                continue
            self._members.remove(member)
            self._ray.kill(member.handle)
            self._count = sum(m.doing is None or m.task is not None for m in self._members)
            print(f"{_START}: {why}; going on with {self._count}. The cluster has {self._room()}", file=sys.stderr)
            if not self._count:
                raise ClusterError(
                    f"no actor has started in {self._patience.start:.0f} s. The cluster has {self._room()}; lower "
                    "compute.threads, or look at its machines (ray status)"
                )

    def _limit(self, task: Task | None) -> float:
        """Seconds that a task, or a start, may take; twice as many after every death."""
        if task is None:
            return self._patience.start
        slowest = self._slowest.get(task.kind)
        usual = self._patience.first if slowest is None else max(self._patience.least, _LONGER * slowest * task.rows)
        return float(usual * 2 ** self._deaths[task.name])

    def _listen(self, heard: bool, busy: int) -> None:
        """Say so, if for long nothing has come."""
        now = time.monotonic()
        if heard:
            self._heard = now
        elif now - self._heard > _SAY:
            self._heard = now
            print(f"{busy} actors are at work or wait for a machine. The cluster has {self._room()}", file=sys.stderr)


def _said(error: BaseException) -> str:
    """An error in a line; one that is not meant for users with its kind."""
    return one_line(error) if isinstance(error, InputError) else f"{type(error).__name__}: {one_line(error)}"
