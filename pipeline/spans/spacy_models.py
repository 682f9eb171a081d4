"""spaCy's models, opened without running anything that lies in their folders.

An installed package is not imported: the folder that it carries is opened, as any other. spaCy's configuration can name
functions of its registries, some of which load models or read files from elsewhere; none but spaCy's own that build
the parts of a pipeline are let through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.pipeline.factories import register_factories
from spacy.util import get_lang_class, is_package, load_config, registry

from pipeline.artifacts.sizes import check_numbers
from pipeline.disk import files
from pipeline.errors import InputError, refusing

_UNUSED = ["ner", "lemmatizer"]
"""Components that no noun chunk needs."""
_REGISTRIES = {"@architectures", "@layers", "@misc", "@scorers", "@tokenizers", "@vectors"}
"""Registries of functions that build parts; callbacks and readers load other models and files."""
_MAKERS = ("spacy", "spacy_legacy", "spacy_curated_transformers")
"""Packages whose functions and components may be named, written with a hyphen in names of functions."""
_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_MOST_BYTES = 2**17
"""A configuration has this many bytes at most; spaCy's own have a tenth of them."""
_MOST_REFERENCES = 200
_ADVICE = "give one of spaCy's models, or set spans.parser to rules"


def load(name: str) -> Language:
    """An installed spaCy model, or one in a folder, by name or path; its noun chunks can be asked for.

    Raises:
        InputError: there is none, it is damaged, it is made of what is not spaCy's own, or it has no parser.
    """
    folder = _package_folder(name) if is_package(name) else Path(name)
    if not name or folder is None or not files.is_dir(folder):
        raise InputError(
            f"spans.parser: no spaCy model {name!r} here. Install it (python -m spacy download {Path(name).name}), "
            "give a model's folder, or set spans.parser to rules"
        )
    with refusing(f"spans.parser: {folder} is no spaCy model that can be opened; {_ADVICE}"):
        _check(folder)
        nlp = spacy.load(folder, exclude=_UNUSED)
    if "parser" not in nlp.pipe_names:
        raise InputError(
            f"spans.parser: {name!r} has no dependency parser, so no noun chunks; take one of spaCy's models"
        )
    with refusing(f"spans.parser: {folder} finds no noun chunks; {_ADVICE}"):
        list(nlp("a dog").noun_chunks)
    return nlp


def _package_folder(name: str) -> Path | None:
    """The folder of the model in an installed package, found without importing it; None if it carries none."""
    package = find_spec(name) if name.isidentifier() else None
    for place in (package.submodule_search_locations or []) if package else []:
        described = Path(place) / "meta.json"
        if described.is_file():
            meta = files.read_json(described)
            if isinstance(meta, dict) and {"lang", "name", "version"} <= meta.keys():
                return Path(place) / f"{meta['lang']}_{meta['name']}-{meta['version']}"
    return None


def _check(folder: Path) -> None:
    """Nothing but spaCy's own stands in the parts of a model's configuration that are followed when it is opened."""
    if (size := (folder / "config.cfg").stat().st_size) > _MOST_BYTES:
        raise ValueError(f"its configuration has {size:,} bytes; expected up to {_MOST_BYTES:,}")
    config = load_config(folder / "config.cfg", interpolate=False)
    _check_references(config)
    config = config.interpolate()
    language = config["nlp"]["lang"]
    if not (isinstance(language, str) and re.fullmatch("[a-z]{2,3}", language)):
        raise ValueError(f"its language is {language!r:.60}; expected such as en")
    for kind, function in _functions({"nlp": config["nlp"], "components": config.get("components", {})}):
        maker = str(function).partition(".")[0].replace("-", "_")
        if kind not in _REGISTRIES or maker not in _MAKERS:
            raise ValueError(f"its configuration names {kind} {function!r:.100}, which is not spaCy's own")
    for part in ("nlp", "components"):
        check_numbers(config.get(part), f"spans.parser: {folder / 'config.cfg'}: {part}")
    register_factories()
    for component, settings in config.get("components", {}).items():
        _check_component(component, settings, get_lang_class(language))


def _check_references(config: dict[str, Any]) -> None:
    """References are few, and lead to what has none, so that following them cannot make a text of any length."""
    references = _REFERENCE.findall(str(config))
    if len(references) > _MOST_REFERENCES:
        raise ValueError(f"its configuration has {len(references):,} references; expected up to {_MOST_REFERENCES}")
    for reference in references:
        target: Any = config
        for name in reference.replace(":", ".").split("."):
            target = target.get(name) if isinstance(target, dict) else None
        if "${" in str(target):
            raise ValueError(f"its configuration refers to {reference:.60}, which refers to others; expected a value")


def _functions(value: Any) -> Iterator[tuple[str, Any]]:
    """Every registry and function that a part of a configuration names."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if str(name).startswith("@"):
                yield name, inner
            yield from _functions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _functions(inner)


def _check_component(name: str, settings: Any, language: type[Language]) -> None:
    """A component is made by a factory of spaCy's own; `source` would load another model for it."""
    factory = settings.get("factory") if isinstance(settings, dict) else None
    if not isinstance(factory, str) or "source" in settings:
        raise ValueError(f"its component {name:.60} has no factory; expected one of spaCy's own")
    maker = next(
        (known for known in (language.get_factory_name(factory), factory) if known in registry.factories), None
    )
    if maker is None or registry.factories.get(maker).__module__.partition(".")[0] not in _MAKERS:
        raise ValueError(f"its component {name:.60} has the factory {factory:.100}, which is not spaCy's own")
