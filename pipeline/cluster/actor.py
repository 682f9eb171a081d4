"""The process at the other end: it loads a model once, and does one task after the other in a store of its own."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cluster.work import Done, Work
from pipeline.store import remote
from pipeline.store.collection import by_size_alone


class Actor:
    """Computes tasks.

    Args:
        url: of the shared feature store.
        scratch: a folder for what is removed after every task; the system's own if it is empty.
    """

    def __init__(self, url: str, scratch: str) -> None:
        self._url, self._scratch = url, scratch or None
        self._work: Work | None = None

    def load(self, setup: bytes, job: bytes, files: Mapping[str, NDArray[np.uint8]]) -> int:
        """Set the process up, load the job's model from files that were carried here, and return its number."""
        pickle.loads(setup)()  # noqa: S301  from our own driver, before anything is imported that reads the environment
        with TemporaryDirectory(dir=self._scratch) as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                content.tofile(path)
            self._work = pickle.loads(job).load(Path(folder))  # noqa: S301
        return os.getpid()

    def run(self, given: Any) -> Done:
        """Do a task; what it gave is in the shared store when this returns."""
        assert self._work is not None
        with TemporaryDirectory(dir=self._scratch) as root, by_size_alone():
            rows = self._work(given, Path(root))
            return Done(rows, tuple(remote.send(Path(root), self._url)) if rows else ())
