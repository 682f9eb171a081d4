"""A driver in a process of its own, whose actors kill it: fills a store with toys on a Ray cluster that runs.

Arguments: address, the store's folder, how many blocks, the journal, and the moments.
"""

import os
import sys
from functools import partial
from pathlib import Path

import mortal
from tiny_cluster import Toys, opened, tasks_of

from pipeline.cluster.connection import Actors, Cluster
from pipeline.cluster.work import Carried

address, root, blocks, journal, *moments = sys.argv[1:]
setup = partial(mortal.begin, journal, tuple(map(int, moments)), os.getpid())
held = opened(Path(root))
with Cluster(Actors(address, 4, "cpu", 1, 0, setup), Path(root), "", "") as cluster:
    cluster.fill(Toys(), [held], lambda: tasks_of(held, int(blocks)), "toys", Carried({}))
