"""A model's embeddings of the zero-shot set, read from the tables of a stage."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.zeroshot import accuracy
from pipeline.zeroshot.sets import ZeroshotSet


def read(
    ws: Workspace, tables: tuple[Artifact, Artifact], path: Path, classes: ZeroshotSet, **origin: Any
) -> tuple[Tensor, Tensor]:
    """The embeddings of one split of the zero-shot set at `path`.

    Args:
        tables: of images, by their names below `path`, and of prompts.
        **origin: metadata that must stand in the tables, such as `weights`.

    Returns:
        images float32 [n, d] and class weights float32 [classes, d].

    Raises:
        ContractError: they were made from something else, or lack an image or a prompt.
    """
    keys = files.names_below(path, classes.paths), accuracy.prompts(classes)
    images, prompts = (
        torch.from_numpy(ws.table(table, **origin).lookup(wanted).astype(np.float32))
        for table, wanted in zip(tables, keys, strict=True)
    )
    return images, accuracy.average(prompts, classes)
