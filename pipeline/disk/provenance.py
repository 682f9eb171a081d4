"""What made a table: written into its metadata, so that whoever reads the file can tell, and check."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import Any

from pipeline.disk import files

PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "ultralytics", "spacy", "numpy", "pillow", "pyarrow", "opencv-python"),
    *("faiss-cpu", "faiss-gpu", "ftfy", "regex", "timm", "transformers", "tokenizers", "sentence-transformers"),
)
"""Those whose version can change the last bits of a result; of FAISS a machine has one of two."""


@cache
def packages() -> dict[str, str]:
    """Versions of Python and of every package that can change a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def provenance(
    kind: str,
    *,
    code: str,
    manifest: str,
    model: str,
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Any],
    collections: Iterable[str] = (),
    **others: Any,
) -> dict[str, Any]:
    """Metadata of a table.

    Args:
        kind: what the table holds.
        code: version of the code that computes it, raised whenever its results change.
        manifest: fingerprint of the manifest whose samples it holds.
        model: what it was computed with, in words.
        inputs: fingerprints and weights hashes of whatever else it was computed from.
        parameters: all that was chosen.
        collections: folders of the feature store that its rows were read from.
        **others: what readers ask for by name, such as `weights`, `dimension`, `normalised`.

    Returns:
        the above; `fingerprint`, which stands for code, manifest, inputs and parameters; and package versions, which
        are told but stand in no fingerprint, so that a team whose versions differ can share.
    """
    made_from = {"code": code, "inputs": dict(inputs), "parameters": dict(parameters)}
    made_with = {"packages": dict(packages()), "collections": list(collections)}
    made_with["fingerprint"] = files.fingerprint(manifest=manifest, **made_from)
    return {"kind": kind, "manifest": manifest, "model": model, **others, **made_from, **made_with}
