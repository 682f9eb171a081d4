import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.distributed as dist
from tiny_knowledge import heads, knowledge
from tiny_models import random_pixels, tiny_clip, unit_rows

from pipeline import recipes
from pipeline.distillation.pairs import Negatives, Pairs, Regions
from pipeline.distillation.student import Student
from pipeline.distillation.train import StudentTraining, train
from pipeline.errors import InputError
from pipeline.training.distributed import Group, join

SIZE = 2
STUDENT = {"base_dimension": 16, "train_text": True, "temperature": "learnable"}
CASES = {  # recipe, width and text of the student, how it is trained
    "contrastive": ("contrastive", 16, True, {"captions": None}),
    "frozen text": ("preserving", 16, False, {}),
    "projections": ("dclip_clean", 8, True, {"captions": 2}),
    "targets of pairs": ("dclip", 8, True, {}),
    "micro_batch": ("dclip_clean", 8, True, {"micro_batch": 2, "captions": None}),
    "hard negatives": ("hard_negatives", 16, True, {"captions": None}),
    "hard negatives, chunk": ("hard_negatives", 16, True, {"micro_batch": 1}),
    "regions, chunk": ("dclip_regions", 24, True, {"micro_batch": 1}),
    "frozen hard negatives": ("hard_negatives", 16, False, {}),
    "clipped and averaged": ("clip_refine", 16, True, {"max_grad_norm": 0.5, "ema_decay": 0.5, "patience": 1}),
    "layers": ("contrastive", 16, True, {"layers": 1, "unfreeze": 1, "micro_batch": 3}),
    "linear": ("labclip", 16, False, {}),
    "knowledge": ("knowledge_clip", 16, True, {"captions": None}),
    "knowledge, chunk": ("dclip+knowledge", 8, True, {"micro_batch": 1, "captions": 2}),
}


REGIONS = np.array([0, 1, 3, 6, 7, 8, 10, 11, 13, 14, 16])
"""Where the regions of each image begin: of five there is nothing but themselves."""


class Killed(Exception):
    pass


def data(recipe, train_text):
    """Ten images: three distinct captions in some batches of eight, so that tokens are padded."""
    captions = [["a cat", f"cat {i}"] if i % 3 else [f"dog {i}"] for i in range(10)]
    count = sum(map(len, captions))
    distinct = list(dict.fromkeys(text for texts in captions for text in texts))
    texts = [["a cat"] if text.startswith("dog") else [f"no {text}"] for text in distinct]
    flat = sum(map(len, texts))
    own = recipes.RECIPES[recipe]
    targets = {None: None, "image": unit_rows(10, 16, seed=3), "pair": unit_rows(count, 16, seed=3)}
    return Pairs(
        unit_rows(10, 16, seed=6) if own.linear else random_pixels(10), captions, unit_rows(count, 16, seed=1),
        unit_rows(10, 16, seed=2), targets=targets[own.target],
        negatives=Negatives(texts, None if train_text else unit_rows(flat, 16, seed=4)) if own.negatives else None,
        regions=Regions(random_pixels(6, seed=7), unit_rows(16, 16, seed=7), REGIONS) if own.regions else None,
        knowledge=knowledge(count) if own.knowledge else None,
    )  # fmt: skip


def weights_of(student):
    student.finished()  # the model's own copy of the temperature is of no use before
    return {name: value.clone() for name, value in student.state_dict().items()}


def trained(case, group, checkpoint=None):
    """A student after a few steps: weights before and after, figures, and what it was validated with."""
    recipe, width, train_text, how = CASES[case]
    linear = recipes.RECIPES[recipe].linear
    torch.manual_seed(0)
    student = Student(
        tiny_clip(embed_dim=width), base_dimension=16, train_text=train_text, temperature="learnable", linear=linear,
        **heads(recipe),
    )  # fmt: skip
    before = weights_of(student)
    shown = []

    def validate(clip):
        shown.append(clip.weights)
        score = clip.model.visual.attnpool.c_proj.weight[0, 0].item()  # another one in every epoch
        return {"val_text_to_image_recall@1": score, "val_image_to_text_recall@1": group.rank}

    training = StudentTraining(
        **{"recipe": recipe, "epochs": 3, "batch": 4, "lr": 1e-3, "weight_decay": 0.1, "weights": {}, "seed": 1, **how},
        interval=0.0,
    )
    # A key's bias has no influence, so its gradient is rounding error; with its own eps Adam makes whole steps of that.
    with patch.object(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-3)):
        result = train(
            student, data(recipe, train_text), validate, training, device="cpu", base_scale=20.0, group=group,
            checkpoint=checkpoint, fingerprint="f",
        )  # fmt: skip
    return {
        "before": before, "state": weights_of(student), "history": result.history, "best": result.best_epoch,
        "validations": len(shown),
    }  # fmt: skip


def resumed(folder, group):
    """Killed in the second step of the second epoch, and run again."""
    whole = trained("micro_batch", group, folder / "whole.pt")
    own, taken = recipes.RECIPES["dclip_clean"], []

    def terms(b):
        taken.append(b)
        if len(taken) == 4:
            raise Killed
        return own.terms(b)

    recipes.RECIPES["dclip_clean"] = replace(own, terms=terms)
    try:
        trained("micro_batch", group, folder / "killed.pt")
    except Killed:
        recipes.RECIPES["dclip_clean"] = own
    again = trained("micro_batch", group, folder / "killed.pt")
    return {"whole": whole, "again": again, "taken": len(taken)}


def work(folder):
    """What each process does; everything that it finds is in a file of its own."""
    folder = Path(folder)
    torch.set_num_threads(1)
    group, device = join("cpu")
    found = {"group": (group.rank, group.size, group.first, device), "again": join("cpu")[0] == group}
    rank = group.rank
    found["gathered"] = group.gather(torch.tensor([[10.0 * rank, 1.0], [10.0 * rank + 5, 2.0]], requires_grad=True))
    found["columns"] = group.gather(torch.arange(6).reshape(2, 3).T[rank : rank + 2])  # not contiguous
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    parameters[0].grad = torch.tensor([1.0, 4.0]) * (rank + 1)
    group.average(parameters)
    found["averaged"] = [p.grad for p in parameters]
    found["from first"] = group.from_first(lambda: {"computed by": rank})

    def make():
        mark = folder / "made"
        there = mark.exists()
        mark.touch()
        return there, rank

    found["in turn"] = group.in_turn(make)
    for case in CASES:
        checkpoint = folder / f"{case} {rank}.pt"
        found[case] = trained(case, group, checkpoint)
        found[f"{case}, saved"] = checkpoint.exists()
    found["resumed"] = resumed(folder, group)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


ON_HOSTS = ("contrastive", "hard negatives, chunk", "layers")


def work_on_host(folder):
    """What the only process of each of two hosts does; each has a folder of its own."""
    torch.set_num_threads(1)
    group, _ = join("cpu")
    own = Path(folder) / f"host {group.rank}"
    own.mkdir()
    found = {"group": (group.rank, group.size, group.local)}
    found["in turn"] = group.in_turn(lambda: (own / "cache").touch() or sorted(p.name for p in own.parent.glob("*/*")))
    found |= {case: trained(case, group, own / f"{case}.pt") for case in ON_HOSTS}
    torch.save(found, Path(folder) / f"{group.rank}.pt")
    dist.destroy_process_group()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two processes have found, begun anew as torchrun begins them."""
    folder = tmp_path_factory.mktemp("ranks")
    shared = {"WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    code = "import sys, test_distributed; test_distributed.work(sys.argv[1])"
    command = [sys.executable, "-c", code, str(folder)]
    return found_by(folder, [(command, shared | {"RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(SIZE)])


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """What two machines with a process each have found: two of torchrun's agents, which meet at an address."""
    folder = tmp_path_factory.mktemp("hosts")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(SIZE), "--nproc-per-node", "1"]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-id", "hosts", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    torchrun += ["--local-addr", "127.0.0.1"]
    work = ["-m", "test_distributed", str(folder)]
    return found_by(folder, [([*torchrun, "--rdzv-conf", f"is_host={1 - host}", *work], {}) for host in range(SIZE)])


def found_by(folder, commands):
    """What processes that were started together with these variables have left in a folder."""
    here = Path(__file__).parent
    paths = os.pathsep.join(str(path) for path in (here, here.parent, here.parents[1]))
    shared = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    logs = [folder / f"{rank}.log" for rank in range(SIZE)]
    processes = []
    try:
        for path, (command, variables) in zip(logs, commands, strict=True):
            with path.open("wb") as log:
                given = {"stdout": log, "stderr": log, "cwd": here.parents[1], "env": shared | variables}
                processes.append(subprocess.Popen(command, **given))
        ended = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.terminate()  # torchrun's agents end what they have started
            process.wait()
    assert ended == [0] * SIZE, "\n".join(log.read_text()[-3000:] for log in logs)
    return [torch.load(folder / f"{rank}.pt") for rank in range(SIZE)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_the_student_that_one_trains(ranks, case, tmp_path):
    alone = trained(case, Group(), tmp_path / "run.pt")
    first = ranks[0][case]
    for name, value in alone["state"].items():
        torch.testing.assert_close(first["state"][name], value, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    moved = [float((v - alone["before"][n]).abs().max()) for n, v in alone["state"].items()]
    assert max(moved) > 1e-3, "it has gone a hundred times as far as the two may differ"
    assert first["best"] == alone["best"]
    assert len(first["history"]) == len(alone["history"])
    for row, wanted in zip(first["history"], alone["history"], strict=True):
        assert row == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_history_and_weights(ranks, case):
    first, second = (rank[case] for rank in ranks)
    assert second["history"] == first["history"]
    assert second["best"] == first["best"]
    for name, value in first["state"].items():
        assert torch.equal(second["state"][name], value), name


@pytest.mark.parametrize("case", CASES)
def test_only_the_first_process_validates_and_saves(ranks, case):
    first, second = ranks
    assert first[case]["validations"] == len(first[case]["history"])
    assert second[case]["validations"] == 0
    assert (first[f"{case}, saved"], second[f"{case}, saved"]) == (True, False)


def test_killed_processes_go_on_where_they_were(ranks):
    for found in (rank["resumed"] for rank in ranks):
        assert found["taken"] == 4
        assert found["again"]["history"] == found["whole"]["history"]
        for name, value in found["whole"]["state"].items():
            assert torch.equal(found["again"]["state"][name], value), name


def test_processes_join_as_they_were_numbered(ranks):
    assert [rank["group"] for rank in ranks] == [(0, 2, True, "cpu"), (1, 2, False, "cpu")]
    assert all(rank["again"] for rank in ranks)


def test_gathered_rows_are_those_of_all_in_order_without_gradient(ranks):
    for rank in ranks:
        assert rank["gathered"].tolist() == [[0, 1], [5, 2], [10, 1], [15, 2]]
        assert not rank["gathered"].requires_grad
        assert rank["columns"].tolist() == [[0, 3], [1, 4], [1, 4], [2, 5]]


def test_gradients_are_averaged_where_there_are_any(ranks):
    for rank in ranks:
        assert rank["averaged"][0].tolist() == [1.5, 6.0]
        assert rank["averaged"][1] is None


def test_what_the_first_process_computes_is_given_to_all(ranks):
    assert [rank["from first"] for rank in ranks] == [{"computed by": 0}] * 2


def test_the_first_process_makes_its_own_before_the_others(ranks):
    assert [rank["in turn"] for rank in ranks] == [(False, 0), (True, 1)]


@pytest.mark.parametrize("case", ON_HOSTS)
def test_two_hosts_train_the_student_that_two_processes_of_one_train(ranks, hosts, case):
    for host, rank in zip(hosts, ranks, strict=True):
        assert host[case]["history"] == rank[case]["history"]
        for name, value in rank[case]["state"].items():
            assert torch.equal(host[case]["state"][name], value), name


def test_hosts_join_with_a_first_process_each_which_makes_its_own_after_the_firsts(hosts):
    assert [host["group"] for host in hosts] == [(0, 2, 0), (1, 2, 0)]
    assert [host["in turn"] for host in hosts] == [["cache"], ["cache", "cache"]]


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_batch_that_cannot_be_shared_is_an_error(batch):
    made = Student(tiny_clip(), **STUDENT)
    how = StudentTraining(
        recipe="contrastive", epochs=1, batch=batch, lr=1e-3, weight_decay=0.0, weights={}, seed=1
    )  # fmt: skip
    with pytest.raises(InputError, match=rf"student\.batch is {batch}, which 2 processes cannot share evenly"):
        train(made, data("contrastive", True), lambda clip: {}, how, device="cpu", group=Group(1, 2))


def test_parts_are_equal_and_together_the_whole():
    rows = list(range(6))
    assert [rows[Group(rank, 3).part(6)] for rank in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert rows[Group().part(6)] == rows


def test_rows_are_padded_with_the_last_until_all_have_equally_many():
    rows = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
    assert Group(1, 3).padded(rows).tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [7, 8], [7, 8]]
    assert torch.equal(Group(0, 2).padded(rows), rows)
    assert torch.equal(Group().padded(rows), rows)
    assert Group(0, 4).padded(rows[:1]).tolist() == [[1, 2]] * 4


def test_one_process_does_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join("cuda") == (Group(), "cuda")
    group = Group()
    assert group.first and not Group(1, 2).first
    rows = torch.ones(2, requires_grad=True)
    assert torch.equal(group.gather(rows), rows) and not group.gather(rows).requires_grad
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([3.0])
    group.average([parameter])
    assert parameter.grad.item() == 3
    assert group.from_first(lambda: 5) == group.in_turn(lambda: 5) == 5


if __name__ == "__main__":
    work_on_host(sys.argv[1])
