"""What tests of verification have in common: a check of everything, tables that are written again."""

import shutil

import numpy as np
import pyarrow as pa

from pipeline.artifacts.workspace import Workspace
from pipeline.verification.verify import verify

FEWER = (
    "regions/regions.arrow", "concepts/language.arrow", "concepts/labels.arrow", "features/views.arrow",
    "features/teachers/large/views.arrow", "targets/teachers/large/views.arrow",
)  # fmt: skip
"""Tables of which the tiny world may have fewer rows than are drawn."""


def check(data, params, sample=12):
    found = list(
        verify(
            Workspace(data),
            data.parent / "data" / "sample/zeroshot",
            data.parent / "store",
            data.parent / "dvc.lock",
            sample=sample,
            seed=0,
            device="cpu",
        )
    )
    return found, {f.artefact: f.fault for f in found if f.fault}


def rewrite(path, change):
    """Write a table again with some columns changed and its metadata as they were."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        columns = {name: table[name].combine_chunks() for name in table.schema.names}
        schema = table.schema
    columns |= change(columns)
    batch = pa.record_batch([columns[name] for name in schema.names], schema=schema)
    with pa.ipc.new_file(str(path) + ".new", schema) as writer:
        writer.write_batch(batch)
    shutil.move(str(path) + ".new", path)


def embeddings_of(column):
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def as_column(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).reshape(-1)), rows.shape[1])
