"""What every stage's program has in common: options, checked parameters, clear errors, metrics."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files, sums
from pipeline.errors import InputError, memory_full, one_line
from pipeline.machine import devices

if TYPE_CHECKING:
    from pipeline.params import Params
    from stages.declaration import Stage

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that set a library's threads when it is imported."""


def home() -> Path:
    """Where the feature store, checkpoints and decoded images are: `.dclip`, or what DCLIP_HOME names."""
    return Path(os.environ.get("DCLIP_HOME", ".dclip"))


def store() -> Path:
    """The feature store's folder."""
    return home() / "store"


DISK_FAULTS = {
    errno.ENOSPC: "the disk is full: make room, then run it again",
    errno.EDQUOT: "the disk quota is used up: make room, then run it again",
    errno.EFBIG: "a file became larger than is allowed here: raise the limit, then run it again",
    errno.EACCES: "a file or folder may not be written or read: change its permissions, then run it again",
    errno.EIO: "the disk cannot be read or written: check it, then run it again",
    errno.EROFS: "the disk is read-only: choose another folder (--data, DCLIP_HOME), then run it again",
}
"""What to do when the disk fails, by the number of the system's error."""


@contextmanager
def explained(lower: str) -> Iterator[None]:
    """Memory that is full, and a disk that cannot be written, become sentences.

    Args:
        lower: what takes less memory if it is lower: parameters or options.

    Raises:
        InputError: there was too little memory, or the disk is full or may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        what = f"{DISK_FAULTS[error.errno]} ({error}). What was written before is whole"
        raise InputError(what) from error
    except (RuntimeError, MemoryError) as error:
        if not (full := memory_full(error)):
            raise
        raise InputError(f"{full} is full ({one_line(error)}): lower {lower}, then run it again") from error


def check_writable(option: str, path: Path) -> None:
    """Before the work is done: a file can be written to `path`.

    Raises:
        InputError: it is a folder, or lies below a file.
    """
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder; expected a file in it")
    if below := next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None):
        raise InputError(f"{option}: {below} is no folder, so {path} cannot be written")


def allow_downloads() -> None:
    """Let what parameters name on a hub be fetched; to be called before the library that does so is imported."""
    os.environ["HF_HUB_OFFLINE"] = "0"


def perform(stage: Stage, params: Params, ws: Workspace) -> dict[str, Any]:
    """Run a stage; its summary becomes data/<its name>/metrics.json, written by the first of several processes.

    What killed runs have left half written, here or in DCLIP_HOME, is removed before.

    Raises:
        InputError: as the stage, or another one that it needs has not run.
    """
    out = ws.folder(stage.name)
    for folder in (out, home()):
        files.sweep(folder)
    sums.forget(out)  # of a run before, which this one's files are no more
    try:
        metrics = stage.work(stage.parameters(params), ws)
    except FileNotFoundError as error:
        path = Path(error.filename or str(error).rpartition(": ")[2])  # safetensors has it in its text alone
        if not path.is_relative_to(ws.data):
            raise
        raise InputError(f"{path} does not exist; run: dvc repro {path.relative_to(ws.data).parts[0]}") from error
    if os.environ.get("RANK", "0") == "0":
        files.write_json(ws.path(catalog.summary(stage.name)), metrics)
        sums.write(out)
    return metrics


def _start_processes(module: str, count: int) -> None:
    """Become torchrun, which runs a stage's program with these arguments in `count` processes of this machine."""
    here = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(count), *here]
    os.execv(sys.executable, [*torchrun, "-m", module, *sys.argv[1:]])  # noqa: S606  our own program; whoever kills this process kills torchrun


def run(stage: Stage) -> None:
    """Make a command-line program of a stage, whose docstring is its help, and run it.

    One that runs in several processes is started by torchrun, which may also be called by hand (for several machines).
    """
    name, in_processes = stage.name, stage.in_processes

    def program(
        params: Annotated[Path, typer.Option(help="Parameters of all stages.")] = Path("params.yaml"),
        data: Annotated[Path, typer.Option(help="Folder with a folder for every stage.")] = Path("data"),
    ) -> None:
        from pipeline.params import load

        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        warnings.filterwarnings("ignore", category=UserWarning, module="open_clip")
        try:
            loaded = load(params)
            devices.check(loaded.compute.device, loaded.compute.processes if in_processes else 1)
            if in_processes and loaded.compute.processes > 1 and "WORLD_SIZE" not in os.environ:
                _start_processes(f"stages.{name}", loaded.compute.processes)
            with explained(stage.less_memory):
                perform(stage, loaded, Workspace(data))
        except InputError as error:
            print(f"{name}: {error}", file=sys.stderr)
            raise typer.Exit(1) from error

    program.__doc__ = stage.help
    app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
    app.command()(program)
    app()


def threads(params: Params) -> None:
    """Check the device, and give every library that computes the number of threads that params.yaml asks for."""
    computing(params.compute.device, params.compute.threads)


def computing(device: str, count: int) -> None:
    """`threads`, of a device and a number of them."""
    from threadpoolctl import threadpool_limits

    devices.check(device)
    arithmetic(device)
    import torch

    for name in THREADS:
        os.environ[name] = str(count)  # of libraries that are imported later, such as FAISS, and of processes
    threadpool_limits(count)
    torch.set_num_threads(count)


def arithmetic(device: str) -> None:
    """Only deterministic kernels of torch, and float32 that is float32, whatever was set before or a library sets."""
    import torch

    # The usual call, use_deterministic_algorithms, imports torch's compiler, which takes longer than torch itself.
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "warn")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    # Nothing here reads memory that nothing has written; filling it first costs a tenth of a training step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
