import pytest
import torch
from safetensors.torch import save_file

from pipeline.artifacts.weights import WrongWeights, read, weights_hash
from pipeline.errors import InputError, refusing

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0), "c": torch.tensor(3)}


def test_the_hash_does_not_depend_on_order_or_memory_layout():
    backwards = dict(reversed(STATE.items()))
    turned = {**STATE, "a": STATE["a"].T.contiguous().T}
    assert not turned["a"].is_contiguous()
    assert weights_hash(backwards) == weights_hash(turned) == weights_hash(STATE)


@pytest.mark.parametrize(
    "changed",
    [
        {"a": torch.tensor([[0.0, 1, 2], [3, 4, 5.0000005]])},
        {"a": STATE["a"].reshape(3, 2)},
        {"a": STATE["a"].half()},
        {"c": torch.tensor(3, dtype=torch.int32)},
        {"d": torch.zeros(0)},
    ],
    ids=["value", "shape", "float dtype", "integer dtype", "name"],
)
def test_the_hash_sees_every_change(changed):
    assert weights_hash({**STATE, **changed}) != weights_hash(STATE)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"version https://git-lfs", bytes(1000)])
def test_a_file_of_weights_that_cannot_be_read_is_refused_with_advice(tmp_path, content):
    path = tmp_path / "teacher.safetensors"
    if content is None:
        path.symlink_to("nowhere")
    else:
        path.write_bytes(content)
    with pytest.raises(WrongWeights, match=r"teacher\.safetensors.*run: dvc repro"):
        read(path, "run: dvc repro")


def test_half_a_file_of_weights_is_refused_and_a_whole_one_read(tmp_path):
    path = tmp_path / "teacher.safetensors"
    save_file({"a": torch.arange(1000)}, path)
    assert torch.equal(read(path, "")["a"], torch.arange(1000))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WrongWeights, match=str(path)):
        read(path, "")


def test_what_a_library_raises_becomes_one_line_and_an_error_of_ours_stays():
    with pytest.raises(WrongWeights, match=r"^it is broken \(many lines\)$"), refusing("it is broken", WrongWeights):
        raise StopIteration("many\n\n  lines")
    with pytest.raises(InputError, match=r"\(StopIteration\)"), refusing("it"):
        next(iter([]))
    with pytest.raises(InputError, match=r"^it says it all$"), refusing("it", WrongWeights):
        raise InputError("it says it all")
    with pytest.raises(KeyboardInterrupt), refusing("it"):
        raise KeyboardInterrupt
