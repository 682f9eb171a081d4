"""Devices that are unknown or not here,, in words that say what to do."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_clip

from pipeline.clip import towers
from pipeline.errors import InputError, memory_full, refusing
from pipeline.machine import devices

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize("name", ["cuba", "", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:1e9", "cuda:0,1", "0", "meta"])
def test_what_is_no_device_is_refused_with_what_is_one(name):
    with pytest.raises(InputError, match="expected cpu, cuda, a GPU by its number such as cuda:0, or mps"):
        devices.check(name)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_device_here_or_refused_in_one_line(name):
    try:
        devices.check(name)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        torch.empty(0, device=name)


@needs_no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "cuda:99"])
def test_a_gpu_that_is_not_here_is_one_sentence_about_it_and_not_about_weights(tmp_path, name):
    tiny_clip().save(tmp_path)
    with pytest.raises(InputError) as caught:
        towers.load(tmp_path, name)
    assert f"the device {name} is not on this machine" in str(caught.value)
    assert str(caught.value).endswith("set compute.device, or --device, to cpu")
    assert "\n" not in str(caught.value)


def test_gpus_that_are_here_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"to cpu or cuda:0 or cuda:1$"):
        devices.check("cuda:2")
    with pytest.raises(InputError, match=r"compute.processes is 3; each needs a GPU, and there are 2"):
        devices.check("cuda", processes=3)


def test_a_gpu_that_torch_counts_but_cannot_use_says_why(monkeypatch):
    def broken(*args, **how):
        raise RuntimeError("CUDA driver is too old (found version 11000)\n\nPlease update\n")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "empty", broken)
    with pytest.raises(
        InputError,
        match=r"cuda cannot be used: CUDA driver is too old \(found version 11000\) Please update; set .* to cpu$",
    ):
        devices.check("cuda")


def test_the_cpu_is_there_without_importing_torch():
    program = "import sys; from pipeline.machine import devices; devices.check('cpu'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def too_much():
    torch.empty(1 << 60)


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), "the GPU's memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "the GPU's memory"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "the GPU's memory"),
        (MemoryError(), "the machine's memory"),
        (RuntimeError("a mistake"), None),
        (ValueError("out of memory"), None),
    ],
)
def test_memory_that_is_full_is_told_from_other_errors(error, whose):
    assert memory_full(error) == whose


def test_torchs_own_error_of_a_full_machine_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        too_much()
    assert memory_full(caught.value) == "the machine's memory"


def test_full_memory_is_no_fault_of_a_file_that_is_read():
    with pytest.raises(MemoryError), refusing("weights.pt is no weights file"):
        raise MemoryError
