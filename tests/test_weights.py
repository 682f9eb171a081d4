import pytest
import torch

from pipeline.weights import weights_hash

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
