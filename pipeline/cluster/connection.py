"""The connection to a Ray cluster: somebody's, or one on this machine that ends with it."""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.artifacts.manifest import Manifest
from pipeline.cluster.actor import Actor
from pipeline.cluster.crew import Crew
from pipeline.cluster.work import Carried, ClusterError, Job, Task
from pipeline.errors import one_line
from pipeline.machine.progress import track
from pipeline.store import remote
from pipeline.store.collection import Collection

LOCAL = "local"
_FOLDER = "dclip-ray-"
_OF_THIS_MACHINE: dict[str, Callable[[], str]] = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": lambda: "0",  # listen on the loopback alone, as Ray does by itself there
    "RAY_AUTH_MODE": lambda: "token",
    "RAY_AUTH_TOKEN": lambda: secrets.token_hex(32),  # else one is left in the home folder
}
"""The environment of a cluster on this machine: nobody else gives it work."""


@dataclass(frozen=True)
class Actors:
    """Where actors run and what each of them takes.

    Attributes:
        address: `host:port` or `auto` of a cluster that runs, or `local` for one on this machine.
        count: how many there are at most.
        device: where each computes.
        cpus, gpus: what each takes of the cluster's.
        setup: is called in each of them before anything else; can be pickled.
    """

    address: str
    count: int
    device: str
    cpus: int
    gpus: int
    setup: Callable[[], None]


class Cluster:
    """A context in which actors fill a feature store; Ray is imported when they have something to do.

    Args:
        actors: where and how many they are.
        root: this machine's feature store.
        url: of the feature store that actors and this machine share; `root` itself if it is empty.
        shards: URL at which actors find the shards; where they are on this machine, if it is empty.
    """

    def __init__(self, actors: Actors, root: Path, url: str, shards: str) -> None:
        self.actors, self.root = actors, root
        self.url, self._shards = _absolute(url) or str(root.resolve()), _absolute(shards)
        self._crew: tuple[Job, Crew] | None = None
        self._ray: Any = None
        self._connected_here = False
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()
        if self._connected_here:
            self._ray.shutdown()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def shards(self, manifest: Manifest) -> str:
        """The URL of a manifest's shards, for actors."""
        return self._shards or str(manifest.folder.resolve())

    def fill(
        self,
        job: Job,
        collections: Sequence[Collection],
        tasks: Callable[[], list[Task]],
        what: str,
        carried: Carried,
    ) -> int:
        """Have actors compute whatever neither this machine's feature store nor the shared one holds.

        Args:
            job: what they do.
            collections: in which the rows will be found, here.
            tasks: what they are to do, as far as it is lacking in `collections` when it is called.
            what: for the progress line.
            carried: the files that the job loads.

        Returns:
            how many rows were computed.

        Raises:
            ClusterError: rows are lacking in the end; the tasks that should have given them are named.
        """
        self.fetch(collections)
        wanted = tasks()
        if not wanted:
            return 0
        rows = self.run(job, wanted, what, carried, [collection.folder.name for collection in collections])
        self._dismiss()
        self.fetch(collections)
        if lost := [task.name for task in tasks()]:
            raise ClusterError(f"{self.url} lacks rows that actors have computed, of {', '.join(lost)}; run it again")
        return rows

    def fetch(self, collections: Iterable[Collection]) -> None:
        """Bring what the shared store holds of some collections into this machine's, and open it."""
        collections = list(collections)
        if self.url != str(self.root.resolve()):
            held = remote.collections(self.url)
            if there := [name for name in (c.folder.name for c in collections) if name in held]:
                remote.pull(self.root, self.url, there)
        for collection in collections:
            collection.refresh()

    def run(self, job: Job, tasks: Sequence[Task], what: str, carried: Carried, folders: Iterable[str]) -> int:
        """Have actors do tasks; returns how many rows they computed. Actors stay for more tasks of an equal job.

        Args:
            folders: the collections that they may fill.

        Raises:
            ClusterError: tasks were given up, or went into other collections: other code or weights than here.
        """
        if not tasks:
            return 0
        known, rows = set(folders), 0
        crew = self._crew_of(job, carried)
        for task, done in track(crew.run(tasks), what, total=len(tasks), unit="tasks"):
            if strange := {path.partition("/")[0] for path in done.segments} - known:
                raise ClusterError(
                    f"{task.name} went into {', '.join(sorted(strange))}, expected {', '.join(sorted(known))}: an "
                    "actor's machine has another version of this project than this one; install the same"
                )
            rows += done.rows
        return rows

    def _crew_of(self, job: Job, carried: Carried) -> Crew:
        """The actors of a job; those of another one are ended, so that no model is held that nobody uses."""
        if self._crew and self._crew[0] == job:
            return self._crew[1]
        self._dismiss()
        ray = self._connected()
        content = ray.put({name: np.fromfile(path, dtype=np.uint8) for name, path in carried.files.items()})
        setup, sent, actors = pickle.dumps(self.actors.setup), pickle.dumps(job), self.actors
        kind = ray.remote(max_restarts=0, max_task_retries=0, num_cpus=actors.cpus, num_gpus=actors.gpus)(Actor)
        scratch = str(self._folder or "")

        def start() -> tuple[Any, Any]:
            handle = kind.remote(self.url, scratch)
            return handle, handle.load.remote(setup, sent, content)

        def room() -> str:
            found = ray.cluster_resources()
            there = f"{found.get('CPU', 0):g} CPUs and {found.get('GPU', 0):g} GPUs"
            return f"{there}; an actor takes {actors.cpus} and {actors.gpus}"

        crew = Crew(ray, start, actors.count, room)
        self._crew = (job, crew)
        return crew

    def _dismiss(self) -> None:
        if self._crew:
            self._crew[1].close()
            self._crew = None

    def _connected(self) -> Any:
        if self._ray is None:
            if self.actors.address == LOCAL:
                for name, value in _OF_THIS_MACHINE.items():
                    os.environ.setdefault(name, value())
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            try:
                import ray
            except ImportError as error:
                raise ClusterError(
                    f"compute.engine: ray needs another package: pip install 'ray>=2.57' (the extra [ray]), here and "
                    f"on every machine of the cluster; or set it to local ({error})"
                ) from error
            self._ray = ray
            if not ray.is_initialized():
                self._connected_here = True
                self._connect(ray)
        return self._ray

    def _connect(self, ray: Any) -> None:
        actors, how = self.actors, dict[str, Any](log_to_driver=False, logging_level=logging.ERROR)
        if actors.address == LOCAL:
            _sweep()
            self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
            how |= {"_temp_dir": str(self._folder), "include_dashboard": False}
            how |= {"num_cpus": actors.count * actors.cpus, "num_gpus": actors.count * actors.gpus}
        try:
            ray.init(actors.address, **how)
        except Exception as error:  # it has no class in common
            raise ClusterError(
                f"no Ray cluster at {actors.address} ({one_line(error)}); expected host:port or auto of one that runs "
                "(ray status), or local for one on this machine (compute.address)"
            ) from error


def _absolute(url: str) -> str:
    """A URL, or a path as it is for processes that work in another folder."""
    return str(Path(url).resolve()) if url and "://" not in url else url


def _sweep() -> None:
    """Remove what clusters of killed drivers have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        process = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if process.isdecimal() and not _alive(int(process)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
