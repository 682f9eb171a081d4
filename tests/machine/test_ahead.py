import threading

import pytest

from pipeline.machine.ahead import ahead


def test_results_come_in_the_order_of_the_tasks():
    assert list(ahead(lambda x: x * x, range(40), threads=3, depth=7)) == [x * x for x in range(40)]
    assert list(ahead(lambda x: x, [], threads=2, depth=2)) == []


def test_tasks_are_taken_only_as_far_ahead_as_asked():
    taken = []

    def tasks():
        for x in range(100):
            taken.append(x)
            yield x

    results = ahead(lambda x: x, tasks(), threads=2, depth=5)
    next(results)
    assert len(taken) == 5
    results.close()


def test_work_goes_on_while_a_result_is_consumed():
    second_began = threading.Event()

    def work(x):
        if x == 1:
            second_began.set()
        return x

    results = ahead(work, range(3), threads=1, depth=2)
    assert next(results) == 0
    assert second_began.wait(timeout=30), "nobody has asked for the second result yet"
    results.close()


def test_an_error_is_raised_where_its_result_would_have_come():
    def work(x):
        if x == 2:
            raise ValueError("no 2")
        return x

    results = ahead(work, range(5), threads=2, depth=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="no 2"):
        next(results)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_tasks_comes_after_the_results_of_those_before(error):
    def tasks():
        yield from range(3)
        raise error

    results = ahead(lambda x: x, tasks(), threads=2, depth=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error):
        next(results)
