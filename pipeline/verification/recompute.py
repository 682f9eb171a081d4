"""A random sample of rows computed anew from their source, and how far the tables are from that."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.tables import ContractError, Table, offsets
from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.image_files import bytes_of
from pipeline.concepts.clusters import soft_labels
from pipeline.concepts.language import LanguageModel, Source
from pipeline.detector import weights
from pipeline.detector.detect import crop, detect, large_enough
from pipeline.features.classes import Contents
from pipeline.images import decoding
from pipeline.machine.batches import batches
from pipeline.machine.progress import track
from pipeline.spans.phrases import load_parser
from pipeline.spans.table import phrases_of
from pipeline.spans.tokens import token_spans
from pipeline.store import keys
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.train import embed
from pipeline.verification.compared import Compared
from pipeline.verification.findings import Finding, checked
from pipeline.verification.tables import Artefacts

TOLERANCE = {"float32": 0.02, "bfloat16": 0.05, "float16": 0.05}
"""Distance of unit embeddings, and of boxes in shares of an image's side, by the dtype of the forwards. Storing as
float16 alone makes .0005; between float32 and bfloat16 .01 was seen; another row's embedding is far beyond."""
SHADES = 8.0
"""Mean difference of two crops' pixels, of 255; decoders of other versions differ by one or two."""


class Recomputation:
    """Computes sampled rows anew with what their tables say they were computed with.

    Args:
        sample: rows of every table (images, for regions).
    """

    def __init__(self, artefacts: Artefacts, *, sample: int, seed: int, zeroshot: Path) -> None:
        self.artefacts, self.ws, self.zeroshot, self.device = artefacts, artefacts.ws, zeroshot, artefacts.device
        self.sample, self.rng = sample, np.random.default_rng(seed)
        self.rows = self._drawn(len(artefacts.manifest))
        self.captions = [text for texts in artefacts.manifest.captions for text in texts]

    @cached_property
    def images(self) -> dict[int, Image.Image]:
        """The sampled images by their row of the manifest."""
        pairs = zip(self.rows, self.artefacts.manifest.images("read sampled images", self.rows), strict=True)
        return {int(row): decoding.decode(data) for row, (_, data) in pairs}

    def _key(self, row: int) -> str:
        return self.artefacts.manifest.keys[row]

    def _image_key(self, row: int) -> bytes:
        """The key of an image in the feature store."""
        return keys.unpack(self.artefacts.manifest.image_keys[row : row + 1])[0]

    def _drawn(self, count: int) -> NDArray[np.int64]:
        return np.sort(self.rng.choice(count, size=min(self.sample, count), replace=False))

    def check(self) -> Iterator[Finding]:
        """Recompute rows of every table; one finding a table."""
        shards, frozen = tuple(catalog.SHARDS.values()), (catalog.BASE_CLIP,)
        spans = {SpanKind.PHRASES: self._phrases, SpanKind.TOKENS: self._tokens}
        embedded = (catalog.REGION_EMBEDDINGS, catalog.CAPTION_EMBEDDINGS)
        tables: list[tuple[Artifact, Callable[[], Compared], tuple[Artifact, ...]]] = [
            (catalog.REGIONS, self._boxes, (*shards, catalog.DETECTOR)),
            (catalog.REGIONS, self._crops, shards),
            (catalog.SPANS, self._spans, ()),
            (catalog.IMAGE_EMBEDDINGS, self._whole_images, (*shards, *frozen)),
            (catalog.REGION_EMBEDDINGS, self._regions, (catalog.REGIONS, *frozen)),
            (catalog.CAPTION_EMBEDDINGS, self._captions, frozen),
            *(
                (catalog.SPAN_EMBEDDINGS[kind], spans[kind], (catalog.SPANS, *frozen))
                for kind in self.artefacts.span_kinds()
            ),
            (catalog.ZEROSHOT_IMAGES, self._zeroshot_images, frozen),
            (catalog.ZEROSHOT_PROMPTS, self._zeroshot_prompts, frozen),
            (catalog.TARGETS, self._targets, (catalog.TEACHER, *embedded, *catalog.SPAN_EMBEDDINGS.values())),
            (catalog.LANGUAGE, self._language, ()),
            (catalog.CONCEPT_LABELS, self._labels, (catalog.LANGUAGE, catalog.CONCEPTS)),
        ]
        for artifact, run, needed in track(tables, "recompute", unit="tables"):
            what = f"{run.__name__.strip('_').replace('_', ' ')} computed anew"
            outputs = {self.ws.data / part.output for part in (artifact, *needed)}
            yield checked(artifact.path, what, outputs, partial(self._compare, artifact, what, run))

    def _compare(self, artifact: Artifact, what: str, run: Callable[[], Compared]) -> Finding:
        table = self.ws.table(artifact)
        tolerance = SHADES if run == self._crops else TOLERANCE[table.metadata.get("dtype", "float32")]
        found = run()
        deviation = found.largest
        return Finding(artifact.path, what, len(found.names), deviation, found.fault(tolerance, table))

    def _compute(self, table: Table) -> Compute:
        made_with = table.json("parameters")
        return Compute(self.device, made_with["dtype"], int(made_with["batch"]))

    def _embedded(self, table: Table, images: list[Any]) -> NDArray[np.float32]:
        clip, compute = self.artefacts.clip, self._compute(table)
        to_pixels = clip.pixels()
        parts = [encode.images(clip, [to_pixels(p) for p in b], compute) for b in batches(images, compute.batch)]
        return np.concatenate([part.numpy() for part in parts])

    def _region_starts(self) -> tuple[Table, NDArray[np.int64]]:
        table = self.artefacts.regions()
        return table, offsets(table.strings("key"), self.artefacts.manifest.keys, str(table.path))

    def _boxes(self) -> Compared:
        table, start = self._region_starts()
        p = table.json("parameters")
        detector = weights.load(self.ws.path(catalog.DETECTOR), table.metadata["weights"])
        compared = Compared(collection="boxes")
        for rows in batches(self.images, p["batch"]):
            how = {name: p[name] for name in ("confidence", "iou", "image_size", "batch")}
            found = detect(detector, [self.images[row] for row in rows], **how, device=self.device)
            for row, boxes in zip(rows, found, strict=True):
                part = slice(int(start[row]) + 1, int(start[row + 1]))
                held = table.columns.slice(part.start, part.stop - part.start)
                boxes = large_enough(boxes, *self.images[row].size, p.get("min_side", 0))[: p["max_regions"]]
                name, key = f"{self._key(row)} ({len(held)} boxes, {len(boxes)} anew)", self._image_key(row)
                if [b.name for b in boxes] != held["class_name"].to_pylist():
                    compared.add(name, 1.0, key)
                    continue
                corners = np.array([b.corners for b in boxes]).reshape(-1, 4) - table.vectors("box")[part]
                scores = np.array([b.score for b in boxes]) - held["score"].to_numpy()
                distance = np.abs(np.concatenate([corners.ravel(), scores])).max(initial=0.0)
                compared.add(name, float(distance), key)
        return compared

    def _crops(self) -> Compared:
        table, start = self._region_starts()
        p = table.json("parameters")
        boxes, compared = table.vectors("box"), Compared(collection="crops")
        for row, image in self.images.items():
            part = slice(int(start[row]) + 1, int(start[row + 1]))
            key = keys.from_bytes(self._image_key(row), np.ascontiguousarray(boxes[part], dtype="<f4").tobytes())
            for i in range(part.start, part.stop):
                name = f"{self._key(row)} region {i - int(start[row])}"
                cut = crop(image, boxes[i].tolist(), p["margin"], p["crop_side"])
                anew = decoding.decode(decoding.encode_jpeg(cut, p["crop_quality"]))
                held = decoding.decode(table.columns["crop"][i].as_py())
                if held.size != anew.size:
                    compared.add(f"{name} (of {held.size[0]} pixels, {anew.size[0]} anew)", 255.0, key)
                    continue
                difference = np.asarray(held, dtype=np.float32) - np.asarray(anew, dtype=np.float32)
                compared.add(name, float(np.abs(difference).mean()), key)
        return compared

    def _spans(self) -> Compared:
        table = self.artefacts.spans()
        p, manifest = table.json("parameters"), self.artefacts.manifest
        start = offsets(table.strings("key"), manifest.keys, str(table.path))
        parser = load_parser(table.metadata["parser"])
        if parser.name != p["model"]:
            raise ContractError(f"{table.path} was made with {p['model']}, installed here is {parser.name}")
        compared = Compared()
        for row in self.rows:
            held = table.columns.slice(int(start[row]), int(start[row + 1] - start[row])).to_pylist()
            texts = manifest.captions[row]
            for index, (text, phrases) in enumerate(zip(texts, parser(texts), strict=True)):
                found = {SpanKind.PHRASES: phrases_of(text, phrases, p["max_phrases"])}
                found[SpanKind.TOKENS] = token_spans(text, p["tokens"])
                for kind, spans in found.items():
                    same_kind = [r for r in held if r["caption_index"] == index and r["kind"] == kind]
                    if [(s.start, s.end) for s in spans] != [(r["start"], r["end"]) for r in same_kind]:
                        raise ContractError(
                            f"{table.path}: the {kind} of caption {index} of {manifest.keys[row]} are others than "
                            f"those of {text!r}; run: dvc repro -sf spans"
                        )
                    compared.names += [manifest.keys[row]] * len(same_kind)
                    compared.distances += [0.0] * len(same_kind)
        return compared

    def _whole_images(self) -> Compared:
        table = self.artefacts.embeddings(catalog.IMAGE_EMBEDDINGS)
        names, held = [self._key(row) for row in self.images], table.vectors()[self.rows]
        image_keys = [self._image_key(row) for row in self.images]
        return Compared.vectors(self._embedded(table, list(self.images.values())), held, names, "pictures", image_keys)

    def _regions(self) -> Compared:
        table = self.artefacts.embeddings(catalog.REGION_EMBEDDINGS)
        crops = self.artefacts.regions().columns["crop"]
        with_crop = np.flatnonzero(crops.is_valid().to_numpy())
        rows = with_crop[self._drawn(len(with_crop))]
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
        anew = encode.texts(self.artefacts.clip, texts, self._compute(table)).numpy()
        return Compared.vectors(anew, table.vectors()[rows], names, "texts", keys.unpack(keys.from_texts(texts)))

    def _named(self, table: Table, rows: NDArray[np.int64]) -> list[str]:
        """Rows of a caption's, by image, caption and, if it has one, span."""
        owner, index = table.strings("key"), table.integers("caption_index")
        spans = table.integers("span_index") if "span_index" in table.columns.schema.names else None
        names = [f"{owner[i]} caption {index[i]}" for i in rows.tolist()]
        return names if spans is None else [f"{name} span {spans[i]}" for name, i in zip(names, rows, strict=True)]

    def _captions(self) -> Compared:
        rows = self._drawn(len(self.captions))
        table = self.artefacts.embeddings(catalog.CAPTION_EMBEDDINGS)
        return self._texts(table, [self.captions[i] for i in rows], rows, self._named(table, rows))

    def _span_rows(self, kind: SpanKind) -> tuple[Table, NDArray[np.int64], list[dict[str, Any]], list[str]]:
        """The embeddings' table, sampled rows of it, those rows of the spans table, and their captions."""
        table = self.artefacts.embeddings(catalog.SPAN_EMBEDDINGS[kind])
        spans = self.artefacts.spans().columns
        same_kind = np.flatnonzero(np.array(spans["kind"].to_pylist()) == str(kind))
        rows = self._drawn(len(table))
        held = spans.take(same_kind[rows]).to_pylist()
        texts = dict(zip(self.artefacts.manifest.keys, self.artefacts.manifest.captions, strict=True))
        return table, rows, held, [texts[r["key"]][r["caption_index"]] for r in held]

    def _phrases(self) -> Compared:
        table, rows, held, captions = self._span_rows(SpanKind.PHRASES)
        texts = [c[r["start"] : r["end"]] for r, c in zip(held, captions, strict=True)]
        return self._texts(table, texts, rows, self._named(table, rows))

    def _tokens(self) -> Compared:
        table, rows, held, captions = self._span_rows(SpanKind.TOKENS)
        compute = self._compute(table)
        anew = []
        for part in batches(zip(held, captions, strict=True), compute.batch):
            _, tokens = encode.texts_with_tokens(self.artefacts.clip, [caption for _, caption in part], compute)
            anew += [tokens[i, 1 + r["span_index"]].numpy() for i, (r, _) in enumerate(part)]
        caption_keys = keys.unpack(keys.from_texts(captions))
        return Compared.vectors(np.stack(anew), table.vectors()[rows], self._named(table, rows), "tokens", caption_keys)

    def _zeroshot_images(self) -> Compared:
        table = self.artefacts.embeddings(catalog.ZEROSHOT_IMAGES)
        rows, names = self._drawn(len(table)), table.strings("key")
        found = Contents(self.zeroshot).fingerprint
        if (made_from := table.json("inputs")["zeroshot"]) != found:
            raise ContractError(
                f"{table.path} was made from the zero-shot set {made_from}, {self.zeroshot} is {found}; "
                "run: dvc repro features"
            )
        data = [bytes_of(self.zeroshot / names[i]) for i in rows]
        anew = self._embedded(table, [decoding.decode(image) for image in data])
        image_keys = [keys.from_bytes(image) for image in data]
        return Compared.vectors(anew, table.vectors()[rows], [names[i] for i in rows], "pictures", image_keys)

    def _zeroshot_prompts(self) -> Compared:
        table = self.artefacts.embeddings(catalog.ZEROSHOT_PROMPTS)
        rows, prompts = self._drawn(len(table)), table.strings("key")
        texts = [prompts[i] for i in rows]
        return self._texts(table, texts, rows, [repr(text) for text in texts])

    def _language(self) -> Compared:
        table = self.ws.table(catalog.LANGUAGE, self.artefacts.manifest)
        if not len(table):
            return Compared()
        p = table.json("parameters")
        model = LanguageModel(Source(**p["model"]), self.device)
        if model.weights != (made_with := table.json("inputs")["weights"]):
            raise ContractError(f"{table.path} was made with {made_with}, {p['model']['name']} is {model.weights} here")
        rows = self._drawn(len(table))
        texts = [self.captions[row] for row in rows]
        anew = [model.embed(part, max(model.lengths(part)), p["batch"]) for part in batches(texts, p["batch"])]
        vectors, caption_keys = F.normalize(torch.cat(anew), dim=-1).numpy(), keys.unpack(keys.from_texts(texts))
        return Compared.vectors(vectors, table.vectors()[rows], self._named(table, rows), "language", caption_keys)

    def _labels(self) -> Compared:
        table, language, known = (
            self.ws.table(artifact, self.artefacts.manifest)
            for artifact in (catalog.CONCEPT_LABELS, catalog.LANGUAGE, catalog.CONCEPTS)
        )
        if not len(table):
            return Compared()
        p, rows = table.json("parameters"), self._drawn(len(table))
        captions, centres = (one.astype(np.float32) for one in (language.vectors()[rows], known.vectors("centre")))
        anew = soft_labels(captions, centres, temperature=p["temperature"], top=p["top"])
        concepts, shares = (one[rows] for one in self.ws.labels(self.artefacts.manifest))
        each = np.arange(len(rows))[:, None]
        found, held = (np.zeros((len(rows), len(known)), dtype=np.float32) for _ in range(2))
        found[each, anew.concepts], held[each, concepts] = anew.shares, shares
        return Compared(self._named(table, rows), np.abs(found - held).max(axis=1, initial=0.0).tolist())

    def _targets(self) -> Compared:
        targets, manifest = self.artefacts.targets()
        p = targets.table.json("parameters")
        features = FeatureSet(manifest, self.ws, SpanKind(p["spans"]), p["inputs"])
        teacher = MetaTeacher.from_parameters(features.dimension, p).filled(self.artefacts.teacher).to(self.device)
        teacher.eval()
        rows = self._drawn(len(manifest))
        captions = features.random_captions(rows, self.rng)
        pairs = embed(teacher, features, rows, captions, with_text=True)
        held = targets.pairs[features.caption_start[rows] + captions]
        names = [f"{manifest.keys[row]} caption {caption}" for row, caption in zip(rows, captions, strict=True)]
        found = Compared.vectors(pairs.numpy(), held, names)
        if not features.reads_images:
            return found
        alone = embed(teacher, features, rows, np.zeros_like(rows), with_text=False)
        images = Compared.vectors(alone.numpy(), targets.images[rows], [f"{manifest.keys[row]} alone" for row in rows])
        return Compared(found.names + images.names, found.distances + images.distances)
