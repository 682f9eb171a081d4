"""Processes that die at given moments, and what all of them have computed.

A moment is a line of a journal that all actors write: whenever rows are added to a collection, a segment is written or
sent, before and after. Whoever writes line n, if n is one of the moments, kills the victim: itself, or the driver.
"""

import os
import signal
from collections import Counter
from pathlib import Path

from pipeline.store import collection, remote, segment


def begin(journal: str, moments: tuple[int, ...], victim: int) -> None:
    """Have this process write the journal; `victim` is a process, 0 whoever has come to the moment."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(what: str) -> None:
        os.write(descriptor, f"{what}\n".encode())
        lines = Path(journal).read_bytes().count(b"\n")
        for moment in moments:
            if moment <= lines and _alive(victim) and _first(f"{journal}.{moment}"):
                os.kill(victim or os.getpid(), signal.SIGKILL)

    def told(function, name):
        def telling(*args, **how):
            say(f"before {name}")
            found = function(*args, **how)
            say(f"after {name}")
            return found

        return telling

    def adding(self, keys, *columns, original=collection.Writer.add):
        say(f"{self.collection.name} {len(keys)}")
        original(self, keys, *columns)

    collection.Writer.add = adding
    segment.write = told(segment.write, "writing")
    remote._upload = told(remote._upload, "sending")


def begin_computing(journal: str, moments: tuple[int, ...], victim: int, device: str, threads: int) -> None:
    """`begin`, in an actor that runs models."""
    from stages.program import computing

    computing(device, threads)
    begin(journal, moments, victim)


def _alive(victim: int) -> bool:
    """Whether it has not been killed before; its actors live on for a moment."""
    return victim == 0 or Path(f"/proc/{victim}").is_dir()


def _first(path: str) -> bool:
    """Whether nobody has come here before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def computed(journal: Path) -> Counter:
    """Rows by the collection that they were computed for."""
    found = Counter()
    for line in journal.read_text().splitlines():
        name, _, rows = line.partition(" ")
        if rows.isdecimal():
            found[name] += int(rows)
    return found


def happened(journal: Path) -> int:
    """How many of the moments have come."""
    return len(list(journal.parent.glob(f"{journal.name}.*")))
