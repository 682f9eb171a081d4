import numpy as np
import pytest
from tiny_models import unit_rows
from tiny_training import complete, numbered, pairs, run, student, training

from pipeline.errors import InputError
from pipeline.training.distributed import Group
from pipeline.training.loop import TrainingDiverged


@pytest.mark.parametrize("name", ["contrastive", "labclip"])
def test_too_few_pictures_for_a_step_are_refused(name):
    with pytest.raises(InputError, match=r"no full batch; lower student\.batch"):
        run(student(linear=name == "labclip"), complete(name, 3), training(name))


def test_too_few_pictures_for_the_steps_that_are_asked_for_are_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"continue_base: 8 images, expected 12 for 3 steps of 4; .*base_pairs"):
        run(student(), complete("continue_base"), training("continue_base"), steps=3)


def test_a_batch_that_processes_cannot_share_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"student\.batch is 4, which 3 processes cannot share evenly"):
        run(student(), complete("contrastive"), training("contrastive"), group=Group(0, 3))


def test_a_loss_that_is_not_finite_names_the_pictures_of_the_batch():
    vectors = unit_rows(4, 16)
    vectors[2] = np.nan
    data = pairs([[c] for c in numbered(4)], caption_embeddings=vectors, names=[f"mscoco-{i}" for i in range(4)])
    with pytest.raises(TrainingDiverged, match=r"student: loss is nan in epoch 1, step 1") as caught:
        run(student(), data, training("contrastive"))
    assert all(f"mscoco-{i}" in str(caught.value) for i in range(4))
