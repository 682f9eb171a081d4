import pytest
import torch
from tiny_loop import FULL, SETTINGS, Killed, Task, assert_equal, read
from torch import nn

from pipeline.training.checkpoint import VERSION

PLACES = [(1, 1), (1, 2), (1, 3), (2, 1), (3, 2), (4, 3)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, place, setting):
    whole = Task(tmp_path / "whole.pt", **SETTINGS[setting])
    result = whole.loop.run()

    first = Task(tmp_path / "killed.pt", kill_at=place, **SETTINGS[setting])
    with pytest.raises(Killed):
        first.loop.run()
    torch.manual_seed(123)  # another process begins with another state
    second = Task(tmp_path / "killed.pt", **SETTINGS[setting])
    if (tmp_path / "killed.pt").exists():
        nn.init.zeros_(second.module.weight)  # the checkpoint's are taken
    resumed = second.loop.run()

    assert resumed == result
    assert torch.equal(second.weight, whole.weight)
    assert_equal(read(tmp_path / "killed.pt"), read(tmp_path / "whole.pt"))
    every_step = SETTINGS[setting].get("interval") == 0
    wanted = [at for at in whole.taken if at >= (place if every_step else (place[0], 1))]
    assert second.taken == wanted, "steps that a checkpoint holds are not done again, all others are"


def test_a_run_killed_again_and_again_equals_an_uninterrupted_one(tmp_path):
    whole = Task(tmp_path / "whole.pt", **FULL)
    result = whole.loop.run()
    for place in PLACES:
        with pytest.raises(Killed):
            Task(tmp_path / "killed.pt", kill_at=place, **FULL).loop.run()
    last = Task(tmp_path / "killed.pt", **FULL)
    assert last.loop.run() == result
    assert last.taken == [(4, 3)]
    assert_equal(read(tmp_path / "killed.pt"), read(tmp_path / "whole.pt"))


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = Task(tmp_path / "run.pt", **FULL)
    result = first.loop.run()
    again = Task(tmp_path / "run.pt", **FULL)
    assert again.loop.run() == result
    assert (again.taken, again.states) == ([], {})
    assert torch.equal(again.weight, first.weight)


def test_a_checkpoint_of_another_fingerprint_is_not_used(tmp_path):
    Task(tmp_path / "run.pt", fingerprint="old").loop.run()
    other = Task(tmp_path / "run.pt", fingerprint="new")
    other.loop.run()
    assert other.epochs == [1, 2, 3, 4]
    assert read(tmp_path / "run.pt")["fingerprint"] == "new"


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_a_checkpoint_of_another_version_is_not_used(tmp_path, version):
    Task(tmp_path / "run.pt").loop.run()
    torch.save({"version": version, "fingerprint": "f", "something": "else"}, tmp_path / "run.pt")
    other = Task(tmp_path / "run.pt")
    other.loop.run()
    assert other.epochs == [1, 2, 3, 4]


def test_the_checkpoint_within_an_epoch_is_written_only_after_the_interval(tmp_path):
    for interval, saved in ((1e9, (2, 0)), (0.0, (2, 2))):
        with pytest.raises(Killed):
            Task(tmp_path / f"{interval}.pt", interval=interval, kill_at=(2, 3)).loop.run()
        state = read(tmp_path / f"{interval}.pt")
        assert (state["epoch"], state["done"]) == saved


def test_nothing_is_left_beside_the_checkpoint(tmp_path):
    Task(tmp_path / "runs" / "run.pt", **FULL).loop.run()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run.pt"]


def new_rows(logged):
    """Epochs in the order in which a log that skips what it knows gets them."""
    known = []
    for history in logged:
        known += history[len(known) :]
    return known


@pytest.mark.parametrize("interval", [0.0, 1e9])
@pytest.mark.parametrize("place", [(1, 2), (3, 1), (3, 2)])
def test_after_resuming_the_log_is_told_what_it_missed_and_every_epoch_once(tmp_path, place, interval):
    first = Task(tmp_path / "run.pt", kill_at=place, interval=interval)
    with pytest.raises(Killed):
        first.loop.run()
    assert new_rows(first.logged) == list(range(place[0]))
    second = Task(tmp_path / "run.pt", interval=interval)
    second.loop.run()
    assert second.logged[0] == list(range(place[0]))
    assert new_rows(second.logged) == [0, 1, 2, 3, 4]
    assert len(second.logged) == 1 + 5 - place[0]


def test_begin_is_called_before_every_epoch_also_of_a_resumed_run(tmp_path):
    begun = []
    for kill_at in ((2, 2), None):
        task = Task(tmp_path / "run.pt", kill_at=kill_at, interval=0.0)
        task.loop.begin = lambda epoch, task=task: begun.append((epoch, len(task.taken)))
        if kill_at:
            with pytest.raises(Killed):
                task.loop.run()
        else:
            task.loop.run()
    assert begun == [(1, 0), (2, 3), (2, 0), (3, 2), (4, 5)]
