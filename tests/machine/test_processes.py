import os
import signal
import subprocess
import sys

import pytest

from pipeline.machine.processes import Processes, WorkerKilled


def square(x):
    return x * x


def process(_):
    return os.getpid()


def fail(x):
    raise ValueError(f"no {x}")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_tasks(workers):
    with Processes(workers) as processes:
        assert list(processes.map(square, range(40))) == [x * x for x in range(40)]
        assert list(processes.map(square, [])) == []


def test_one_worker_is_this_process_and_more_are_others():
    with Processes(1) as alone:
        assert set(alone.map(process, range(3))) == {os.getpid()}
    with Processes(2) as several:
        assert os.getpid() not in set(several.map(process, range(9)))


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_are_taken_only_a_little_ahead(workers):
    taken = []

    def tasks():
        for x in range(1000):
            taken.append(x)
            yield x

    with Processes(workers) as processes:
        results = processes.map(square, tasks())
        next(results)
        assert len(taken) <= 3 * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_task_is_raised_here(workers):
    with Processes(workers) as processes, pytest.raises(ValueError, match="no 1"):
        list(processes.map(fail, [1, 2]))


def die(x):
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_worker_that_the_system_kills_is_one_sentence_that_says_what_to_lower():
    with Processes(2) as processes, pytest.raises(WorkerKilled, match=r"one of 2 worker .* lower compute\.workers"):
        list(processes.map(die, range(50)))


def test_what_is_asked_after_a_worker_was_killed_says_the_same():
    with Processes(2) as processes:
        with pytest.raises(WorkerKilled):
            list(processes.map(die, [7]))
        with pytest.raises(WorkerKilled):
            list(processes.map(die, [1]))


ORPHANS = r"""
import os, signal
from pipeline.machine.processes import Processes
def wait(_):
    os.write(1, b"started\n")
    signal.pause()
with Processes(2) as processes:
    list(processes.map(wait, range(2)))
"""


def test_workers_end_when_their_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    assert [parent.stdout.readline() for _ in range(2)] == ["started\n"] * 2
    parent.kill()
    parent.communicate(timeout=60)  # the pipe ends when the last worker, which holds it too, is gone
