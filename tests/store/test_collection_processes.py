"""Other processes: each runs one of the scripts, and is told where to work."""

import subprocess
import sys

import numpy as np
from tiny_collection import check_names, segments
from tiny_store import VECTORS

from pipeline.disk import files
from pipeline.store import keys
from pipeline.store.collection import Collection

SCRIPT = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from pipeline.store import collection, keys
collection.SEGMENT_BYTES = 1
rows = collection.Collection(Path(sys.argv[1]), "numbers", {}, pa.schema([("vector", pa.list_(pa.float16(), 2))]))
def add(writer, *numbers):
    writer.add(keys.from_texts(map(str, numbers)), np.array([[n, n % 7] for n in numbers]))
"""

FILL = f"""{SCRIPT}
print("ready", flush=True)
sys.stdin.readline()
with rows.writing() as writer:
    for first in range(*map(int, sys.argv[2:]), 5):
        add(writer, *range(first, first + 5))
"""

FOREVER = f"""{SCRIPT}
with rows.writing() as writer:
    for n in range(int(sys.argv[2]), 2000):
        add(writer, n)
        print(n, flush=True)
"""

ASKED = f"""{SCRIPT}
with rows.writing() as writer:
    for n, _ in enumerate(sys.stdin):
        add(writer, n)
        print(n, flush=True)
"""

COMPACT = """
import os, sys
from pathlib import Path
from pipeline.store import compaction, inventory

def told(call):
    def step(*arguments, **others):
        print("step", flush=True)
        sys.stdin.readline()
        return call(*arguments, **others)
    return step

os.replace = told(os.replace)
for held in inventory.collections(Path(sys.argv[1])):
    compaction.compact(held)
print("done", flush=True)
"""

FULL = f"""{SCRIPT}
whole = resource.getrlimit(resource.RLIMIT_FSIZE)
with rows.writing() as writer:
    add(writer, 0)
try:
    with rows.writing() as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, whole[1]))
        add(writer, *range(1, 1000))
except collection.StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, whole)
print([p.suffix for p in sorted(rows.folder.iterdir())], rows.missing(keys.from_texts("01")).tolist())
with rows.writing() as writer:
    add(writer, *range(1, 1000))
"""


def start(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def check_numbers(root, count):
    """The numbers below `count` are there; whatever is there is right."""
    found = Collection(root, "numbers", {}, VECTORS)
    places = found.locate(keys.from_texts(map(str, range(2000))))
    there = np.flatnonzero(places[:, 0] >= 0)
    assert found.vectors_at(places[there]).tolist() == [[n, n % 7] for n in there]
    assert np.array_equal(there[:count], np.arange(count))
    return found


def test_a_disk_that_is_really_full_keeps_what_was_written_and_the_run_goes_on(tmp_path):
    process = start(FULL, tmp_path)
    told, state = process.communicate(timeout=60)[0].splitlines()
    assert process.returncode == 0
    for part in ("999 new rows of numbers", "File too large", "dclip cache gc", "DCLIP_HOME"):
        assert part in told
    assert state == "['.arrow', '.json'] [False, True]"
    check_names(check_numbers(tmp_path, 1000))


def test_two_processes_that_fill_one_collection_at_once_lose_nothing(tmp_path):
    processes = [start(FILL, tmp_path, *part) for part in ((0, 150), (50, 200))]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    found = check_numbers(tmp_path, 200)
    assert len(segments(found)) == 40, "equal rows are equal segments, whoever wrote them"
    assert len(found) == 200
    check_names(found)


def test_a_writer_killed_between_many_segments_leaves_only_right_rows(tmp_path):
    count = 0
    for wanted in (1, 20, 40):
        process = start(FOREVER, tmp_path, count)
        while count < wanted:
            count = int(process.stdout.readline()) + 1
        process.kill()
        process.communicate(timeout=60)
        found = check_numbers(tmp_path, count)
        assert all(path.stem == files.sha256(path) for path in segments(found))
    with found.writing() as writer:
        writer.add(keys.from_texts(["1999"]), np.array([[1999, 1999 % 7]]))
    check_numbers(tmp_path, count)


def steps(process):
    """Let a compaction go on, one change of the disk after the other, until it is done."""
    while process.stdout.readline() == "step\n":
        yield
        process.stdin.write("\n")
        process.stdin.flush()


def test_a_compaction_beside_a_writer_and_killed_at_every_change_hides_no_row(tmp_path):
    writer = start(ASKED, tmp_path)

    def one_more():
        writer.stdin.write("\n")
        writer.stdin.flush()
        return int(writer.stdout.readline()) + 1

    for _ in range(5):
        one_more()
    for survived in range(4):
        process = start(COMPACT, tmp_path)
        for step, _ in enumerate(steps(process)):
            count = one_more()
            check_numbers(tmp_path, count)
            if step == survived:
                break
        process.kill()
        process.communicate(timeout=60)
        check_numbers(tmp_path, count)
    writer.communicate(timeout=60)
    process = start(COMPACT, tmp_path)
    for _ in steps(process):
        pass
    process.communicate(timeout=60)
    assert len(segments(check_numbers(tmp_path, count))) == 1
