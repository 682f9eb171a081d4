"""A language model's embeddings of captions by actors, some thousand at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.cluster.connection import Cluster
from pipeline.cluster.texts import text_tasks
from pipeline.cluster.work import Carried, Task, Work
from pipeline.concepts.cached import CachedLanguage
from pipeline.concepts.language import LanguageModel, Source, find
from pipeline.store import keys


@dataclass(frozen=True)
class _Embedding:
    """Embeds texts; see `CachedLanguage`."""

    source: Source
    batch: int
    device: str

    def load(self, folder: Path) -> Work:
        """Open the language model."""
        source = replace(self.source, name=str(folder))
        model = LanguageModel(source, self.device)

        def work(given: Sequence[str], root: Path) -> int:
            return CachedLanguage(model, source, self.batch, root).embed(given)

        return work


def fill(cluster: Cluster, language: CachedLanguage, source: Source, texts: Sequence[str]) -> int:
    """Have actors embed those of some distinct texts that are new, so that `language` finds them.

    Returns:
        how many were embedded.
    """
    wanted = keys.from_texts(texts)

    def tasks() -> list[Task]:
        lacking = np.flatnonzero(language.rows.missing(wanted)).tolist()
        return text_tasks("captions", [texts[i] for i in lacking], lambda some: some)

    job = _Embedding(source, language.batch, cluster.actors.device)
    carried = Carried.folder(find(source))
    return cluster.fill(job, [language.rows], tasks, "embed captions by actors", carried)
