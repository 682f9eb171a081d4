import logging
import resource
import signal

import numpy as np
import pytest
import torch
from tiny_loop import FULL, Killed, Task

from pipeline.errors import InputError
from pipeline.training import checkpoint

DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-1],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[:-4096] + bytes(4096),
    "a text": lambda content: b"<html>404 Not Found</html>",
    "twice": lambda content: content + content,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The bytes of a checkpoint in mid-training, and how training ends that is not killed."""
    folder = tmp_path_factory.mktemp("killed")
    whole = Task(**FULL)
    result = whole.loop.run()
    with pytest.raises(Killed):
        Task(folder / "run.pt", kill_at=(3, 2), **FULL).loop.run()
    return (folder / "run.pt").read_bytes(), result, whole.weight


def check_begun_anew(killed, path, caplog):
    _, result, weight = killed
    again = Task(path, **FULL)
    assert again.loop.run() == result
    assert again.taken[0] == (1, 1)
    assert torch.equal(again.weight, weight)
    assert str(path) in caplog.text and f"it is now {path.stem}.damaged" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_named_and_training_begins_anew(tmp_path, killed, caplog, damage):
    path, content = tmp_path / "run.pt", DAMAGES[damage](killed[0])
    path.write_bytes(content)
    check_begun_anew(killed, path, caplog)
    assert (tmp_path / "run.damaged").read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.damaged", "run.pt"]


def test_no_flipped_bit_is_taken(tmp_path, killed, caplog):
    path, rng = tmp_path / "run.pt", np.random.default_rng(0)
    caplog.set_level(logging.CRITICAL)
    for place in rng.integers(0, 8 * len(killed[0]), 60).tolist():
        content = bytearray(killed[0])
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        assert checkpoint.read(path, "f") is None, f"bit {place}"


def test_a_checkpoint_of_another_program_is_set_aside(tmp_path, killed, caplog):
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "run.pt")
    check_begun_anew(killed, tmp_path / "run.pt", caplog)


def test_a_whole_checkpoint_of_another_training_is_set_aside(tmp_path, killed, caplog):
    checkpoint.write(tmp_path / "run.pt", "another", {"epoch": 3})
    check_begun_anew(killed, tmp_path / "run.pt", caplog)


def test_a_folder_in_its_place_is_set_aside(tmp_path, killed, caplog):
    (tmp_path / "run.pt").mkdir()
    check_begun_anew(killed, tmp_path / "run.pt", caplog)


def test_a_pickle_that_runs_code_is_not_opened(tmp_path, killed, caplog):
    class Hostile:
        def __reduce__(self):
            return (tmp_path.joinpath("opened").mkdir, ())

    checkpoint.write(tmp_path / "run.pt", "f", {"epoch": Hostile()})
    check_begun_anew(killed, tmp_path / "run.pt", caplog)
    assert not (tmp_path / "opened").exists()


def test_a_whole_checkpoint_that_does_not_fit_is_named_with_what_to_do(tmp_path):
    checkpoint.write(tmp_path / "run.pt", "f", {"epoch": 3, "module": {"bias": torch.zeros(3)}})
    with pytest.raises(InputError, match=r"(?s)run\.pt is whole, but does not fit .* Remove it to begin anew"):
        Task(tmp_path / "run.pt", **FULL).loop.run()


def test_equal_states_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        checkpoint.write(tmp_path / f"{name}.pt", "f", {"epoch": 3, "module": torch.arange(5)})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_full_disk_is_told_as_the_disk_tells_it(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.write(tmp_path / "run.pt", "f", {"module": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
