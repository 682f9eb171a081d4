"""Stage `spans`: phrases and tokens of every caption."""

from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.disk.provenance import provenance
from pipeline.params import Params
from stages.declaration import stage
from stages.program import run


@stage(
    reads=[catalog.MANIFEST, catalog.BASE_CONFIG],
    writes=[catalog.SPANS],
    takes=["spans"],
    less_memory="the quotas of sources.of",
)
def spans(params: Params, ws: Workspace) -> dict[str, Any]:
    """Find the phrases and BPE tokens of every kept caption, as character offsets.

    Phrases are spaCy's noun chunks (spans.parser: a model's name or path) or come from a rule-based chunker (rules). A
    base with a tokenizer of its own has no token spans.
    """
    from pipeline.clip import bpe
    from pipeline.spans import table
    from pipeline.spans.phrases import load_parser

    manifest = ws.manifest()
    parser = load_parser(params.spans.parser)
    most, tokens = params.spans.max_phrases, bpe.tokens_read(ws.path(catalog.BASE_CONFIG))
    parameters = {"model": parser.name, "max_phrases": most, "tokens": tokens}
    made_by: dict[str, Any] = {
        "code": table.CODE,
        "model": parser.name,
        "parser": params.spans.parser,
        "parameters": parameters,
    }
    metadata = provenance("spans", manifest=manifest.fingerprint, inputs={}, **made_by)
    return table.write(parser, manifest, ws.path(catalog.SPANS), metadata, cap=most, tokens=tokens)


if __name__ == "__main__":
    run(spans)
