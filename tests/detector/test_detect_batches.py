import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detector import tiny_detector
from tiny_models import picture
from ultralytics import YOLO

from pipeline.detector.detect import Box, detect
from pipeline.detector.train import architecture

SIZES = [(96, 64), (40, 120), (64, 64), (200, 30), (33, 57), (128, 96), (70, 71), (50, 49)]
PICTURES = [picture(seed, *size) for seed, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return tiny_detector(tmp_path_factory.mktemp("detector"))


def boxes(detector, pictures, batch=8):
    return detect(detector, pictures, confidence=1e-6, iou=0.5, image_size=64, batch=batch, device="cpu")


@pytest.fixture(scope="module")
def of_eight(detector):
    found = boxes(detector, PICTURES)
    assert len(found) == 8
    assert all(found), "without boxes there would be nothing to compare"
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_a_pictures_boxes_do_not_depend_on_its_neighbours(detector, of_eight, count):
    assert boxes(detector, PICTURES[:count]) == of_eight[:count]
    assert boxes(detector, PICTURES[-count:]) == of_eight[-count:]


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_of_another_size_find_the_same_boxes(detector, of_eight, batch):
    for i in range(0, 8, batch):
        for found, wanted in zip(boxes(detector, PICTURES[i : i + batch], batch), of_eight[i : i + batch], strict=True):
            assert len(found) == len(wanted)
            for a, b in zip(found, wanted, strict=True):
                assert a.name == b.name
                assert a.score == pytest.approx(b.score, rel=1e-4)
                assert a.corners == pytest.approx(b.corners, abs=1e-4)


def test_boxes_are_in_the_picture_and_the_best_score_times_area_comes_first(of_eight):
    for found in of_eight:
        for box in found:
            x0, y0, x1, y1 = box.corners
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
            assert 1e-6 < box.score <= 1
        worth = [box.score * box.area for box in found]
        assert worth == sorted(worth, reverse=True)


def test_red_and_blue_are_not_exchanged(detector):
    plain = picture(3, 64, 64)
    exchanged = Image.fromarray(np.asarray(plain)[:, :, ::-1].copy())
    bgr = detector.predict(
        np.asarray(exchanged), imgsz=64, conf=1e-6, iou=0.5, rect=False, device="cpu", verbose=False
    )[0]  # ultralytics takes arrays to be BGR, so this is the same image
    assert sorted(b.score for b in boxes(detector, [plain], 1)[0]) == pytest.approx(
        sorted(bgr.boxes.conf.tolist()), rel=1e-4
    )
    assert boxes(detector, [exchanged], 1) != boxes(detector, [plain], 1)


@pytest.mark.parametrize("count", [1, 3])
def test_torch_keeps_its_threads(tmp_path, count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        boxes(tiny_detector(tmp_path), PICTURES[:1], 1)  # a detector that has not chosen its device yet
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def test_a_threshold_that_nothing_reaches_leaves_no_boxes(detector):
    assert detect(detector, PICTURES[:2], confidence=0.9, iou=0.5, image_size=64, batch=2, device="cpu") == [[], []]


def test_no_pictures_have_no_boxes(detector):
    assert boxes(detector, [], 2) == []


def test_the_area_of_a_box_is_its_share_of_the_picture():
    assert Box((0.25, 0.0, 0.75, 0.5), 0.9, "object").area == 0.25
    assert Box((0.5, 0.5, 0.4, 0.6), 0.9, "object").area == 0


def test_a_narrower_architecture_has_fewer_weights(tmp_path):
    def count(width):
        path = tmp_path / str(width) / "yolo11n.yaml"
        path.parent.mkdir()
        path.write_text(architecture(width))
        return sum(p.numel() for p in YOLO(path, task="detect").model.parameters())

    assert count(0.125) < count(0.25) / 2
