import shutil

import numpy as np
import pytest

from pipeline.disk import files, sealed, sums
from pipeline.training import checkpoint
from pipeline.verification import kept


@pytest.fixture
def home(tmp_path):
    """A checkpoint and decoded images, as trainings leave them."""
    checkpoint.write(tmp_path / "home/runs/f1/student.pt", "f1", {"epoch": 3})
    with files.whole(tmp_path / "home/pixels/f2.npy") as temporary:
        with temporary.open("wb") as stream:
            np.save(stream, np.zeros((3, 4), np.uint8))
        sealed.seal(temporary, "f2")
    return tmp_path / "home"


def faults(found):
    return {finding.artefact: finding.fault for finding in found}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_checkpoints_and_pixels_are_read(home):
    assert faults(kept.check(home, 2)) == {"runs/f1/student.pt": "", "pixels/f2.npy": ""}
    assert faults(kept.check(home / "nowhere", 1)) == {}


@pytest.mark.parametrize("name", ["runs/f1/student.pt", "pixels/f2.npy"])
def test_a_flipped_bit_is_named_and_nothing_is_renamed(home, name):
    flip(home / name)
    found = faults(kept.check(home, 1))
    assert "is damaged" in found.pop(name) and not any(found.values())
    assert (home / name).is_file()


def test_a_checkpoint_in_the_folder_of_another_training_is_named(home):
    shutil.copytree(home / "runs/f1", home / "runs/f3")
    assert "not that of checkpoint" in faults(kept.check(home, 1))["runs/f3/student.pt"]


def test_small_files_of_stages_and_of_compared_runs_are_compared_with_what_was_said_of_them(tmp_path):
    for folder in ("teacher", "compare/clip-0/student"):
        files.write_text(tmp_path / folder / "history.csv", "epoch\n1\n")
        sums.write(tmp_path / folder)
    (tmp_path / "compare/clip-0/teacher").symlink_to(tmp_path / "teacher")
    names = ["compare/clip-0/student/SHA256SUMS", "teacher/SHA256SUMS"]
    assert faults(kept.check_small(tmp_path)) == dict.fromkeys(names, ""), "what is linked is checked once"
    (tmp_path / "teacher/history.csv").rename(tmp_path / "elsewhere")
    assert faults(kept.check_small(tmp_path)) == dict.fromkeys(names, ""), "what was not fetched is not compared"
    (tmp_path / "elsewhere").rename(tmp_path / "teacher/history.csv")
    for name in names:
        flip(tmp_path / name.replace("SHA256SUMS", "history.csv"))
    assert all("is not what its stage wrote" in fault for fault in faults(kept.check_small(tmp_path)).values())
