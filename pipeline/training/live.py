"""A training's figures by epoch, as DVCLive writes them for `dvc exp show`, `dvc metrics show` and `dvc plots`."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dvclive.live import Live
from scmrepo.exceptions import SCMError

from pipeline.training.loop import Figures


class _Live(Live):
    """DVCLive that needs no commit: it names a run after the last one, and fails where git has none yet."""

    def _init_dvc(self) -> None:
        with suppress(SCMError):
            super()._init_dvc()


def logger(folder: Path) -> Callable[[list[Figures]], None]:
    """A function that takes the history so far and adds to `folder` what it has not yet been told.

    DVC empties the folder before a run; a run that resumes from a checkpoint writes the epochs before it again.
    """
    live = _Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
    logged = 0

    def log(history: list[Figures]) -> None:
        nonlocal logged
        for row in history[logged:]:
            live.step = int(row["epoch"])
            for name, value in row.items():
                if name != "epoch":
                    live.log_metric(name, value)
            live.make_summary()
        logged = len(history)

    return log
