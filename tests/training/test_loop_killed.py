"""Real kills: a process ends itself with SIGKILL, so that no handler, no `finally` and no buffer of its own runs."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_loop import FULL, Task, assert_equal, read


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def run_task(checkpoint, place, while_saving):
    task = Task(Path(checkpoint), kill_at=None if while_saving else place, **FULL)
    task.kill = die
    if while_saving:
        save = torch.save

        def torn(state, stream):
            save(state, stream)
            if (state["epoch"], state["done"]) == place:
                stream.truncate(1000)
                die()

        torch.save = torn
    task.loop.run()


def run_student(checkpoint, kill_at_step):
    """Prints the hash of the weights; three steps an epoch."""
    from tiny_models import random_pixels, tiny_clip, unit_rows

    from pipeline import recipes
    from pipeline.distillation.pairs import Pairs
    from pipeline.distillation.student import Student
    from pipeline.distillation.train import StudentTraining, train

    torch.set_num_threads(1)
    own, steps = recipes.RECIPES["preserving"], []

    def terms(b):
        steps.append(b)
        if len(steps) == kill_at_step:
            die()
        return own.terms(b)

    recipes.RECIPES["preserving"] = replace(own, terms=terms)
    torch.manual_seed(0)
    student = Student(tiny_clip(), base_dimension=16, train_text=True, temperature="learnable")
    captions = [[f"{word} {i}" for word in ("cat", "dog")] for i in range(13)]
    pairs = Pairs(random_pixels(13), captions, unit_rows(26, 16), unit_rows(13, 16))
    how = StudentTraining(
        recipe="preserving", epochs=3, batch=4, lr=1e-3, weight_decay=0.1, weights={}, seed=2, micro_batch=2, layers=2,
        unfreeze=1, threads=2, **FULL,
    )  # fmt: skip
    score = {"val_text_to_image_recall@1": 0.5, "val_image_to_text_recall@1": 0.5}
    result = train(
        student, pairs, lambda clip: {**score, "weights": clip.model.visual.conv1.weight.sum().item()}, how,
        device="cpu", checkpoint=Path(checkpoint),
    )  # fmt: skip
    print(student.finished().weights, result.history, result.best_epoch, len(steps))


def process(call):
    """Run a call of this file's functions in a process of its own."""
    here = Path(__file__).parent
    path = os.pathsep.join(str(folder) for folder in (here, here.parent, here.parents[1]))
    return subprocess.run(
        [sys.executable, "-c", f"import test_loop_killed; test_loop_killed.{call}"],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=300, cwd=here.parents[1],
    )  # fmt: skip


@pytest.mark.parametrize("while_saving", [False, True])
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_process_killed_in_mid_epoch_goes_on_where_it_was(tmp_path, while_saving):
    whole = Task(tmp_path / "whole.pt", **FULL)
    result = whole.loop.run()
    ended = process(f"run_task({str(tmp_path / 'run.pt')!r}, (2, 2), {while_saving})")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    state = read(tmp_path / "run.pt")
    assert (state["epoch"], state["done"]) == (2, 1)

    resumed = Task(tmp_path / "run.pt", **FULL)
    assert resumed.loop.run() == result
    assert resumed.taken[0] == (2, 2)
    assert torch.equal(resumed.weight, whole.weight)
    assert_equal(read(tmp_path / "run.pt"), read(tmp_path / "whole.pt"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_student_whose_process_is_killed_in_mid_epoch_becomes_the_same(tmp_path):
    killed = process(f"run_student({str(tmp_path / 'run.pt')!r}, 5)")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    state = read(tmp_path / "run.pt")
    assert (state["epoch"], state["done"]) == (2, 1)
    both = process(
        f"run_student({str(tmp_path / 'run.pt')!r}, 0); test_loop_killed.run_student({str(tmp_path / 'w.pt')!r}, 0)"
    )
    assert both.returncode == 0, both.stderr
    resumed, whole = (line for line in both.stdout.splitlines() if "resumed" not in line)
    assert (resumed.rsplit(" ", 1)[1], whole.rsplit(" ", 1)[1]) == ("5", "9")
    assert resumed.rsplit(" ", 1)[0] == whole.rsplit(" ", 1)[0]
