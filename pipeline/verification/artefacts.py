"""The artefacts of a data folder, each checked against its origin when it is opened."""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import BASE, Artifact
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import ContractError, Table
from pipeline.artifacts.targets import Targets
from pipeline.artifacts.weights import read, weights_hash
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.disk import files
from pipeline.views.table import ViewsOf


class Artefacts:
    """The artefacts of a data folder; each is opened, and so checked against its origin, when it is asked for.

    What is not here is not compared with: a member may have fetched tables without the models that made them.

    Attributes:
        teachers: the names of those that have tables here.

    Raises:
        InputError: there is no manifest, or it is damaged.
    """

    def __init__(self, ws: Workspace, device: str) -> None:
        self.ws, self.device = ws, device
        self.manifest = ws.manifest()
        self._weights: dict[str, str] = {}
        self._frozen: dict[str, str] = {}
        self._loaded: dict[str, Clip] = {}
        folders = (ws.path(folder) for folder in (catalog.TEACHER_TABLES, catalog.CLIP_TARGETS))
        self.teachers = sorted({path.name for folder in folders if folder.is_dir() for path in folder.iterdir()})

    def clip(self, of: str = BASE) -> Clip:
        """The base CLIP, or one of the teachers; the one that was asked for last stays in memory."""
        if of not in self._loaded:
            self._loaded.clear()
            self._loaded[of] = towers.load(self.ws.path(catalog.clip_of(of)), self.device)
        return self._loaded[of]

    @cached_property
    def teacher(self) -> dict[str, Tensor]:
        """The meta-teacher's weights."""
        return read(self.ws.path(catalog.TEACHER), "run: dvc repro -sf teacher")

    def _made_by(self, model: Artifact, weights: Callable[[], str]) -> dict[str, str]:
        """The hash of a model as it is now, for comparison; nothing if it is not here."""
        return {"weights": weights()} if self.ws.has(model) else {}

    def weights(self, model: str) -> dict[str, str]:
        """`weights` of one of `catalog.MEASURED`, for comparison; nothing if it is not here."""
        folder = self.ws.model(model)
        if (folder / towers.WEIGHTS).is_file() and model not in self._weights:
            self._weights[model] = towers.load(folder).weights
        return {"weights": self._weights[model]} if model in self._weights else {}

    def clip_weights(self, of: str = BASE) -> dict[str, str]:
        """`weights` of the base CLIP, or of one of the teachers."""
        if self.ws.has(catalog.clip_of(of)) and of not in self._frozen:
            self._frozen[of] = self.clip(of).weights
        return {"weights": self._frozen[of]} if of in self._frozen else {}

    def regions(self) -> Table:
        """Key, box and crop of every region."""
        made_by = self._made_by(catalog.DETECTOR, lambda: files.sha256(self.ws.path(catalog.DETECTOR)))
        return self.ws.table(catalog.REGIONS, self.manifest, **made_by)

    def spans(self) -> Table:
        """Offsets of every span."""
        return self.ws.table(catalog.SPANS, self.manifest)

    def views(self) -> Table:
        """How every view is made."""
        return self.ws.table(catalog.VIEWS, self.manifest)

    def views_of(self) -> ViewsOf:
        """The views of the training images."""
        return ViewsOf(self.ws.manifest(Split.TRAIN), self.views())

    def embeddings(self, artifact: Artifact, of: str = BASE) -> Table:
        """A table of the base's embeddings, or of a teacher's."""
        if "manifest" not in artifact.bound_to:
            return self.ws.table(artifact, None, **self.clip_weights(of))
        table = self.ws.table(artifact, self.manifest, **self.clip_weights(of))
        if artifact == catalog.tables_of(of).columns:
            return table
        read = {"views": (catalog.VIEWS, self.views)}
        if artifact != catalog.tables_of(of).views:
            read = {"regions": (catalog.REGIONS, self.regions), "spans": (catalog.SPANS, self.spans)}
        for name, (source, open_source) in read.items():
            if self.ws.has(source):
                made_from, found = table.json("inputs")[name], open_source().metadata["fingerprint"]
                if made_from != found:
                    raise ContractError(
                        f"{table.path}: it was made from {name} {made_from}, those here are {found}; "
                        "run: dvc repro features"
                    )
        return table

    def targets(self) -> tuple[Targets, Manifest]:
        """The meta-teacher's targets of the training samples, checked."""
        train = self.ws.manifest(Split.TRAIN)
        made_from = self._made_by(catalog.TEACHER, lambda: weights_hash(self.teacher))
        of = self.read_by_teacher()
        if self.ws.has(captions := catalog.tables_of(of).captions):
            made_from["features"] = self.embeddings(captions, of).metadata["fingerprint"]
        return self.ws.targets(train, **made_from), train

    def read_by_teacher(self) -> str:
        """Whose features the meta-teacher has read: `base`, or one of the teachers."""
        of: str = self.ws.table(catalog.TARGETS).json("parameters")["of"]
        return of

    def span_kinds(self, of: str = BASE) -> list[SpanKind]:
        """The kinds of span that the features stage has embedded, by what its tables say."""
        try:
            return [SpanKind(k) for k in self.ws.table(catalog.tables_of(of).captions).json("parameters")["spans"]]
        except ContractError:
            return list(SpanKind)
