"""Boxes do not depend on the clock: ultralytics' suppression ends early on a busy machine, or would."""

import os
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_detector import tiny_detector
from tiny_models import picture
from ultralytics.utils import nms

import pipeline.detector
from pipeline.detector import CutShort, weights
from pipeline.detector.detect import detect
from pipeline.disk import files
from pipeline.images import decoding

PICTURES = [picture(seed, 70, 50) for seed in range(4)]


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return tiny_detector(tmp_path_factory.mktemp("detector"))


def boxes(detector):
    return detect(detector, PICTURES, confidence=1e-6, iou=0.5, image_size=64, batch=4, device="cpu")


@pytest.fixture
def hours_pass(monkeypatch):
    """An hour passes between any two looks at ultralytics' clock."""
    ticks = count(0, 3600)
    monkeypatch.setattr(nms, "time", SimpleNamespace(time=lambda: next(ticks)))


def test_boxes_are_the_same_however_long_they_take(detector, monkeypatch, request):
    expected = boxes(detector)
    assert all(expected)
    request.getfixturevalue("hours_pass")
    assert boxes(detector) == expected


def test_a_limit_that_fires_after_all_is_an_error_and_not_a_picture_without_boxes(detector, monkeypatch, hours_pass):
    monkeypatch.setattr(pipeline.detector, "_PATIENCE", 0.05)  # as ultralytics has it
    with pytest.raises(CutShort, match=r"NMS time limit 2.200s exceeded.*run it again"):
        boxes(detector)


@pytest.mark.skipif("DCLIP_REAL_DATA" not in os.environ, reason="DCLIP_REAL_DATA names no folder with photographs")
def test_a_real_detector_loses_no_box_of_a_photograph_while_the_clock_runs_away(hours_pass):
    real = Path(os.environ["DCLIP_REAL_DATA"])
    path = real / "weights/yolo11n.pt"
    photographs = [decoding.decode(p.read_bytes()) for p in sorted((real / "flickr/images").iterdir())[:4]]
    detector = weights.load(path, files.sha256(path))
    found = [
        detect(detector, part, confidence=0.1, iou=0.5, image_size=320, batch=len(part), device="cpu")
        for part in (photographs, *([one] for one in photographs))
    ]  # of a batch the first image gets its boxes in any case
    assert [len(of) for of in found[0]] == [len(of) for (of,) in found[1:]]
    assert all(found[0])
