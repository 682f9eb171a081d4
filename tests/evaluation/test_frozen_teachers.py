import numpy as np
import pytest
import torch

from pipeline.evaluation.comparison import Embedded
from pipeline.evaluation.frozen_teachers import FrozenTeacher, figures
from pipeline.retrieval.metrics import evaluate
from pipeline.zeroshot.sets import ZeroshotSet

OWNER = np.array([0, 0, 1, 2])
AXES = np.eye(3, dtype=np.float32)
# Right of every caption but the last, which it takes for one of image 0.
CAPTIONS = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0.8, 0, 0.6]], np.float32)


def classes(seen):
    return ZeroshotSet(["cat", "dog", "moon"], np.array(seen), ["a {}"], [], np.array([0, 0, 1, 2]))


def test_a_teacher_is_measured_as_it_is_and_the_student_beside_it():
    # In its own, wider space; zero-shot it takes the dog for a cat.
    wide = np.zeros((4, 5), np.float32)
    wide[:, :3] = CAPTIONS
    pairs = Embedded(np.eye(3, 5, dtype=np.float32), wide)
    teacher = FrozenTeacher(5, 224, pairs, torch.eye(5)[[0, 0, 0, 2]], torch.eye(5)[:3])
    student = evaluate(AXES, AXES[OWNER], OWNER)
    found = figures(teacher, student, OWNER, classes([True, True, False]), samples=200, seed=1)
    assert (found["dimension"], found["image_size"]) == (5, 224)
    assert found["text_to_image"]["recall@1"] == 3 / 4
    assert found["image_to_text"]["recall@1"] == 1
    assert found["rsum"] == 5.75
    assert found["zeroshot"]["top1"] == pytest.approx(2 / 3)
    assert found["zeroshot_unseen"]["top1"] == 1
    lead = found["difference"]["text_to_image"]["recall@1"]
    # Images drawn with replacement: at worst none is image 2, at best all are.
    assert lead == {"value": 0.25, "low": 0, "high": 1}
    assert found["difference"]["image_to_text"]["recall@1"] == {"value": 0, "low": 0, "high": 0}


def test_of_classes_that_are_not_there_nothing_is_said():
    teacher = FrozenTeacher(3, 32, Embedded(AXES, CAPTIONS), torch.eye(3)[[0, 0, 1, 2]], torch.eye(3))
    student = evaluate(AXES, CAPTIONS, OWNER)
    found = figures(teacher, student, OWNER, classes([True] * 3), samples=20, seed=0)
    assert "zeroshot" in found and "zeroshot_unseen" not in found
