import pytest
import torch
from tiny_loop import EPOCHS, FULL, STEPS, Counting, Killed, Task, scaler

from pipeline.training.loop import differentiate


def test_without_averaging_the_last_weights_are_the_result():
    task = Counting()
    history = task.loop.run().history
    assert (task.weight, task.shown) == (4.0, [0.0, 2.0, 4.0])
    assert [row["loss"] for row in history[1:]] == [-0.5, -2.5]  # the means of 0, -1 and of -2, -3
    assert [row["b"] for row in history[1:]] == [-0.375, -1.875]


def test_the_result_is_the_moving_average_of_the_weights():
    task = Counting(ema_decay=0.5)
    task.loop.run()
    # Steps end at 1, 2, 3, 4; the average begins with the first: 1, (1 + 2) / 2, (1.5 + 3) / 2, (2.25 + 4) / 2.
    assert task.shown == [0.0, 1.5, 3.125]
    assert task.weight == 3.125


def test_gradients_are_scaled_down_to_the_largest_length():
    task = Counting(slope=10.0, max_grad_norm=0.5)
    history = task.loop.run().history
    assert task.shown == pytest.approx([0.0, 1.0, 2.0], abs=1e-5)
    assert [row["gradient_norm"] for row in history[1:]] == [10.0, 10.0]


def test_short_gradients_are_left_as_they_are():
    task = Counting(slope=0.25, max_grad_norm=0.5)
    task.loop.run()
    assert task.shown == [0.0, 0.5, 1.0]


# Scaled gradients of float16


def test_scaled_gradients_take_the_same_steps():
    plain, scaled = Task(**FULL), Task(scaler=scaler(), **FULL)
    assert scaled.loop.run() == plain.loop.run()  # powers of two change no bit
    assert torch.equal(scaled.weight, plain.weight)


def test_a_scaled_gradient_is_clipped_as_it_is_without_the_scale():
    task = Counting(slope=10.0, max_grad_norm=0.5, scaler=scaler())
    assert [row["gradient_norm"] for row in task.loop.run().history[1:]] == [10.0, 10.0]
    assert task.shown == pytest.approx([0.0, 1.0, 2.0], abs=1e-5)


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_step_whose_float16_gradient_overflows_is_left_out_and_the_scale_is_halved(max_grad_norm):
    task = Counting(scaler=scaler(interval=100), max_grad_norm=max_grad_norm, slope=0.5)

    def backward(batch, scaler):
        terms = differentiate(task.losses)(batch, scaler)
        if scaler.get_scale() == 8:
            task.module.weight.grad.fill_(torch.inf)
        return terms

    task.loop.backward = backward
    history = task.loop.run().history
    assert task.shown == pytest.approx([0.0, 0.5, 1.5])
    assert task.loop.scaler.get_scale() == 4.0
    if max_grad_norm:
        assert history[1]["gradient_norm"] == 0.5  # of the step that was done


def test_the_scale_of_float16_gradients_survives_a_kill(tmp_path):
    whole = Task(tmp_path / "whole.pt", scaler=scaler(), **FULL)
    result = whole.loop.run()
    assert whole.loop.scaler.get_scale() == 8 * 2 ** (EPOCHS * STEPS // 2)
    with pytest.raises(Killed):
        Task(tmp_path / "killed.pt", scaler=scaler(), kill_at=(2, 3), **FULL).loop.run()
    second = Task(tmp_path / "killed.pt", scaler=scaler(), **FULL)
    assert second.loop.run() == result
    assert second.loop.scaler.get_scale() == whole.loop.scaler.get_scale()
    assert torch.equal(second.weight, whole.weight)
