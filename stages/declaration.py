"""What a stage declares, once: what it reads and writes, and which parameters it takes.

dvc.yaml, the code that makes it run again, checkpoints' fingerprints and what `dclip compare` links follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import catalog, code_dependencies
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.params import Params

Work = Callable[["Params", Workspace], dict[str, Any]]
"""Takes the parameters that were declared and the data folder, writes the artifacts, and returns the summary."""


@dataclass(frozen=True)
class Stage:
    """A declared stage.

    Attributes:
        work: what it does; its name is the stage's, the first sentence of its docstring its description.
        reads: artifacts of other stages.
        writes: artifacts, all below data/<name>/.
        takes: parameters and sections that its results depend on.
        unwatched: parameters that change no result, such as the number of workers.
        folders: parameters that name files or folders of the user's, which it reads.
        less_memory: the parameters that make it take less memory if they are lower.
        in_processes: whether it runs in compute.processes processes.
        for_each: a parameter, a list: where it is empty there is no such stage.
    """

    work: Work
    reads: tuple[Artifact, ...]
    writes: tuple[Artifact, ...]
    takes: tuple[str, ...]
    less_memory: str
    unwatched: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    in_processes: bool = False
    for_each: str = ""

    @property
    def name(self) -> str:
        """The name of the stage, which is that of its file."""
        return self.work.__name__

    @property
    def description(self) -> str:
        """Its docstring's first sentence."""
        return (self.work.__doc__ or "").strip().partition("\n")[0].rstrip(".")

    @property
    def help(self) -> str:
        """Its docstring, and what it reads and writes."""
        written = ", ".join(dict.fromkeys(f"data/{artifact.output}" for artifact in self.writes))
        read = ", ".join(f"data/{name}" for name in self.upstream)
        return (
            f"{cleandoc(self.work.__doc__ or '')}\n\nReads {read or 'no other stage'}; writes {written or 'nothing'}."
        )

    @property
    def program(self) -> Path:
        """The file that holds the stage."""
        return Path(__file__).parent / f"{self.name}.py"

    @property
    def upstream(self) -> tuple[str, ...]:
        """The stages that it reads from."""
        return tuple(dict.fromkeys(artifact.stage for artifact in self.reads))

    def code(self) -> str:
        """A fingerprint of all code that its results depend on."""
        return code_dependencies.fingerprint(self.program)

    def watched(self, params: Params) -> dict[str, Any]:
        """The values of the parameters that its results depend on."""
        found: Params = _only(params, [name.split(".") for name in self.takes])
        return found.model_dump()

    def parameters(self, params: Params) -> Params:
        """The parameters that it has declared; all others are missing."""
        found: Params = _only(params, [name.split(".") for name in (*self.takes, *self.unwatched, *self.folders)])
        return found


def _only(section: Any, names: Iterable[list[str]]) -> Any:
    """A copy of a section with some of its parameters alone."""
    names = list(names)
    if [] in names or not hasattr(type(section), "model_fields"):
        return section
    below = {head: [tail for first, *tail in names if first == head] for head, *_ in names}
    return section.model_construct(**{name: _only(getattr(section, name), tails) for name, tails in below.items()})


def stage(
    *,
    reads: Iterable[Artifact] = (),
    writes: Iterable[Artifact],
    takes: Iterable[str],
    less_memory: str,
    unwatched: Iterable[str] = (),
    folders: Iterable[str] = (),
    in_processes: bool = False,
    for_each: str = "",
) -> Callable[[Work], Stage]:
    """Declare a stage; see `Stage`."""

    def declared(work: Work) -> Stage:
        names = tuple(takes), less_memory, tuple(unwatched), tuple(folders)
        found = Stage(work, tuple(reads), tuple(writes), *names, in_processes, for_each)
        elsewhere = [artifact.path for artifact in found.writes if artifact.stage != found.name]
        assert not elsewhere, f"stage {found.name} declares that it writes {elsewhere}"
        return found

    return declared


def declared() -> dict[str, Stage]:
    """Every stage by its name, each after those that it reads from."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem in catalog.STAGES)
    stages = {name: getattr(import_module(f"stages.{name}"), name) for name in names}
    found: dict[str, Stage] = {}

    def add(name: str) -> None:
        if name not in found:
            for above in stages[name].upstream:
                add(above)
            found[name] = stages[name]

    for name in sorted(stages, key=list(catalog.STAGES).index):
        add(name)
    return found
