"""All tables of one frozen CLIP, the base or a teacher: what they were made with, and their rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import BASE
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.tables import Table
from pipeline.artifacts.weights import WrongWeights
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode, towers
from pipeline.clip.cached import CachedClip
from pipeline.clip.encode import Compute
from pipeline.disk.provenance import provenance
from pipeline.features import classes, image_embeddings, texts
from pipeline.features.classes import Contents
from pipeline.images import decoding
from pipeline.views import view
from pipeline.views.table import ViewsOf


@dataclass(frozen=True)
class Material:
    """What every frozen CLIP embeds; views a teacher alone. `columns`: distinct rewrites and negatives, and what stands
    for them."""

    manifest: Manifest
    regions: Table
    spans: Table
    zeroshot: Contents
    views: ViewsOf
    columns: Sequence[str] = ()
    columns_fingerprint: str = ""


Before = Callable[[CachedClip, str, Material, Sequence[SpanKind]], None]
"""Takes a CLIP, its name, and what it is to embed."""


@dataclass(frozen=True)
class Embedding:
    """Writes the tables of one CLIP after the other.

    A table is bound to what it was made from and with, and to nothing of another CLIP. Its metadata tells besides by
    which `scale` the CLIP's similarities are multiplied and how it reads images (`preprocessing`); tables of one
    `features` belong together.

    Attributes:
        compute: where and how they run.
        store: the feature store's folder.
        before: what is done before the tables of a CLIP are written, such as to fill the store by other machines.
    """

    material: Material
    ws: Workspace
    compute: Compute
    store: Path
    before: Before | None = None

    def base(self, kinds: Sequence[SpanKind]) -> dict[str, int]:
        """Embed whatever is new with the base, spans of some kinds, and write its tables.

        Returns:
            its dimension, and how many distinct captions and spans there are.

        Raises:
            InputError: tokens are wanted of a CLIP that has no embeddings of them.
        """
        clip = self._loaded(BASE)
        return self._write(clip, BASE, kinds, clip.clip.scale)

    def teacher(self, name: str, kinds: Sequence[SpanKind]) -> dict[str, int]:
        """As `base`, with one of the teachers, and of views, too.

        Raises:
            WrongWeights: its folder does not hold what the stage `teachers` has written.
        """
        clip, stated = self._loaded(name), self.ws.summary(catalog.TEACHER_CLIPS.stage)[name]
        if clip.weights != stated["weights"]:
            raise WrongWeights(
                f"{self.ws.path(catalog.clip_of(name))} has weights {clip.weights}, expected {stated['weights']}; "
                f"run: dvc repro -sf {catalog.TEACHER_CLIPS.stage}"
            )
        return self._write(clip, name, kinds, stated["scale"])

    def _loaded(self, name: str) -> CachedClip:
        print(f"embed with {name}", file=sys.stderr)
        loaded = towers.load(self.ws.path(catalog.clip_of(name)), self.compute.device)
        return CachedClip(loaded, self.compute, self.store)

    def _write(self, clip: CachedClip, name: str, kinds: Sequence[SpanKind], scale: float) -> dict[str, int]:
        model, tables, given = clip.clip, catalog.tables_of(name), self.material
        if SpanKind.TOKENS in kinds:
            encode.check_tokens(model)
        if self.before:
            self.before(clip, name, given, kinds)
        folder = self.ws.folder(tables.images.stage)
        used = [clip.images, clip.texts, *([clip.tokens] if SpanKind.TOKENS in kinds else [])]
        weights = {"weights": clip.weights}
        about: dict[str, Any] = {
            "model": f"data/{catalog.clip_of(name).path}",
            **weights,
            "parameters": {
                "batch": self.compute.batch,
                "dtype": self.compute.dtype,
                **({"compiled": True} if self.compute.compiled else {}),
                "spans": list(kinds),
                **model.config,
            },
            "dimension": model.dimension,
            "normalised": True,
            "dtype": self.compute.dtype,
            "device": self.compute.device,
            "scale": scale,
            "preprocessing": {**model.config["preprocess_cfg"], "size": model.image_size},
            "collections": [collection.folder.name for collection in used],
        }
        about["code"] = f"{encode.CODE}, {towers.CODE}, {decoding.CODE}"
        made_from = {table.metadata["kind"]: table.metadata["fingerprint"] for table in (given.regions, given.spans)}
        fingerprint = given.manifest.fingerprint
        metadata = provenance("features", manifest=fingerprint, inputs={**made_from, **weights}, **about)
        metadata["features"] = metadata["fingerprint"]
        image_embeddings.write(clip, given.manifest, given.regions, tables, folder, metadata)
        distinct, _ = texts.write(clip, given.manifest, given.spans, kinds, tables, folder, metadata)
        inputs = {"zeroshot": given.zeroshot.fingerprint, **weights}
        shown = provenance("zero-shot features", manifest="", inputs=inputs, **about)
        classes.write(clip, given.zeroshot, tables, folder, shown)
        inputs = {"columns": given.columns_fingerprint, **weights}
        beside = provenance("column features", manifest=fingerprint, inputs=inputs, **about)
        beside["features"] = metadata["features"]
        texts.write_columns(clip, given.columns, folder / tables.columns.name, beside)
        if tables.views:
            about |= {"code": f"{about['code']}, {view.CODE}", "collections": [clip.views.folder.name]}
            inputs = {"views": given.views.fingerprint, **weights}
            seen = provenance("view features", manifest=fingerprint, inputs=inputs, **about)
            seen["features"] = metadata["features"]
            image_embeddings.write_views(clip, given.views, folder / tables.views.name, seen)
        return {"distinct_texts": distinct, "dimension": model.dimension}
