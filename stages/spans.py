"""Stage `spans`: phrases and tokens of every caption."""

from pathlib import Path
from typing import Any

from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.program import run


def spans(params: Params, data: Path) -> dict[str, Any]:
    """Find the phrases and BPE tokens of every kept caption: data/spans/spans.arrow, as character offsets.

    Phrases are spaCy's noun chunks (spans.parser: a model's name or path) or come from a rule-based chunker (rules).
    """
    from pipeline.artifacts.manifest import Manifest
    from pipeline.clip import bpe
    from pipeline.spans import table
    from pipeline.spans.phrases import load_parser

    manifest = Manifest(data / "curate")
    parser = load_parser(params.spans.parser)
    most, tokens = params.spans.max_phrases, bpe.context_length(data / "models/clip/open_clip_config.json") - 2
    metadata = provenance(
        "spans", code=table.CODE, manifest=manifest.fingerprint, model=parser.name, inputs={},
        parser=params.spans.parser,
        parameters={"model": parser.name, "max_phrases": most, "tokens": tokens},
    )  # fmt: skip
    return table.write(parser, manifest, data / "spans/spans.arrow", metadata, cap=most, tokens=tokens)


if __name__ == "__main__":
    run(spans, lower="sources.quota")
