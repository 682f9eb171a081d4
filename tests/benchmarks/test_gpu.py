"""The programme that says what of a step is not the towers', on a CPU and a tiny model."""

import json
import re

import pytest
from tiny_models import config

from benchmarks import gpu

WAY = re.compile(r"^  (.+?) +[\d.]+ s +[\d.]+ rows/s   not the towers' +(-?[\d.]+)%$", re.MULTILINE)


@pytest.fixture(autouse=True)
def as_it_was():
    import torch

    before = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(before)


def test_every_way_is_told_beside_the_towers_alone(tmp_path, capsys):
    (tmp_path / "tiny.json").write_text(json.dumps(config()))
    few = ["--batch", "4", "--steps", "2", "--rounds", "1", "--threads", "2"]
    gpu.main(["--model", str(tmp_path / "tiny.json"), "--device", "cpu", "--precision", "float32", *few])
    told = capsys.readouterr().out
    parts = [part for part in re.split(r"^(?=\w)", told, flags=re.MULTILINE) if part.split("\n")[0] in gpu.PARTS]
    assert len(parts) == 3
    for part in parts:
        ways = dict(WAY.findall(part))
        first, *others = map(float, ways.values())
        assert first == 0 and len(others) >= 2
        assert all(share < 100 for share in others)
        assert "at most 10%" in part
