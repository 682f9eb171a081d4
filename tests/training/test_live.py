import json
import socket

import pytest
from dulwich.repo import Repo

from pipeline.training.live import logger

HISTORY = [
    {"epoch": 0, "val_text_to_image_recall@1": 0.25, "val_zeroshot_top1": 0.5},
    {"epoch": 1, "loss": 2.5, "lr": 1e-4, "val_text_to_image_recall@1": 0.5, "val_zeroshot_top1": 0.4},
    {"epoch": 2, "loss": 2.0, "lr": 1e-5, "val_text_to_image_recall@1": 0.75, "val_zeroshot_top1": 0.3},
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*arguments):
        raise AssertionError("a training's figures stay on this machine")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def told(folder, *histories):
    log = logger(folder)
    for history in histories:
        log(history)
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def column(folder, name):
    header, *rows = (folder / f"plots/metrics/{name}.tsv").read_text().splitlines()
    assert header.split("\t") == ["step", name]
    return [(int(step), float(value)) for step, value in (row.split("\t") for row in rows)]


def grown(epochs=2):
    return [HISTORY[: n + 1] for n in range(epochs + 1)]


def test_every_figure_has_a_file_with_a_row_an_epoch(tmp_path):
    told(tmp_path, *grown())
    names = {name for row in HISTORY for name in row} - {"epoch"}
    assert {p.name for p in (tmp_path / "plots/metrics").iterdir()} == {f"{name}.tsv" for name in names}
    for name in names:
        assert column(tmp_path, name) == [(row["epoch"], row[name]) for row in HISTORY if name in row]


def test_the_summary_holds_the_last_epochs_figures(tmp_path):
    log = logger(tmp_path)
    for history in grown():
        log(history)
        last = history[-1]
        found = json.loads((tmp_path / "metrics.json").read_text())
        assert found == {"step": last["epoch"], **{name: value for name, value in last.items() if name != "epoch"}}


def test_there_is_nothing_but_metrics(tmp_path):
    files = set(contents(told(tmp_path, *grown())))
    assert {name for name in files if not name.startswith("plots/metrics/")} == {"metrics.json"}


def test_the_same_history_is_the_same_bytes_however_it_is_told(tmp_path):
    one_by_one = contents(told(tmp_path / "a", *grown()))
    assert contents(told(tmp_path / "b", *grown())) == one_by_one
    assert contents(told(tmp_path / "c", HISTORY)) == one_by_one, "as a run that resumes is told"


def test_one_list_that_grows_is_told_as_a_training_does(tmp_path):
    log, history = logger(tmp_path / "live"), []
    for row in HISTORY:
        history.append(row)
        log(history)
    assert contents(tmp_path / "live") == contents(told(tmp_path / "whole", HISTORY))


def test_a_history_that_has_been_told_is_not_told_again(tmp_path):
    log = logger(tmp_path)
    log(HISTORY)
    once = contents(tmp_path)
    log(HISTORY)
    assert contents(tmp_path) == once


def test_a_resumed_run_writes_the_epochs_before_it_again(tmp_path):
    told(tmp_path, *grown(1))
    assert column(tmp_path, "loss") == [(1, 2.5)]
    told(tmp_path, HISTORY[:2], HISTORY)
    assert contents(tmp_path) == contents(told(tmp_path / "whole", HISTORY))


def test_figures_of_an_earlier_run_are_gone(tmp_path):
    told(tmp_path, [{"epoch": 0, "val_zeroshot_top1": 0.1, "val_zeroshot_unseen_top1": 0.2}])
    told(tmp_path, HISTORY)
    assert not (tmp_path / "plots/metrics/val_zeroshot_unseen_top1.tsv").exists()
    assert "val_zeroshot_unseen_top1" not in json.loads((tmp_path / "metrics.json").read_text())


def test_with_a_studio_token_in_the_environment_nothing_is_sent_either(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setenv("DVC_STUDIO_TOKEN", "isat_0")
    monkeypatch.setenv("DVC_STUDIO_REPO_URL", "git@example.org:a/b.git")
    monkeypatch.setattr("dvclive.studio.post_live_metrics", lambda *given, **named: sent.append(given))
    told(tmp_path, HISTORY)
    assert sent == []


def test_a_repository_without_a_commit_has_figures_too(tmp_path, monkeypatch):
    Repo.init(str(tmp_path))
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    told(tmp_path / "live", HISTORY)
    assert column(tmp_path / "live", "loss") == [(1, 2.5), (2, 2.0)]
