"""Where frozen results are computed: in the stage's own process, or by actors of a Ray cluster before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from stages.program import computing, store

if TYPE_CHECKING:
    from pipeline.cluster.connection import Cluster
    from pipeline.params import Params

PARAMETERS = tuple(f"compute.{name}" for name in ("engine", "actors", "address", "store", "shards", "workers"))
"""What a stage that may have actors takes besides; no result depends on them."""

OWN = "own"
"""The place of this project itself, where a URL may stand."""


def quiet() -> None:
    """What importing this package does to a process is all that it needs."""


@contextmanager
def cluster(params: Params, *, models: bool = True) -> Iterator[Cluster | None]:
    """The actors that compute.engine asks for; none if it is local, and then nothing of Ray is imported.

    Args:
        models: whether they run models, on CPU threads or a GPU, or nothing that needs more than a CPU.
    """
    p = params.compute
    if p.engine == "local":
        yield None
        return
    from pipeline.cluster.connection import Actors, Cluster

    device = p.device.partition(":")[0] if models else "cpu"  # an actor sees no GPU but its own
    setup, cpus = (partial(computing, device, p.threads), p.threads) if models else (quiet, 1)
    actors = Actors(p.address, p.actors, device, cpus, int(device == "cuda"), setup)
    store_url, shards = ("" if place == OWN else place for place in (p.store, p.shards))
    with Cluster(actors, store(), store_url, shards) as found:
        yield found
