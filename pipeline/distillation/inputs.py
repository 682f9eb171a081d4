"""Everything that a student trains on and is validated by, read from the folders of the stages before it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import catalog, columns
from pipeline.artifacts.clip_targets import Phrases as Texts
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import ContractError
from pipeline.artifacts.targets import Targets
from pipeline.artifacts.workspace import Workspace
from pipeline.clip.cached import CachedClip
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.distillation import pixels
from pipeline.distillation.class_images import ClassImages
from pipeline.distillation.crops import Crops
from pipeline.distillation.negatives import negatives
from pipeline.distillation.pairs import ImageRows, Knowledge, Negatives, Pairs, Regions, Teacher, Views
from pipeline.distillation.phrases import phrases_of
from pipeline.distillation.rewritten import with_rewrites
from pipeline.distillation.validation import Validator
from pipeline.errors import InputError
from pipeline.models.base_pairs import base_pairs
from pipeline.recipes import Recipe
from pipeline.spans.phrases import Parser
from pipeline.store import keys
from pipeline.views.table import ViewsOf
from pipeline.zeroshot import embedded, sets


class Inputs:
    """What a recipe asks for, and nothing else; every table is checked against the manifest and the base's weights.

    Args:
        home: where decoded images and the feature store are.
        student: the student's starting point, which says how images are decoded.
        teachers: names of the frozen CLIPs to learn from.
        compute: how frozen forwards run, where a recipe needs some that no table has (hard negatives, base pairs).

    Attributes:
        made_from: fingerprints of all that was read.

    Raises:
        ContractError: a table is missing or was made from something else.
    """

    def __init__(
        self,
        ws: Workspace,
        home: Path,
        *,
        base: Clip,
        student: Clip,
        compute: Compute,
        train_text: bool,
        teachers: Sequence[str] = (),
    ) -> None:
        self.teachers = teachers
        self.ws, self.home, self.base, self.student = ws, home, base, student
        self.compute, self.train_text, self.weights = compute, train_text, base.weights
        frozen = (catalog.CAPTION_EMBEDDINGS, catalog.IMAGE_EMBEDDINGS, *catalog.ZEROSHOT_EMBEDDINGS)
        self.made_from: dict[str, Any] = {
            table.path: ws.table(table, weights=self.weights).metadata["fingerprint"] for table in frozen
        }

    @cached_property
    def training(self) -> Manifest:
        """The samples of the train split."""
        return self.ws.manifest(Split.TRAIN)

    @cached_property
    def _frozen(self) -> CachedClip:
        return CachedClip(self.base, self.compute, self.home / "store")

    def corpus_pairs(
        self, recipe: Recipe, *, decoded: bool, parser: Callable[[], Parser], rewrites: bool = False
    ) -> Pairs:
        """The training data of a recipe.

        Args:
            recipe: says which targets and negatives it needs.
            decoded: decode images whenever they are read; by default they are decoded once into a memory map.
            parser: makes what finds the phrases of captions, for hard negatives.
            rewrites: whether rewrites may stand for captions.
        """
        targets = self._targets(recipe) if recipe.target else None  # before images are decoded for hours
        knowledge = self._knowledge() if recipe.knowledge else None
        found = replace(self._pairs(self.training, decoded=decoded, linear=recipe.linear), knowledge=knowledge)
        if targets is not None:
            vectors = targets.images if recipe.target == "image" else targets.pairs
            found = replace(found, targets=vectors, target_space=self._space(targets))
        if recipe.regions:
            found = replace(found, regions=self._regions(decoded))
        if recipe.phrases:
            phrases, made_from = phrases_of(self.ws, self.training, weights=self.weights)
            found = replace(found, phrases=phrases)
            self.made_from |= made_from
        if recipe.teachers:
            found = replace(found, **self._taught(recipe, found, decoded))
        if rewrites:
            found = self._rewritten(recipe, found, targets)
        if recipe.negatives == "given":
            given = columns.texts(catalog.NEGATIVES, self.training)
            flat = [text for group in given for text in group]
            if not flat:
                raise InputError(
                    f"{recipe.name} trains against negatives, and no training image has any; give some in "
                    "sources.of.NAME.beside (docs/columns.md), or take hard_negatives, which makes its own"
                )
            known = self._column_texts
            embedded = None if self.train_text else known.vectors[known.rows(flat)]
            found = replace(found, negatives=Negatives(given, embedded, by_image=True))
        if recipe.negatives == "rule":
            made = parser()
            texts = negatives(found.distinct, made)
            embeddings = None
            if not self.train_text:
                flat = [text for group in texts for text in group]
                embeddings = self._frozen.embeddings_of(flat, "embed hard negatives")
            found = replace(found, negatives=Negatives(texts, embeddings))
            self.made_from["negatives"] = made.name
        return found

    @cached_property
    def _column_texts(self) -> Texts:
        """The base's embeddings of rewrites and negatives, by their text."""
        table = self.ws.table(catalog.COLUMN_EMBEDDINGS, self.training, weights=self.weights)
        made_from, here = table.json("inputs")["columns"], columns.fingerprint(self.training)
        if made_from != here:
            raise ContractError(f"{table.path} was made from columns {made_from}, here are {here}; run: dvc repro")
        self.made_from["columns"] = table.metadata["fingerprint"]
        return Texts(table)

    def _rewritten(self, recipe: Recipe, pairs: Pairs, targets: Targets | None) -> Pairs:
        texts = columns.texts(catalog.REWRITES, self.training)
        if not any(texts):
            raise InputError(
                "student.rewrites is true, and no training image has a rewrite; give some in sources.of.NAME.beside "
                "(docs/columns.md), or set it to false"
            )
        here = columns.fingerprint(self.training)

        def by(teacher: str) -> Texts:
            found = self.ws.clip_targets(teacher, self.training)
            found.check_made_from(columns=here)
            return found.columns

        teachers = [self._column_texts] if recipe.teachers == "base" else [by(name) for name in self.teachers]
        of = catalog.BASE if targets is None else targets.metadata["of"]
        space = None if of == catalog.BASE else by(of)
        return with_rewrites(pairs, texts, self._column_texts, teachers if recipe.teachers else [], space)

    def _targets(self, recipe: Recipe) -> Targets:
        targets = self.ws.targets(self.training)
        if recipe.teacher not in (None, has_read := targets.table.json("parameters")["inputs"]):
            raise InputError(
                f"the targets' teacher has read {has_read}, this recipe expects {recipe.teacher}; "
                f"set teacher.inputs to {recipe.teacher} and run: dvc repro"
            )
        self.made_from["targets"] = targets.metadata["fingerprint"]
        return targets

    def _space(self, targets: Targets) -> Teacher | None:
        """The CLIP whose features the meta-teacher has read; None for the base."""
        name, weights = targets.metadata["of"], targets.metadata["of_weights"]
        if name == catalog.BASE:
            return None
        of = self.ws.clip_targets(name, self.training)
        if of.weights != weights:
            raise ContractError(
                f"{targets.table.path} is of {name} with weights {weights}, {of.metadata['model']} has {of.weights}; "
                "run: dvc repro targets"
            )
        return Teacher(of.scale, of.images, of.captions)

    def _regions(self, decoded: bool) -> Regions:
        table = self.ws.table(catalog.REGIONS, self.training)
        features = self.ws.table(catalog.REGION_EMBEDDINGS, self.training, weights=self.weights)
        if features.json("inputs").get("regions") != table.metadata["fingerprint"]:
            raise ContractError(f"{features.path} was not made from {table.path}; run: dvc repro features")
        crops = Crops(table, self.training)
        self.made_from["boxes"] = table.metadata["fingerprint"]
        self.made_from["regions"] = features.metadata["fingerprint"]
        return Regions(self._pixels(crops, decoded), features.rows_of(self.training.keys), crops.start)

    def _taught(self, recipe: Recipe, pairs: Pairs, decoded: bool) -> dict[str, Any]:
        """What the teachers of a recipe make of its pairs, and the views that they have embedded."""
        if recipe.teachers == "base":
            return {"teachers": [self._base_as_teacher(pairs)]}
        shown = ViewsOf(self.training, self.ws.table(catalog.VIEWS, self.training))
        kept = {"regions": "boxes", "spans": "spans"}
        made_from = {table: self.made_from[name] for table, name in kept.items() if name in self.made_from}
        if shown.count:
            made_from["views"] = self.made_from["views"] = shown.fingerprint
        opened = {name: self.ws.clip_targets(name, self.training) for name in self.teachers}
        for targets in opened.values():
            targets.check_made_from(**made_from)
        self.made_from["teachers"] = {name: targets.metadata["fingerprint"] for name, targets in opened.items()}
        teachers = [
            Teacher(
                targets.scale,
                targets.images,
                targets.captions,
                targets.views if shown.count else None,
                None if pairs.regions is None else targets.crops,
                None if pairs.phrases is None else targets.phrases[pairs.phrases.texts],
            )
            for targets in opened.values()
        ]
        views = Views(self._pixels(shown, decoded), shown.count) if shown.count else None
        return {"teachers": teachers, "views": views}

    def _base_as_teacher(self, pairs: Pairs) -> Teacher:
        regions, phrases, crops = pairs.regions, pairs.phrases, None
        assert pairs.image_embeddings is not None, "the corpora's images have the base's embeddings"
        if regions is not None:
            crops = np.delete(regions.embeddings, regions.start[:-1], axis=0)
        embeddings = pairs.image_embeddings, pairs.caption_embeddings, None, crops
        return Teacher(self.base.scale, *embeddings, None if phrases is None else phrases.embeddings)

    def _knowledge(self) -> Knowledge:
        language = self.ws.table(catalog.LANGUAGE, self.training)
        fingerprint = self.made_from["concepts"] = language.metadata["fingerprint"]
        concepts = self.ws.table(catalog.CONCEPTS, self.training, fingerprint=fingerprint)
        if len(concepts) == 0:
            raise ContractError(f"{concepts.path} is empty: set concepts.enabled to true and run: dvc repro concepts")
        labels = self.ws.labels(self.training, fingerprint=fingerprint)
        return Knowledge(language.rows_of(self.training.captioned), *labels, count=len(concepts))

    def _pixels(self, source: pixels.Source, decoded: bool) -> ImageRows:
        if decoded:
            return pixels.Decoded(self.student, source)
        return pixels.cached(self.student, source, self.home / "pixels", self.compute.workers)

    def base_training_pairs(self, path: Path) -> Pairs:
        """The base's own training pairs, for the control that goes on with them."""
        rows, captions = base_pairs(path, self.student)
        self.made_from["base pairs"] = keys.from_bytes(rows.tobytes(), "\n".join(captions).encode()).hex()
        return Pairs(rows, [[c] for c in captions], self._frozen.embeddings_of(captions, "embed base captions"))

    def validator(self, zeroshot_path: Path, compute: Compute) -> Validator:
        """Validation data: val of the corpora, val of the zero-shot set."""
        shown = sets.read(zeroshot_path, Split.VAL)
        pairs = self._pairs(self.ws.manifest(Split.VAL))
        pixels = self._pixels(ClassImages(shown.paths, self.compute.workers), decoded=False)
        known = embedded.read(self.ws, catalog.ZEROSHOT_EMBEDDINGS, zeroshot_path, shown, weights=self.weights)
        return Validator(pairs, shown, pixels, *known, self.train_text, compute)

    def _pairs(self, manifest: Manifest, *, decoded: bool = False, linear: bool = False) -> Pairs:
        images = self.ws.images(manifest, weights=self.weights)
        tower_input = images.astype(np.float32) if linear else self._pixels(manifest, decoded)
        captions = self.ws.captions(manifest, weights=self.weights)
        return Pairs(tower_input, manifest.captions, captions, images, names=manifest.keys)
