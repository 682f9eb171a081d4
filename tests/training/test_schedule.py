import pytest
import torch

from pipeline.training.schedule import warmup_cosine


def rates(*, warmup, steps, count):
    """The learning rate of each of `count` steps; the optimizer's own rate is 2."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine(optimizer, warmup=warmup, steps=steps)
    found = []
    for _ in range(count):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


def test_the_rate_rises_in_a_line_and_falls_as_a_cosine_to_zero():
    # (1 + cos(pi p))/2 at p = 0, 1/4, 1/2, 3/4, 1
    falling = [2.0, 2 * 0.853553, 1.0, 2 * 0.146447, 0.0]
    assert rates(warmup=4, steps=8, count=9) == pytest.approx([0.5, 1.0, 1.5, 2.0, *falling], abs=1e-5)


def test_the_rate_stays_zero_after_the_last_step():
    assert rates(warmup=1, steps=3, count=7)[3:] == pytest.approx([0, 0, 0, 0], abs=1e-12)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert rates(warmup=0, steps=2, count=3) == pytest.approx([2.0, 1.0, 0.0], abs=1e-9)


def test_a_run_that_is_all_warm_up_reaches_the_full_rate():
    assert rates(warmup=2, steps=2, count=3) == pytest.approx([1.0, 2.0, 2.0])
