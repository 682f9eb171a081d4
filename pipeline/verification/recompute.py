"""A random sample of rows computed anew from their source, and how far the tables are from that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import SimpleTokenizer
from PIL import Image

from pipeline import images
from pipeline.clip import encode
from pipeline.clip.encode import Compute, batches
from pipeline.clip.pictures import bytes_of
from pipeline.concepts.clusters import soft_labels
from pipeline.concepts.language import LanguageModel, Source
from pipeline.concepts.tables import read_labels
from pipeline.detector import weights
from pipeline.detector.detect import crop, detect, large_enough
from pipeline.features.classes import Contents
from pipeline.progress import track
from pipeline.schema import SpanKind
from pipeline.spans.phrases import load_parser
from pipeline.spans.table import phrases_of
from pipeline.spans.tokens import token_spans
from pipeline.tables import ContractError, Table, offsets
from pipeline.teacher.data import FeatureSet
from pipeline.teacher.model import MetaTeacher
from pipeline.teacher.train import embed
from pipeline.verification.findings import Finding, checked
from pipeline.verification.tables import Artefacts

TOLERANCE = {"float32": 0.02, "bfloat16": 0.05, "float16": 0.05}
"""Distance of unit vectors, and of boxes in shares of a picture's side, by the dtype of the forwards. Storing as
float16 alone makes .0005; between float32 and bfloat16 .01 was seen; another row's vector is far beyond."""
SHADES = 8.0
"""Mean difference of two crops' pixels, of 255; decoders of other versions differ by one or two."""


class Recomputation:
    """Computes sampled rows anew with what their tables say they were computed with.

    Args:
        artefacts: the tables.
        sample: rows of every table (pictures, for regions).
        seed: of the sample.
        zeroshot: the zero-shot set's folder.
    """

    def __init__(self, artefacts: Artefacts, *, sample: int, seed: int, zeroshot: Path) -> None:
        self.artefacts, self.zeroshot, self.device = artefacts, zeroshot, artefacts.device
        self.sample, self.rng = sample, np.random.default_rng(seed)
        self.rows = self._drawn(len(artefacts.manifest))
        self.captions = [text for texts in artefacts.manifest.captions for text in texts]

    @cached_property
    def pictures(self) -> dict[int, Image.Image]:
        """The sampled pictures by their row of the manifest."""
        pairs = zip(self.rows, self.artefacts.manifest.images("read sampled pictures", self.rows), strict=True)
        return {int(row): images.decode(data) for row, (_, data) in pairs}

    def _drawn(self, count: int) -> NDArray[np.int64]:
        return np.sort(self.rng.choice(count, size=min(self.sample, count), replace=False))

    def check(self) -> Iterator[Finding]:
        """Recompute rows of every table; one finding a table."""
        splits, clip = ("curate/train", "curate/val", "curate/test"), "models/clip"
        tables: list[tuple[str, Callable[[], tuple[int, float]], tuple[str, ...]]] = [
            ("regions/regions.arrow", self._boxes, (*splits, "models/detector.pt")),
            ("regions/regions.arrow", self._crops, splits),
            ("spans/spans.arrow", self._spans, ()),
            ("features/images.arrow", self._whole_pictures, (*splits, clip)),
            ("features/regions.arrow", self._regions, ("regions/regions.arrow", clip)),
            ("features/captions.arrow", self._captions, (clip,)),
            *((f"features/spans/{kind}.arrow", getattr(self, f"_{kind}"), ("spans/spans.arrow", clip))
              for kind in self.artefacts.span_kinds()),
            ("features/zeroshot/images.arrow", self._zeroshot_pictures, (clip,)),
            ("features/zeroshot/prompts.arrow", self._zeroshot_prompts, (clip,)),
            ("targets/targets.arrow", self._targets,
             ("teacher/teacher.safetensors", "features/regions.arrow", "features/captions.arrow", "features/spans")),
            ("concepts/language.arrow", self._language, ()),
            ("concepts/labels.arrow", self._labels, ("concepts/language.arrow", "concepts/concepts.arrow")),
        ]  # fmt: skip
        for artefact, run, needed in track(tables, "recompute", unit="tables"):
            what = f"{run.__name__.strip('_').replace('_', ' ')} computed anew"
            paths = [self.artefacts.data / name for name in (artefact, *needed)]
            yield checked(artefact, what, paths, partial(self._compare, artefact, what, run))

    def _compare(self, artefact: str, what: str, run: Callable[[], tuple[int, float]]) -> Finding:
        dtype = Table(self.artefacts.data / artefact).metadata.get("dtype", "float32")
        tolerance = SHADES if run == self._crops else TOLERANCE[dtype]
        count, deviation = run()
        fault = "" if deviation <= tolerance else f"differs by {deviation:.4g}, expected at most {tolerance:g}"
        return Finding(artefact, what, count, deviation, fault)

    def _compute(self, table: Table) -> Compute:
        made_with = table.json("parameters")
        return Compute(self.device, made_with["dtype"], int(made_with["batch"]))

    def _embedded(self, table: Table, pictures: list[Any]) -> NDArray[np.float32]:
        clip, compute = self.artefacts.clip, self._compute(table)
        to_pixels = clip.pixels()
        parts = [encode.images(clip, [to_pixels(p) for p in b], compute) for b in batches(pictures, compute.batch)]
        return np.concatenate([part.numpy() for part in parts])

    def _of_regions(self) -> tuple[Table, NDArray[np.int64]]:
        table = self.artefacts.regions()
        return table, offsets(table.strings("key"), self.artefacts.manifest.keys, str(table.path))

    def _boxes(self) -> tuple[int, float]:
        table, start = self._of_regions()
        p = table.json("parameters")
        detector = weights.load(self.artefacts.data / "models/detector.pt", table.metadata["weights"])
        worst, count = 0.0, 0
        for rows in batches(self.pictures, p["batch"]):
            found = detect(
                detector, [self.pictures[row] for row in rows], confidence=p["confidence"], iou=p["iou"],
                image_size=p["image_size"], batch=p["batch"], device=self.device,
            )  # fmt: skip
            for row, boxes in zip(rows, found, strict=True):
                part = slice(int(start[row]) + 1, int(start[row + 1]))
                held = table.columns.slice(part.start, part.stop - part.start)
                boxes = large_enough(boxes, *self.pictures[row].size, p.get("min_side", 0))[: p["cap"]]
                if [b.name for b in boxes] != held["class_name"].to_pylist():
                    return count, 1.0
                if boxes:
                    corners = np.array([b.corners for b in boxes]) - table.vectors("box")[part]
                    scores = np.array([b.score for b in boxes]) - held["score"].to_numpy()
                    worst = max(worst, float(np.abs(corners).max()), float(np.abs(scores).max()))
                count += len(boxes)
        return count, worst

    def _crops(self) -> tuple[int, float]:
        table, start = self._of_regions()
        p = table.json("parameters")
        boxes, worst, count = table.vectors("box"), 0.0, 0
        for row, picture in self.pictures.items():
            for i in range(int(start[row]) + 1, int(start[row + 1])):
                cut = crop(picture, boxes[i].tolist(), p["margin"], p["crop_side"])
                anew = images.decode(images.encode_jpeg(cut, p["crop_quality"]))
                held = images.decode(table.columns["crop"][i].as_py())
                if held.size != anew.size:
                    return count, 255.0
                difference = np.asarray(held, dtype=np.float32) - np.asarray(anew, dtype=np.float32)
                worst = max(worst, float(np.abs(difference).mean()))
                count += 1
        return count, worst

    def _spans(self) -> tuple[int, float]:
        table = self.artefacts.spans()
        p, manifest = table.json("parameters"), self.artefacts.manifest
        start = offsets(table.strings("key"), manifest.keys, str(table.path))
        parser, tokenizer = load_parser(table.metadata["parser"]), SimpleTokenizer()
        if parser.name != p["model"]:
            raise ContractError(f"{table.path} was made with {p['model']}, installed here is {parser.name}")
        count = 0
        for row in self.rows:
            held = table.columns.slice(int(start[row]), int(start[row + 1] - start[row])).to_pylist()
            texts = manifest.captions[row]
            for index, (text, phrases) in enumerate(zip(texts, parser(texts), strict=True)):
                tokens = token_spans(tokenizer, text, p["tokens"])
                for kind, spans in ((SpanKind.PHRASES, phrases_of(text, phrases, p["cap"])), (SpanKind.TOKENS, tokens)):
                    own = [r for r in held if r["caption_index"] == index and r["kind"] == kind]
                    if [(s.start, s.end) for s in spans] != [(r["start"], r["end"]) for r in own]:
                        raise ContractError(
                            f"{table.path}: the {kind} of caption {index} of {manifest.keys[row]} are others than "
                            f"those of {text!r}; run: dvc repro -sf spans"
                        )
                    count += len(own)
        return count, 0.0

    def _whole_pictures(self) -> tuple[int, float]:
        table = self.artefacts.features("images.arrow")
        return _distance(self._embedded(table, list(self.pictures.values())), table.vectors()[self.rows])

    def _regions(self) -> tuple[int, float]:
        table = self.artefacts.features("regions.arrow", "region_index")
        crops = self.artefacts.regions().columns["crop"]
        with_crop = np.flatnonzero(crops.is_valid().to_numpy())
        rows = with_crop[self._drawn(len(with_crop))]
        pictures = [images.decode(crops[int(i)].as_py()) for i in rows]
        return _distance(self._embedded(table, pictures), table.vectors()[rows]) if pictures else (0, 0.0)

    def _texts(self, table: Table, texts: list[str], rows: NDArray[np.int64]) -> tuple[int, float]:
        return _distance(encode.texts(self.artefacts.clip, texts, self._compute(table)).numpy(), table.vectors()[rows])

    def _captions(self) -> tuple[int, float]:
        rows = self._drawn(len(self.captions))
        table = self.artefacts.features("captions.arrow", "caption_index")
        return self._texts(table, [self.captions[i] for i in rows], rows)

    def _span_rows(self, kind: SpanKind) -> tuple[Table, NDArray[np.int64], list[dict[str, Any]], list[str]]:
        """The vectors' table, sampled rows of it, those rows of the spans table, and their captions."""
        table = self.artefacts.features(f"spans/{kind}.arrow", "caption_index", "span_index")
        spans = self.artefacts.spans().columns
        own = np.flatnonzero(np.array(spans["kind"].to_pylist()) == str(kind))
        rows = self._drawn(len(table))
        held = spans.take(own[rows]).to_pylist()
        texts = dict(zip(self.artefacts.manifest.keys, self.artefacts.manifest.captions, strict=True))
        return table, rows, held, [texts[r["key"]][r["caption_index"]] for r in held]

    def _phrases(self) -> tuple[int, float]:
        table, rows, held, captions = self._span_rows(SpanKind.PHRASES)
        return self._texts(table, [c[r["start"] : r["end"]] for r, c in zip(held, captions, strict=True)], rows)

    def _tokens(self) -> tuple[int, float]:
        table, rows, held, captions = self._span_rows(SpanKind.TOKENS)
        compute = self._compute(table)
        anew = []
        for part in batches(zip(held, captions, strict=True), compute.batch):
            _, tokens = encode.texts_with_tokens(self.artefacts.clip, [caption for _, caption in part], compute)
            anew += [tokens[i, 1 + r["span_index"]].numpy() for i, (r, _) in enumerate(part)]
        return _distance(np.stack(anew), table.vectors()[rows])

    def _zeroshot_pictures(self) -> tuple[int, float]:
        table = self.artefacts.features("zeroshot/images.arrow")
        rows, names = self._drawn(len(table)), table.strings("key")
        found = Contents(self.zeroshot).fingerprint
        if (made_from := table.json("inputs")["zeroshot"]) != found:
            raise ContractError(
                f"{table.path} was made from the zero-shot set {made_from}, {self.zeroshot} is {found}; "
                "run: dvc repro features"
            )
        pictures = [images.decode(bytes_of(self.zeroshot / names[i])) for i in rows]
        return _distance(self._embedded(table, pictures), table.vectors()[rows])

    def _zeroshot_prompts(self) -> tuple[int, float]:
        table = self.artefacts.features("zeroshot/prompts.arrow")
        rows, prompts = self._drawn(len(table)), table.strings("key")
        return self._texts(table, [prompts[i] for i in rows], rows)

    def _language(self) -> tuple[int, float]:
        table = self.artefacts.concepts("language.arrow")
        if not len(table):
            return 0, 0.0
        p = table.json("parameters")
        model = LanguageModel(Source(**p["model"]), self.device)
        if model.weights != (made_with := table.json("inputs")["weights"]):
            raise ContractError(f"{table.path} was made with {made_with}, {p['model']['name']} is {model.weights} here")
        rows = self._drawn(len(table))
        texts = [self.captions[row] for row in rows]
        anew = [model.embed(part, max(model.lengths(part)), p["batch"]) for part in batches(texts, p["batch"])]
        return _distance(F.normalize(torch.cat(anew), dim=-1).numpy(), table.vectors()[rows])

    def _labels(self) -> tuple[int, float]:
        table, language, told = (
            self.artefacts.concepts(f"{name}.arrow") for name in ("labels", "language", "concepts")
        )
        if not len(table):
            return 0, 0.0
        p, rows = table.json("parameters"), self._drawn(len(table))
        captions, centres = (of.astype(np.float32) for of in (language.vectors()[rows], told.vectors("centre")))
        anew = soft_labels(captions, centres, temperature=p["temperature"], top=p["top"])
        concepts, shares = (of[rows] for of in read_labels(table, self.artefacts.manifest.keys))
        each = np.arange(len(rows))[:, None]
        found, held = (np.zeros((len(rows), len(told)), dtype=np.float32) for _ in range(2))
        found[each, anew.concepts], held[each, concepts] = anew.shares, shares
        return len(rows), float(np.abs(found - held).max(initial=0.0))

    def _targets(self) -> tuple[int, float]:
        targets, manifest = self.artefacts.targets()
        p = Table(self.artefacts.data / "targets/targets.arrow").json("parameters")
        features = FeatureSet(manifest, self.artefacts.data / "features", SpanKind(p["spans"]), p["inputs"])
        teacher = MetaTeacher.of(features.dimension, p).filled(self.artefacts.teacher).to(self.device)
        teacher.eval()
        rows = self._drawn(len(manifest))
        captions = features.random_captions(rows, self.rng)
        pairs = embed(teacher, features, rows, captions, with_text=True)
        found = _distance(pairs.numpy(), targets.pairs[features.caption_start[rows] + captions])
        if not features.reads_pictures:
            return found
        alone = embed(teacher, features, rows, np.zeros_like(rows), with_text=False)
        count, largest = _distance(alone.numpy(), targets.images[rows])
        return found[0] + count, max(found[1], largest)


def _distance(anew: NDArray[np.float32], held: NDArray[np.float16]) -> tuple[int, float]:
    """How many rows there are, and the largest Euclidean distance of a pair of them."""
    return len(anew), float(np.linalg.norm(anew - held.astype(np.float32), axis=1).max(initial=0.0))
