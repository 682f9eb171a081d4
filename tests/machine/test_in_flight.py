import threading
from dataclasses import dataclass

import pytest
import torch
from tiny_gpu import PretendedGpu
from torch import Tensor

from pipeline.machine.in_flight import TensorGroup, collect, each, feed


@dataclass
class Inner(TensorGroup):
    rows: Tensor


@dataclass
class Outer(TensorGroup):
    names: list[str]
    rows: Tensor
    scale: float
    missing: Tensor | None
    inner: Inner
    several: tuple[Inner, ...]


@pytest.fixture
def gpu(monkeypatch):
    return PretendedGpu(monkeypatch)


def numbered(number):
    return torch.tensor([number, 10 * number])


def first(batches):
    return [int(batch[0]) for batch in batches]


def test_all_tensors_of_a_group_are_changed_and_nothing_else():
    group = Outer(["a"], numbered(1), 0.5, None, Inner(numbered(2)), (Inner(numbered(3)), Inner(numbered(4))))
    found = each(group, lambda rows: rows + 1)
    assert (found.names, found.scale, found.missing) == (["a"], 0.5, None)
    tensors = [found.rows, found.inner.rows, *(part.rows for part in found.several)]
    assert [rows.tolist() for rows in tensors] == [[2, 11], [3, 21], [4, 31], [5, 41]]
    assert group.rows.tolist() == [1, 10], "the group itself is left alone"
    assert [rows.tolist() for rows in each((numbered(1), numbered(2)), lambda rows: -rows)] == [[-1, -10], [-2, -20]]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_come_in_the_order_of_their_tasks(threads):
    assert first(feed("cpu", numbered, range(9), threads=threads)) == list(range(9))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_gpus_batches_come_in_the_same_order(gpu, threads):
    assert first(feed("cuda", numbered, range(9), threads=threads)) == list(range(9))
    assert [number for what, number in gpu.journal if what == "receive"] == list(range(9))


def test_on_a_cpu_a_batch_is_loaded_when_it_is_asked_for():
    loaded = []
    batches = feed("cpu", lambda number: loaded.append(number) or numbered(number), range(5))
    assert int(next(batches)[0]) == 0
    assert loaded == [0]


def test_while_a_gpu_computes_with_a_batch_the_next_is_sent_and_no_other(gpu, monkeypatch):
    sent = threading.Event()
    monkeypatch.setattr(gpu, "on_send", lambda number: number == 2 and sent.set())
    batches = feed("cuda", numbered, range(9))
    next(batches)
    next(batches)
    assert sent.wait(timeout=30), "nobody has asked for the third batch yet"
    batches.close()
    assert {number for what, number in gpu.journal if what == "send"} == {0, 1, 2}


def test_a_gpus_batches_are_loaded_beside_whoever_computes(gpu):
    threads = set()

    def load(number):
        threads.add(threading.current_thread())
        return numbered(number)

    list(feed("cuda", load, range(4)))
    assert threading.current_thread() not in threads


def test_a_result_is_waited_for_when_the_next_was_asked_for(gpu):
    assert first(collect("cuda", map(numbered, range(4)))) == [0, 1, 2, 3]
    wanted = ["ask 0", "ask 1", "wait 0", "ask 2", "wait 1", "ask 3", "wait 2", "wait 3"]
    assert [f"{what} {number}" for what, number in gpu.journal] == wanted


def test_on_a_cpu_a_result_is_computed_when_it_is_asked_for():
    asked = []
    results = collect("cpu", (asked.append(number) or numbered(number) for number in range(3)))
    assert int(next(results)[0]) == 0
    assert asked == [0]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_pass_through_a_forward_and_back(request, device):
    if device == "cuda":
        request.getfixturevalue("gpu")
    results = collect(device, (2 * rows for rows in feed(device, numbered, range(7), threads=2)))
    assert [rows.tolist() for rows in results] == [[2 * n, 20 * n] for n in range(7)]
    assert list(collect(device, feed(device, numbered, []))) == []


def broken_load(number):
    if number == 3:
        raise ValueError("no 3")
    return numbered(number)


def broken_tasks():
    yield from range(3)
    raise ValueError("no 3")


def broken_forward(rows):
    return broken_load(int(rows[0]))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("load", "tasks", "forward"),
    [
        (broken_load, lambda: range(6), lambda rows: rows),
        (numbered, broken_tasks, lambda rows: rows),
        (numbered, lambda: range(6), broken_forward),
    ],
    ids=["load", "tasks", "forward"],
)
def test_an_error_comes_after_all_results_before_it(request, device, load, tasks, forward):
    if device == "cuda":
        request.getfixturevalue("gpu")
    results = collect(device, map(forward, feed(device, load, tasks())))
    assert [int(next(results)[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no 3"):
        next(results)


def test_an_interrupted_iteration_leaves_no_thread_and_loads_no_more(gpu):
    loaded, before = [], threading.active_count()
    results = collect("cuda", feed("cuda", lambda number: loaded.append(number) or numbered(number), range(100)))
    assert int(next(results)[0]) == 0
    results.close()
    assert threading.active_count() == before
    assert len(loaded) < 10
    assert list(results) == []


def test_ctrl_c_gives_on_what_was_asked_for_before_it(gpu):
    def tasks():
        yield from range(2)
        raise KeyboardInterrupt

    results = collect("cuda", feed("cuda", numbered, tasks()))
    assert [int(next(results)[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(KeyboardInterrupt):
        next(results)
