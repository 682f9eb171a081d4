"""A sample of one frozen CLIP's rows, the base's or a teacher's, computed anew from their source."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import ContractError, Table, check_keys
from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.image_files import bytes_of
from pipeline.features.classes import Contents
from pipeline.features.targets import Selected, Trained
from pipeline.images import decoding
from pipeline.machine.batches import batches
from pipeline.store import keys
from pipeline.verification.compared import Compared
from pipeline.verification.drawn import Drawn, named


class Rows(NamedTuple):
    """Rows of a table: what they are, what computes some of them anew, what else that needs, and how far they may be.

    Without a tolerance it is that of embeddings.
    """

    table: Artifact
    what: str
    run: Callable[[], Compared]
    needed: tuple[Artifact, ...] = ()
    tolerance: float | None = None


class ClipRows:
    """Computes sampled rows of a CLIP's tables anew.

    Args:
        of: its name: `base`, or that of one of the teachers.
    """

    def __init__(self, drawn: Drawn, of: str) -> None:
        self.drawn, self.artefacts, self.of, self.tables = drawn, drawn.artefacts, of, catalog.tables_of(of)

    def tables_with_rows(self) -> list[Rows]:
        """All tables of the CLIP."""
        shards, frozen = tuple(catalog.SHARDS.values()), catalog.clip_of(self.of)
        spans = {SpanKind.PHRASES: self.phrases, SpanKind.TOKENS: self.tokens}
        images, prompts = self.tables.zeroshot
        found = [
            Rows(self.tables.images, "whole images", self.whole_images, (*shards, frozen)),
            Rows(self.tables.regions, "regions", self.regions, (catalog.REGIONS, frozen)),
            Rows(self.tables.captions, "captions", self.captions, (frozen,)),
            *(
                Rows(self.tables.spans[kind], str(kind), spans[kind], (catalog.SPANS, frozen))
                for kind in self.artefacts.span_kinds(self.of)
            ),
            Rows(images, "zero-shot images", self.zeroshot_images, (frozen,)),
            Rows(prompts, "zero-shot prompts", self.zeroshot_prompts, (frozen,)),
            Rows(self.tables.columns, "rewrites and negatives", self.columns, (frozen,)),
        ]
        if self.tables.views:
            found.append(Rows(self.tables.views, "views", self.views, (catalog.VIEWS, *shards, frozen)))
            read = (self.tables.images, self.tables.regions, self.tables.captions, self.tables.views)
            needed = (*read, self.tables.columns, self.tables.spans[SpanKind.PHRASES], catalog.SPANS)
            for i, to in enumerate(catalog.targets_of(self.of).all):
                found.append(Rows(to, "rows of features", partial(self.targets, i), needed, tolerance=0.0))
        return found

    def _table(self, artifact: Artifact) -> Table:
        return self.artefacts.embeddings(artifact, self.of)

    def _compute(self, table: Table) -> Compute:
        made_with = table.json("parameters")
        compiled = bool(made_with.get("compiled", False))
        return Compute(self.artefacts.device, made_with["dtype"], int(made_with["batch"]), compiled=compiled)

    def _embedded(self, table: Table, images: list[Any]) -> NDArray[np.float32]:
        clip, compute = self.artefacts.clip(self.of), self._compute(table)
        to_pixels = clip.pixels()
        parts = ([to_pixels(image) for image in part] for part in batches(images, compute.batch))
        return np.concatenate([part.numpy() for part in encode.images_of(clip, parts, compute)])

    def whole_images(self) -> Compared:
        """Of whole images."""
        table = self._table(self.tables.images)
        names, held = [self.drawn.key(row) for row in self.drawn.images], table.vectors()[self.drawn.rows]
        image_keys = [self.drawn.image_key(row) for row in self.drawn.images]
        anew = self._embedded(table, list(self.drawn.images.values()))
        return Compared.vectors(anew, held, names, "pictures", image_keys)

    def regions(self) -> Compared:
        """Of crops."""
        table = self._table(self.tables.regions)
        crops = self.artefacts.regions().columns["crop"]
        with_crop = np.flatnonzero(crops.is_valid().to_numpy())
        rows = with_crop[self.drawn.of(len(with_crop))]
        data = [crops[int(i)].as_py() for i in rows]
        if not data:
            return Compared()
        index, image_keys = table.integers("region_index"), table.strings("key")
        names = [f"{image_keys[i]} region {index[i]}" for i in rows]
        anew = self._embedded(table, [decoding.decode(crop) for crop in data])
        return Compared.vectors(
            anew, table.vectors()[rows], names, "pictures", [keys.from_bytes(crop) for crop in data]
        )

    def _texts(self, table: Table, texts: list[str], rows: NDArray[np.int64], names: list[str]) -> Compared:
        anew = encode.texts(self.artefacts.clip(self.of), texts, self._compute(table)).numpy()
        return Compared.vectors(anew, table.vectors()[rows], names, "texts", keys.unpack(keys.from_texts(texts)))

    def captions(self) -> Compared:
        """Of captions."""
        rows = self.drawn.of(len(self.drawn.captions))
        table = self._table(self.tables.captions)
        return self._texts(table, [self.drawn.captions[i] for i in rows], rows, named(table, rows))

    def _span_rows(self, kind: SpanKind) -> tuple[Table, NDArray[np.int64], list[dict[str, Any]], list[str]]:
        """The embeddings' table, sampled rows of it, those rows of the spans table, and their captions."""
        table = self._table(self.tables.spans[kind])
        spans = self.artefacts.spans().columns
        same_kind = np.flatnonzero(np.array(spans["kind"].to_pylist()) == str(kind))
        rows = self.drawn.of(len(table))
        held = spans.take(same_kind[rows]).to_pylist()
        texts = dict(zip(self.artefacts.manifest.keys, self.artefacts.manifest.captions, strict=True))
        return table, rows, held, [texts[r["key"]][r["caption_index"]] for r in held]

    def phrases(self) -> Compared:
        """Of phrases."""
        table, rows, held, captions = self._span_rows(SpanKind.PHRASES)
        texts = [c[r["start"] : r["end"]] for r, c in zip(held, captions, strict=True)]
        return self._texts(table, texts, rows, named(table, rows))

    def tokens(self) -> Compared:
        """Of tokens, in their captions."""
        table, rows, held, captions = self._span_rows(SpanKind.TOKENS)
        clip, compute = self.artefacts.clip(self.of), self._compute(table)
        anew = []
        for part in batches(zip(held, captions, strict=True), compute.batch):
            _, tokens = encode.texts_with_tokens(clip, [caption for _, caption in part], compute)
            anew += [tokens[i, 1 + r["span_index"]].numpy() for i, (r, _) in enumerate(part)]
        caption_keys = keys.unpack(keys.from_texts(captions))
        return Compared.vectors(np.stack(anew), table.vectors()[rows], named(table, rows), "tokens", caption_keys)

    def zeroshot_images(self) -> Compared:
        """Of images of the zero-shot set."""
        table = self._table(self.tables.zeroshot[0])
        rows, names = self.drawn.of(len(table)), table.strings("key")
        found = Contents(self.drawn.zeroshot).fingerprint
        if (made_from := table.json("inputs")["zeroshot"]) != found:
            raise ContractError(
                f"{table.path} was made from the zero-shot set {made_from}, {self.drawn.zeroshot} is {found}; "
                "run: dvc repro features"
            )
        data = [bytes_of(self.drawn.zeroshot / names[i]) for i in rows]
        anew = self._embedded(table, [decoding.decode(image) for image in data])
        image_keys = [keys.from_bytes(image) for image in data]
        return Compared.vectors(anew, table.vectors()[rows], [names[i] for i in rows], "pictures", image_keys)

    def zeroshot_prompts(self) -> Compared:
        """Of its prompts."""
        return self._keyed_texts(self.tables.zeroshot[1])

    def columns(self) -> Compared:
        """Of rewrites and negatives."""
        return self._keyed_texts(self.tables.columns)

    def _keyed_texts(self, artifact: Artifact) -> Compared:
        """Of texts that are the keys of a table."""
        table = self._table(artifact)
        rows, every = self.drawn.of(len(table)), table.strings("key")
        texts = [every[i] for i in rows]
        if not texts:
            return Compared()
        return self._texts(table, texts, rows, [repr(text) for text in texts])

    def views(self) -> Compared:
        """Of views."""
        assert self.tables.views is not None, f"{self.of} has no table of views"
        table, views = self._table(self.tables.views), self.artefacts.views_of()
        rows = self.drawn.of(len(views))
        if not len(rows):
            return Compared()
        anew = self._embedded(table, [views.made(row, decoding.decode(views.image(row))) for row in rows.tolist()])
        names = [f"{views.keys[row]} view {views.numbers[row]}" for row in rows]
        return Compared.vectors(anew, table.vectors()[rows], names, "views", keys.unpack(views.store_keys[rows]))

    @cached_property
    def _selected(self) -> list[Selected]:
        ws, train = self.artefacts.ws, self.artefacts.ws.manifest(Split.TRAIN)
        return Trained(ws, self.artefacts.manifest, train, self.artefacts.spans()).select(self.of)

    def targets(self, number: int) -> Compared:
        """Of the features that one of the tables of targets was taken from."""
        selected = self._selected[number]
        table = self.artefacts.ws.table(selected.to, self.artefacts.manifest)
        if len(table) != len(selected.rows):
            raise ContractError(
                f"{table.path}: {len(table)} rows, expected {len(selected.rows)}; run: dvc repro -sf targets"
            )
        rows, names = self.drawn.of(len(table)), table.strings("key")
        if selected.keys is not None:
            check_keys(names, selected.keys, str(table.path))
        taken = selected.table.vectors()[selected.rows[rows]].astype(np.float32)
        return Compared.vectors(taken, table.vectors()[rows], [f"row {row} ({names[row]})" for row in rows])
