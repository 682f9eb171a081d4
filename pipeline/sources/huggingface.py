"""A dataset of Hugging Face's `datasets`: as `save_to_disk` writes it, or by name, with the library installed.

    dataset_dict.json, train/, test/    a folder for every split
    state.json, data-*.arrow            one dataset

Arrow files are read where they lie, their images by their place in the file. Columns are told or named as those of a
table. Images of a split `validation` or `test` are kept out of training, whether a folder or a column names it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import refusing
from pipeline.sources import folders, table
from pipeline.sources.columns import TOLD, Columns, Evaluation, published
from pipeline.sources.entries import identify
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Corpus, Held, Row, SourceError


def read(path: Path, columns: Columns = TOLD, dataset: str = "") -> Iterator[Row | Held]:
    """Every row of a dataset, each an image and its captions.

    Args:
        path: of the folder, or of what the library keeps of a dataset by name.
        dataset: its name, which may be a path that the library can load; `name@revision` pins it.

    Raises:
        SourceError: there is no dataset, a file of it is missing, or the library is.
    """
    files = _fetched(dataset, path) if dataset else _saved(path)
    splits = {file: split for file in files if (split := _split(file.parent / "state.json"))}
    yield from table.rows(files, path, columns, splits)


def _saved(path: Path) -> list[Path]:
    """The Arrow files of a dataset on disk, in their order."""
    if not path.is_dir():
        raise SourceError(f"there is no folder {path}, which the dataset names as a split; save the dataset again")
    if (path / "dataset_dict.json").is_file():
        splits = field(_json(path / "dataset_dict.json"), "splits")
        if not isinstance(splits, list) or not all(isinstance(each, str) and each for each in splits):
            raise SourceError(f"{path}/dataset_dict.json names no splits; save the dataset again")
        return [file for split in splits for file in _saved(path / split)]
    if (path / "state.json").is_file():
        entries = field(_json(path / "state.json"), "_data_files")
        files = []
        for entry in entries if isinstance(entries, list) else [None]:
            name = field(entry, "filename")
            if not isinstance(name, str) or not (path / name).is_file():
                raise SourceError(f"{path}/state.json names {name!r}, which is not there; save the dataset again")
            files.append(path / name)
        return files
    found = [path / name for name in sorted(folders.below(path)) if name.endswith(".arrow")]
    if not found:
        raise SourceError(
            f"found no dataset in {path}; expected dataset_dict.json or state.json, as save_to_disk writes them, or "
            "*.arrow. Parquet files are of kind table"
        )
    return found


def _split(state: Path) -> Evaluation | None:
    """The split that a dataset says it was taken from, such as `test[:10%]`, if that keeps it out of training."""
    named = printable(field(_json(state), "_split")) if state.is_file() else ""
    return next(filter(None, (published(part.partition("[")[0]) for part in named.split("+"))), None)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read: {error}; save the dataset again") from error


def _fetched(dataset: str, path: Path) -> list[Path]:
    """The Arrow files of a dataset by name, saved to `path` at the first time; the library fetches what it lacks."""
    if not any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        try:
            import datasets
        except ImportError as error:
            raise SourceError(
                f"{dataset} is a dataset by name, which the library datasets fetches: pip install datasets; or save it "
                f"elsewhere by save_to_disk and put it at {path}"
            ) from error
        if path.is_dir() and any(path.iterdir()):
            raise SourceError(f"{path} holds something else than {dataset}; empty it, or set `path` of this source")
        name, _, revision = dataset.partition("@")
        part = path.with_name(f".{path.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a fetch that was killed
        with refusing(f"{dataset} cannot be fetched and saved to {path}", SourceError):
            datasets.load_dataset(name, revision=revision or None).save_to_disk(str(part))
        part.replace(path)
    return _saved(path)


def recognise(folder: Folder) -> Recognised | None:
    """A dataset, or several as its splits, that was saved to disk."""
    by = folder.matching("dataset_dict.json") or folder.matching("dataset_info.json")
    saved = folder.matching("*.arrow") or folder.matching("*/*.arrow") or folder.matching("state.json")
    return Recognised("huggingface", tuple(by)) if by and saved else None


CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="a dataset of Hugging Face's library",
    citation="",
    terms="as the dataset's own page says",
    identify=identify,
)
