"""A random sample of rows computed anew from their source, and how far the tables are from that."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import ContractError, Table, offsets
from pipeline.concepts.clusters import soft_labels
from pipeline.concepts.language import LanguageModel, Source
from pipeline.detector import weights
from pipeline.detector.detect import Box, crop, detect, large_enough
from pipeline.detector.given import GivenBoxes
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
from pipeline.verification.artefacts import Artefacts
from pipeline.verification.compared import Compared
from pipeline.verification.drawn import Drawn, named
from pipeline.verification.findings import Finding, checked
from pipeline.verification.recompute_clip import ClipRows, Rows
from pipeline.views import view

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
        self.artefacts, self.ws, self.device = artefacts, artefacts.ws, artefacts.device
        self.drawn = Drawn(artefacts, sample=sample, seed=seed, zeroshot=zeroshot)

    def check(self) -> Iterator[Finding]:
        """Recompute rows of every table; one finding a table."""
        for rows in track(self.tables(), "recompute", unit="tables"):
            what = f"{rows.what} computed anew"
            paths = {self.ws.path(artifact) for artifact in (rows.table, *rows.needed)}
            yield checked(rows.table.path, what, paths, partial(self._compare, rows, what))

    def tables(self) -> list[Rows]:
        """All tables of which rows are computed anew."""
        shards = tuple(catalog.SHARDS.values())
        clips = (catalog.BASE, *self.artefacts.teachers)
        return [
            Rows(catalog.REGIONS, "boxes", self.boxes, (*shards, catalog.DETECTOR)),
            Rows(catalog.REGIONS, "crops", self.crops, shards, SHADES),
            Rows(catalog.SPANS, "spans", self.spans),
            Rows(catalog.VIEWS, "views", self.views, (), 0.0),
            *(rows for of in clips for rows in ClipRows(self.drawn, of).tables_with_rows()),
            Rows(catalog.TARGETS, "targets", self.targets, (catalog.TEACHER, *self._read_by_teacher())),
            Rows(catalog.LANGUAGE, "language", self.language),
            Rows(catalog.CONCEPT_LABELS, "labels", self.labels, (catalog.LANGUAGE, catalog.CONCEPTS)),
        ]

    def _read_by_teacher(self) -> list[Artifact]:
        """The tables that the meta-teacher has read."""
        if not self.ws.has(catalog.TARGETS):
            return []
        p = self.ws.table(catalog.TARGETS).json("parameters")
        tables = catalog.tables_of(p["of"])
        return [tables.regions, tables.captions, tables.spans[SpanKind(p["spans"])]]

    def _compare(self, rows: Rows, what: str) -> Finding:
        table, found, tolerance = self.ws.table(rows.table), rows.run(), rows.tolerance
        if tolerance is None:
            tolerance = TOLERANCE[table.metadata.get("dtype", "float32")]
        return Finding(rows.table.path, what, len(found.names), found.largest, found.fault(tolerance, table))

    def _region_starts(self) -> tuple[Table, NDArray[np.int64]]:
        table = self.artefacts.regions()
        return table, offsets(table.strings("key"), self.artefacts.manifest.keys, str(table.path))

    def _given_boxes(self, table: Table) -> Mapping[bytes, list[Box]]:
        """The boxes that stand in the table in place of the detector's."""
        if "boxes" not in table.json("inputs"):
            return {}
        given = GivenBoxes(self.ws.manifest(Split.TRAIN))
        if given.fingerprint != table.json("inputs")["boxes"]:
            raise ContractError(f"{table.path} was made from other boxes than were given; run: dvc repro regions")
        return given

    def boxes(self) -> Compared:
        """What the detector finds, or what was given."""
        table, start = self._region_starts()
        p = table.json("parameters")
        detector = weights.load(self.ws.path(catalog.DETECTOR), table.metadata["weights"])
        compared = Compared(collection="boxes")
        given = self._given_boxes(table)
        for rows in batches(self.drawn.images, p["batch"]):
            how = {name: p[name] for name in ("confidence", "iou", "image_size", "batch")}
            found = detect(detector, [self.drawn.images[row] for row in rows], **how, device=self.device)
            for row, seen in zip(rows, found, strict=True):
                boxes = given.get(self.drawn.image_key(row), seen)
                part = slice(int(start[row]) + 1, int(start[row + 1]))
                held = table.columns.slice(part.start, part.stop - part.start)
                boxes = large_enough(boxes, *self.drawn.images[row].size, p.get("min_side", 0))[: p["max_regions"]]
                name, key = f"{self.drawn.key(row)} ({len(held)} boxes, {len(boxes)} anew)", self.drawn.image_key(row)
                if [b.name for b in boxes] != held["class_name"].to_pylist():
                    compared.add(name, 1.0, key)
                    continue
                corners = np.array([b.corners for b in boxes]).reshape(-1, 4) - table.vectors("box")[part]
                scores = np.array([b.score for b in boxes]) - held["score"].to_numpy()
                distance = np.abs(np.concatenate([corners.ravel(), scores])).max(initial=0.0)
                compared.add(name, float(distance), key)
        return compared

    def crops(self) -> Compared:
        """What is cut of images."""
        table, start = self._region_starts()
        p = table.json("parameters")
        boxes, compared = table.vectors("box"), Compared(collection="crops")
        for row, image in self.drawn.images.items():
            part = slice(int(start[row]) + 1, int(start[row + 1]))
            key = keys.from_bytes(self.drawn.image_key(row), np.ascontiguousarray(boxes[part], dtype="<f4").tobytes())
            for i in range(part.start, part.stop):
                name = f"{self.drawn.key(row)} region {i - int(start[row])}"
                cut = crop(image, boxes[i].tolist(), p["margin"], p["crop_side"])
                anew = decoding.decode(decoding.encode_jpeg(cut, p["crop_quality"]))
                held = decoding.decode(table.columns["crop"][i].as_py())
                if held.size != anew.size:
                    compared.add(f"{name} (of {held.size[0]} pixels, {anew.size[0]} anew)", 255.0, key)
                    continue
                difference = np.asarray(held, dtype=np.float32) - np.asarray(anew, dtype=np.float32)
                compared.add(name, float(np.abs(difference).mean()), key)
        return compared

    def spans(self) -> Compared:
        """What a parser and a tokenizer find."""
        table = self.artefacts.spans()
        p, manifest = table.json("parameters"), self.artefacts.manifest
        start = offsets(table.strings("key"), manifest.keys, str(table.path))
        parser = load_parser(table.metadata["parser"])
        if parser.name != p["model"]:
            raise ContractError(f"{table.path} was made with {p['model']}, installed here is {parser.name}")
        compared = Compared()
        for row in self.drawn.rows:
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

    def views(self) -> Compared:
        """Views drawn."""
        table, views, compared = self.artefacts.views(), self.artefacts.views_of(), Compared()
        p = table.json("parameters")
        how = view.Augmentation(p["area"], p["flip"], p["colour"])
        for row in self.drawn.of(len(views)).tolist():
            key, number = views.keys[row], int(views.numbers[row])
            compared.names.append(f"{key} view {number}")
            compared.distances.append(views.view(row).distance(view.drawn(p["seed"], key, number, how)))
        return compared

    def language(self) -> Compared:
        """Captions' embeddings of a language model."""
        table = self.ws.table(catalog.LANGUAGE, self.artefacts.manifest)
        if not len(table):
            return Compared()
        p = table.json("parameters")
        model = LanguageModel(Source(**p["model"]), self.device)
        if model.weights != (made_with := table.json("inputs")["weights"]):
            raise ContractError(f"{table.path} was made with {made_with}, {p['model']['name']} is {model.weights} here")
        rows = self.drawn.of(len(table))
        texts = [self.drawn.captions[row] for row in rows]
        anew = [model.embed(part, max(model.lengths(part)), p["batch"]) for part in batches(texts, p["batch"])]
        vectors, caption_keys = F.normalize(torch.cat(anew), dim=-1).numpy(), keys.unpack(keys.from_texts(texts))
        return Compared.vectors(vectors, table.vectors()[rows], named(table, rows), "language", caption_keys)

    def labels(self) -> Compared:
        """Captions' concepts."""
        table, language, known = (
            self.ws.table(artifact, self.artefacts.manifest)
            for artifact in (catalog.CONCEPT_LABELS, catalog.LANGUAGE, catalog.CONCEPTS)
        )
        if not len(table):
            return Compared()
        p, rows = table.json("parameters"), self.drawn.of(len(table))
        captions, centres = (one.astype(np.float32) for one in (language.vectors()[rows], known.vectors("centre")))
        anew = soft_labels(captions, centres, temperature=p["temperature"], top=p["top"])
        concepts, shares = (one[rows] for one in self.ws.labels(self.artefacts.manifest))
        each = np.arange(len(rows))[:, None]
        found, held = (np.zeros((len(rows), len(known)), dtype=np.float32) for _ in range(2))
        found[each, anew.concepts], held[each, concepts] = anew.shares, shares
        return Compared(named(table, rows), np.abs(found - held).max(axis=1, initial=0.0).tolist())

    def targets(self) -> Compared:
        """Of the meta-teacher, of an image alone and with one of its captions."""
        targets, manifest = self.artefacts.targets()
        p = targets.table.json("parameters")
        features = FeatureSet(manifest, self.ws, SpanKind(p["spans"]), p["inputs"], p["of"])
        teacher = MetaTeacher.from_parameters(features.dimension, p).filled(self.artefacts.teacher).to(self.device)
        teacher.eval()
        rows = self.drawn.of(len(manifest))
        captions = features.random_captions(rows, self.drawn.rng)
        pairs = embed(teacher, features, rows, captions, with_text=True)
        held = targets.pairs[features.caption_start[rows] + captions]
        names = [f"{manifest.keys[row]} caption {caption}" for row, caption in zip(rows, captions, strict=True)]
        found = Compared.vectors(pairs.numpy(), held, names)
        if not features.reads_images:
            return found
        alone = embed(teacher, features, rows, np.zeros_like(rows), with_text=False)
        images = Compared.vectors(alone.numpy(), targets.images[rows], [f"{manifest.keys[row]} alone" for row in rows])
        return Compared(found.names + images.names, found.distances + images.distances)
