import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from tiny_detector import tiny_detector
from tiny_models import picture

from pipeline.artifacts.weights import WrongWeights, weights_hash
from pipeline.detector import weights
from pipeline.detector.detect import detect
from pipeline.disk import files


class Opened:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def saved(tmp_path):
    detector = tiny_detector(tmp_path / "a")
    weights.save(detector.model, tmp_path / "detector.pt")
    return detector, tmp_path / "detector.pt"


def test_a_file_with_another_hash_is_refused_before_it_is_opened(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "detector.pt"
    path.write_bytes(pickle.dumps(Opened(mark)))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WrongWeights) as error:
        weights.load(path, "0" * 64)
    assert not mark.exists()
    assert found in str(error.value) and "0" * 64 in str(error.value)
    assert "models.detector.sha256" in str(error.value)
    pickle.loads(path.read_bytes())
    assert mark.exists(), "opened, it would have left its mark"


def test_a_missing_file_names_the_parameter(tmp_path):
    with pytest.raises(WrongWeights, match=r"no detector weights at .*models\.detector\.path"):
        weights.load(tmp_path / "detector.pt", "0" * 64)


def test_one_flipped_byte_is_refused(saved):
    _, path = saved
    expected = files.sha256(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WrongWeights, match=expected):
        weights.load(path, expected)


def test_saving_twice_gives_equal_files_whatever_their_names(tmp_path):
    for name in ("one", "another"):
        weights.save(tiny_detector(tmp_path / name).model, tmp_path / f"{name}.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()
    weights.save(tiny_detector(tmp_path / "third", seed=1).model, tmp_path / "third.pt")
    assert (tmp_path / "third.pt").read_bytes() != (tmp_path / "one.pt").read_bytes()


def test_where_a_detector_was_loaded_from_does_not_show_when_it_is_saved(saved, tmp_path):
    _, path = saved
    elsewhere = tmp_path / "elsewhere" / "other.pt"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(path.read_bytes())
    for i, place in enumerate((path, elsewhere)):
        weights.save(weights.load(place, files.sha256(place)).model, tmp_path / f"{i}.pt")
    assert (tmp_path / "0.pt").read_bytes() == (tmp_path / "1.pt").read_bytes()


def test_the_file_names_neither_its_folder_nor_a_date(saved, tmp_path):
    _, path = saved
    assert str(tmp_path).encode() not in path.read_bytes()
    content = torch.load(path, weights_only=False)
    assert (content["date"], content["version"], content["train_args"]) == ("", "", {})


def test_a_loaded_detector_finds_what_the_saved_one_found(saved):
    detector, path = saved
    again = weights.load(path, files.sha256(path))
    assert weights_hash(again.model.state_dict()) == weights_hash(detector.model.state_dict())
    how = {"confidence": 1e-6, "iou": 0.5, "image_size": 64, "batch": 2, "device": "cpu"}
    pictures = [picture(1), picture(2)]
    found = detect(again, pictures, **how)
    assert found == detect(detector, pictures, **how)
    assert all(found)


def classifier():
    from ultralytics.nn.tasks import ClassificationModel

    return {"model": ClassificationModel("yolov8n-cls.yaml", nc=2, verbose=False), "train_args": {}}


CONTENTS = {
    "nothing": b"",
    "text": b"hello" * 100,
    "no model": lambda: {"a": 1},
    "a list": lambda: [1, 2],
    "only weights": lambda: {"weight": torch.zeros(2)},
    "a classifier": classifier,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_file_that_holds_no_detector_is_refused_with_its_name(tmp_path, content):
    path = tmp_path / "detector.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content(), path)
    with pytest.raises(WrongWeights, match=str(path)):
        weights.load(path, files.sha256(path))


@pytest.mark.parametrize("name", ["detector.yaml", "detector.onnx", "link.pt", "folder.pt"])
def test_only_a_pt_file_is_opened(tmp_path, name):
    (tmp_path / "link.pt").symlink_to("nowhere.pt")
    (tmp_path / "folder.pt").mkdir()
    if not (tmp_path / name).is_dir() and not name.startswith("link"):
        (tmp_path / name).write_text("nc: 2")
    with pytest.raises(WrongWeights, match=r"give an ultralytics \.pt file"):
        weights.load(tmp_path / name, files.sha256(tmp_path / name) if (tmp_path / name).is_file() else "")
