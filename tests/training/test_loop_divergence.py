import pytest
import torch
from tiny_loop import FULL, SETTINGS, Counting, Killed, Task, scaler

from pipeline.training.loop import TrainingDiverged, differentiate


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("setting", ["plain", "averaged and clipped"])
def test_a_loss_that_is_not_finite_names_epoch_step_samples_and_terms(tmp_path, value, setting):
    saved = tmp_path / "run.pt"
    with pytest.raises(Killed):
        Task(saved, kill_at=(2, 2), **SETTINGS[setting]).loop.run()
    before = saved.read_bytes()
    task = Task(saved, broken={(2, 1): value, (2, 2): value}, **SETTINGS[setting])
    step = 2 if "interval" in SETTINGS[setting] else 1
    message = (
        rf"student: loss is {value} in epoch 2, step {step} \(square {value}, size 0\.\d+\), of samples 8, 9 and 10\."
    )
    with pytest.raises(TrainingDiverged, match=message) as error:
        task.loop.run()
    assert "Lower student.lr, raise its temperature" in str(error.value)
    assert "float32" not in str(error.value), "it is computed in float32"
    assert str(error.value).endswith(f"the last good checkpoint is {saved}")
    assert torch.isfinite(task.weight).all()
    assert saved.read_bytes() == before


def test_after_a_loss_that_was_not_finite_the_run_can_be_resumed(tmp_path):
    whole = Task(tmp_path / "whole.pt", **FULL)
    result = whole.loop.run()
    with pytest.raises(TrainingDiverged):
        Task(tmp_path / "run.pt", broken={(3, 2): torch.nan}, **FULL).loop.run()
    second = Task(tmp_path / "run.pt", **FULL)
    assert second.loop.run() == result
    assert second.taken[0] == (3, 2)


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_breaks_neither_weights_nor_checkpoint(tmp_path, max_grad_norm):
    task = Counting(checkpoint=tmp_path / "run.pt", interval=0.0, max_grad_norm=max_grad_norm)
    task.loop.backward = differentiate(lambda batch: {"root": task.module.weight.abs().sqrt().sum()})  # inf at w = 0
    with pytest.raises(TrainingDiverged):
        task.loop.run()
    assert task.weight == 0
    assert not (tmp_path / "run.pt").exists()


def test_terms_that_cancel_to_nan_stop_too():
    task = Counting()
    task.loop.backward = differentiate(
        lambda batch: {"up": task.module.weight.sum() + torch.inf, "down": task.module.weight.sum() - torch.inf}
    )
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 1 \(up inf, down -inf\)\. Lower"):
        task.loop.run()
    assert task.weight == 0


def test_an_error_without_a_checkpoint_names_none():
    with pytest.raises(TrainingDiverged) as error:
        Task(broken={(1, 1): torch.nan}).loop.run()
    assert "checkpoint" not in str(error.value)


def test_a_loss_that_is_not_finite_is_an_error_in_float16_too():
    with pytest.raises(TrainingDiverged, match="compute in float32 or bfloat16"):
        Task(scaler=scaler(), broken={(2, 1): torch.inf}).loop.run()
