"""SIGKILL at random moments of the regions, features, concepts and student stages."""

import copy
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from test_stages import digests

KILLS = {"regions": 10, "features": 10, "concepts": 2}
STUDENT_KILLS = 6
SEGMENT_BYTES = 6000
COLLECTIONS = {
    "detect": ["boxes", "crops"],
    "pictures": ["pictures"],
    "texts": ["texts", "tokens"],
    "language": ["language"],
}
"""Where the results of each kind of forward go."""

pytestmark = pytest.mark.faults


class Runner:
    """A process that runs stages in processes of their own."""

    def __init__(self, log: Path) -> None:
        here = Path(__file__).parent
        path = os.pathsep.join([str(here), str(here.parents[1])])
        self.log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, str(here / "killable.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, env=os.environ | {"PYTHONPATH": path}, text=True, bufsize=1,
        )  # fmt: skip

    def run(self, stage: str, params: dict, data: Path, home: Path, kill_after: float | None = None) -> int:
        """The exit status of a stage, -9 if it was killed after so many seconds."""
        request = {
            "stage": stage, "params": params, "data": str(data), "home": str(home), "segment_bytes": SEGMENT_BYTES,
            "journal": str(home.parent / "journal"),
        }  # fmt: skip
        print(json.dumps(request), file=self.process.stdin, flush=True)
        child = int(self.process.stdout.readline())
        if kill_after is not None and not select.select([self.process.stdout], [], [], kill_after)[0]:
            os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    made = Runner(tmp_path_factory.mktemp("runner") / "stderr")
    yield made
    made.process.stdin.close()
    made.process.wait()


def computed(home: Path) -> Counter:
    """Rows that were given to a frozen model since the journal was last read."""
    journal = home.parent / "journal"
    lines = journal.read_text().splitlines() if journal.is_file() else []
    journal.unlink(missing_ok=True)
    found = Counter()
    for line in lines:
        kind, rows = line.split()
        found[kind] += int(rows)
    return found


def largest_segment(home: Path, kind: str) -> int:
    """Rows of the largest segment that holds results of a kind of forward."""
    paths = [p for name in COLLECTIONS[kind] for p in (home / "store").glob(f"{name}-*/*.arrow")]
    return max(pa.ipc.open_file(pa.memory_map(str(path))).read_all().num_rows for path in paths)


def fresh(root: Path, given: Path, inputs: Sequence[str]) -> tuple[Path, Path]:
    """A data folder with the results of some stages, and a home with nothing."""
    (root / "data").mkdir(parents=True)
    for stage in inputs:
        (root / "data" / stage).symlink_to(given / stage)
    return root / "data", root / "home"


@pytest.mark.parametrize("stage", KILLS)
def test_a_stage_killed_at_any_moment_goes_on_where_it_stopped(request, runner, tmp_path, stage):
    given, params = request.getfixturevalue("knowing" if stage == "concepts" else "world")
    inputs = ("sample", "models", "curate", *(("teachers", "regions", "spans") if stage == "features" else ()))
    random.seed(stage)

    durations = []
    for attempt in range(2):  # the first reads everything from the disk and takes much longer than those to be killed
        data, home = fresh(tmp_path / f"whole {attempt}", given, inputs)
        start = time.monotonic()
        assert runner.run(stage, params, data, home) == 0
        durations.append(time.monotonic() - start)
        if attempt == 0:
            computed(home)
    whole = computed(home)
    assert whole and digests(data / stage) == digests(given / stage)

    killed = resumed = 0
    while killed < KILLS[stage]:
        data, home = fresh(tmp_path / f"kill {killed}", given, inputs)
        if runner.run(stage, params, data, home, kill_after=random.uniform(0, min(durations))) == 0:
            shutil.rmtree(data.parent)
            continue  # it was quicker than the moment that was drawn
        killed += 1
        before = computed(home)
        assert runner.run(stage, params, data, home) == 0
        after = computed(home)
        assert digests(data / stage) == digests(given / stage)
        for kind, rows in whole.items():
            twice = before[kind] + after[kind] - rows
            assert 0 <= twice <= largest_segment(home, kind), (kind, before, after, whole)
        resumed += sum(after.values()) < sum(whole.values())
        shutil.rmtree(data.parent)
    assert resumed, "no run that was killed had left anything to go on from"


def test_a_student_killed_at_any_moment_ends_with_the_same_weights(world, runner, tmp_path):
    given, params = world
    changed = copy.deepcopy(params)
    changed["student"] |= {"epochs": 4, "batch": 16, "checkpoint_seconds": 1e-6}  # after every step
    inputs = ("sample", "models", "curate", "regions", "spans", "features", "targets")
    random.seed("student")

    durations = []
    for attempt in range(2):  # the first reads everything from the disk and takes much longer than those to be killed
        data, home = fresh(tmp_path / f"whole {attempt}", given, inputs)
        start = time.monotonic()
        assert runner.run("student", changed, data, home) == 0
        durations.append(time.monotonic() - start)
    whole = digests(data / "student")
    assert {"open_clip_model.safetensors", "end_point/open_clip_model.safetensors", "live/metrics.json"} <= set(whole)

    killed = resumed = 0
    while killed < STUDENT_KILLS:
        data, home = fresh(tmp_path / f"killed {killed}", given, inputs)
        if runner.run("student", changed, data, home, kill_after=random.uniform(0.2, 0.8) * min(durations)) == 0:
            shutil.rmtree(data.parent)
            continue  # it was quicker than the moment that was drawn
        killed += 1
        resumed += any(torch.load(path, weights_only=True)["done"] for path in home.glob("runs/*/student.pt"))
        assert runner.run("student", changed, data, home) == 0
        assert digests(data / "student") == whole
    assert resumed, "no run was killed within an epoch after a checkpoint"
