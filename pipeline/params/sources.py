"""Parameters of the sources: what is read, from where, how much of it, and which column is what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline import sources
from pipeline.params.section import Count, Section, Word

if TYPE_CHECKING:
    _Published = str
else:
    _Published = Literal[tuple(sources.CORPORA)]
"""The kinds that have a layout of their own, and so nothing to say of columns."""


class _Source(Section):
    quota: Count = Field(description="images of train and val together")
    path: Word | None = Field(default=None, description="where it lies; if not given, in its name below sources.path")
    captions: Literal["required", "optional"] = Field(
        default="required", description="whether an image needs a caption"
    )


class PublishedCorpus(_Source):
    """A corpus as it is downloaded."""

    kind: _Published


Source = PublishedCorpus


class Sources(Section):
    """What is read, and from where."""

    sample: list[Literal["world"]] = Field(description="[world] to generate the sample world, [] for real data")
    path: Word = Field(description="folder that holds a folder for every source; DVC looks for changes below it")
    of: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], Source] = Field(
        description="sources by name; keys of samples begin with it"
    )

    @model_validator(mode="after")
    def _keys_are_unique(self) -> Self:
        """Names stand before the first hyphen of a key, or what looks like it."""
        for name in self.of:
            if longer := next((other for other in self.of if other.startswith(f"{name}-")), None):
                raise ValueError(f"of: {longer} and {name} could give two images one key; rename one of them")
        return self

    @property
    def quota(self) -> dict[str, int]:
        """Images of train and val together, by source."""
        return {name: source.quota for name, source in self.of.items()}

    def given(self) -> dict[str, sources.Source]:
        """What is read of every source, as the readers want it."""
        return {
            name: sources.Source(source.kind, Path(source.path or f"{self.path}/{name}"))
            for name, source in self.of.items()
        }
