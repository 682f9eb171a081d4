"""Parameters of the sources: what is read, from where, how much of it, and which column is what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline import sources
from pipeline.params.section import Count, Section, Word
from pipeline.sources.columns import Columns
from pipeline.sources.side_files import COLUMNS, ColumnName

if TYPE_CHECKING:
    _Published = str
else:
    _Published = Literal[tuple(sorted(sources.CORPORA.keys() - {"table", "webdataset", "huggingface"}))]
"""The kinds of which nothing is to be said but where they lie."""


class RecordColumns(Section):
    """What fields or columns are called; those that are not given are told by their names."""

    captions: Word | list[Word] = Field(default=[], description="of a caption, or of a list of captions, each")
    id: Word | None = Field(default=None, description="by which rows of one image are known")
    url: Word | None = None
    split: Word | None = Field(default=None, description="of which val and test are kept out of training")
    licence: Word | None = None
    rewrites: Word | list[Word] = Field(default=[], description="captions in other words, as captions are given")
    negatives: Word | list[Word] = Field(default=[], description="of texts, or of objects with text and image")
    boxes: Word | list[Word] = Field(default=[], description="of objects with box, phrase and score, or lists of them")

    def meant(self) -> Columns:
        """As the readers want it."""
        given = {name: value for name, value in self.model_dump().items() if value}
        for name in {"captions", *COLUMNS} & given.keys():
            given[name] = (given[name],) if isinstance(given[name], str) else tuple(given[name])
        return Columns(**given)


class TableColumns(RecordColumns):
    """What columns are called; those that are not given are told by their names."""

    path: Word | None = Field(default=None, description="of the image's file, relative to the table")
    bytes: Word | None = Field(default=None, description="of the image itself")

    @model_validator(mode="after")
    def _one_image(self) -> Self:
        if self.path and self.bytes:
            raise ValueError(f"path is {self.path} and bytes {self.bytes}; an image is one of them, keep that")
        return self


class SideFiles(Section):
    """Files below a source's folder, joined by the id or the key of its images; for training alone."""

    rewrites: list[Word] = Field(
        default=[], description="captions in other words, of which one may stand for a caption"
    )
    negatives: list[Word] = Field(default=[], description="captions that are wrong for their image")
    boxes: list[Word] = Field(default=[], description="boxes with a phrase and a score, or COCO's annotations")

    def by_column(self) -> dict[ColumnName, list[str]]:
        """As the readers want it."""
        return {name: getattr(self, name) for name in COLUMNS}


class _Source(Section):
    quota: Count = Field(description="images of train and val together")
    path: Word | None = Field(default=None, description="where it lies; if not given, in its name below sources.path")
    captions: Literal["required", "optional"] = Field(
        default="required", description="optional: images without a caption train, too"
    )
    beside: SideFiles = SideFiles()

    def options(self) -> dict[str, Any]:
        """What the reader is told beside the path."""
        return {}


class PlainSource(_Source):
    """A published corpus as it is downloaded, img2dataset's output, or a folder of images with .txt beside them."""

    kind: _Published


class WebDataset(_Source):
    """Tars with KEY.jpg and KEY.txt or KEY.json."""

    kind: Literal["webdataset"]
    columns: RecordColumns = Field(default=RecordColumns(), description="fields of KEY.json")

    def options(self) -> dict[str, Any]:
        """What the reader is told beside the path."""
        return {"columns": self.columns.meant()}


class Table(_Source):
    """CSV, TSV, JSON lines, Parquet or Arrow; `path` may be the file itself."""

    kind: Literal["table"]
    columns: TableColumns = TableColumns()

    def options(self) -> dict[str, Any]:
        """What the reader is told beside the path."""
        return {"columns": self.columns.meant()}


class HuggingFace(Table):
    """A dataset of Hugging Face's `datasets` saved to disk, or by name."""

    kind: Literal["huggingface"]  # type: ignore[assignment]
    dataset: Word | None = Field(default=None, description="its name, or name@revision; needs the library datasets")

    def options(self) -> dict[str, Any]:
        """What the reader is told beside the path."""
        return super().options() | ({"dataset": self.dataset} if self.dataset else {})


Source = Annotated[PlainSource | WebDataset | Table | HuggingFace, Field(discriminator="kind")]


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
            name: sources.Source(
                source.kind, Path(source.path or f"{self.path}/{name}"), source.options(), source.beside.by_column()
            )
            for name, source in self.of.items()
        }
