"""A training's figures by epoch, as DVCLive writes them for `dvc exp show`, `dvc metrics show` and `dvc plots`."""

from collections.abc import Callable
from pathlib import Path

from dvclive.live import Live

from pipeline.training.loop import Figures


def logger(folder: Path) -> Callable[[list[Figures]], None]:
    """A function that takes the history so far and adds to `folder` what it has not yet been told.

    DVC empties the folder before a run; a run that resumes from a checkpoint writes the epochs before it again.
    """
    live = Live(str(folder), save_dvc_exp=False, dvcyaml=None, report=None)
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
