import pytest
from tiny_loop import Task

from pipeline.errors import InputError


def test_training_brings_the_loss_down():
    history = Task().loop.run().history
    assert history[-1]["loss"] < history[1]["loss"]
    assert history[-1]["score"] > history[0]["score"]


def test_history_starts_before_training_and_names_every_term():
    history = Task().loop.run().history
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
    assert set(history[0]) == {"epoch", "score"}
    for row in history[1:]:
        assert set(row) == {"epoch", "score", "square", "size", "loss", "lr", "gradient_norm"}
        assert row["loss"] == pytest.approx(row["square"] + row["size"])
    assert history[-1]["lr"] == pytest.approx(0, abs=1e-9)


def test_training_needs_no_checkpoint():
    task = Task(interval=0.0)
    task.loop.run()
    assert task.epochs == [1, 2, 3, 4]


def test_the_log_is_told_every_epoch():
    task = Task()
    task.loop.run()
    assert task.logged == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]


def test_an_epoch_without_a_full_batch_is_an_error():
    with pytest.raises(InputError, match=r"no full batch; lower student\.batch"):
        Task(steps=0).loop.run()
