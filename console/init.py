"""`dclip init`: what you have, looked at, becomes params.yaml."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from pipeline.disk import files
from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.params import Params
    from pipeline.trial.proposal import Found
    from pipeline.trial.sources import Tried


def init(
    path: Annotated[Path | None, typer.Option(help="Folder that holds a folder for every source, or is one.")] = None,
    source: Annotated[list[Path] | None, typer.Option(help="Another source's folder, elsewhere; repeatable.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="What is laid over params.yaml first: a file of profiles/, or none.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps.")] = None,
    quota: Annotated[
        int | None, typer.Option(min=1, help="Images of every source, at most; all, if not given.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing, and overwrite a params.yaml that was changed.")
    ] = False,
    params: Annotated[Path, typer.Option(help="The file that is written.")] = Path("params.yaml"),
    profiles: Annotated[Path, typer.Option(help="Where profiles are.")] = Path("profiles"),
) -> None:
    """Look at the folders of your images and captions, and write params.yaml with the sources found there.

    On a terminal it asks for what no option says. Names what was recognised by which files, counts images and captions,
    and says what is lacking. A params.yaml that differs from the one that git has is overwritten only after a question
    or with --yes.
    """
    ask = sys.stdin.isatty() and not yes
    if not yes and _differs(params):
        question = f"{params} was changed since git has it. Overwrite it?"
        if not ask or not typer.confirm(question, default=False):
            raise InputError(f"{params} was changed since git has it, and is left as it is; --yes overwrites it")
    path = path or Path(_asked(ask, "Folder that holds your images and captions", "data/raw"))
    profile = profile or _asked(ask, f"Setting ({', '.join(_named(profiles))}, none)", "recommended")
    laid = _profile(profiles, profile)
    from pipeline.params import load, overlay
    from pipeline.trial import proposal

    found, unread = proposal.look(path, source or ())
    for one in unread:
        print(f"{one.path}: {one.why}")
    if not found:
        raise InputError(f"no folder in {path} was recognised as a source; see docs/your-data.md for their layouts")
    counted = [(one, tried) for one in found if (tried := _counted(one, load(params)))]
    changes = proposal.changes([one for one, _ in counted], [tried for _, tried in counted], path)
    for one in changes["sources"]["of"].values():
        one["quota"] = min(one["quota"], quota or one["quota"])
    device = device or _asked(ask, "Device", _device())
    laid = _merged(laid, changes | {"compute": {"device": device}})
    with TemporaryDirectory(prefix="dclip-init-") as scratch:
        whole = Path(scratch) / "found.yaml"
        whole.write_text(yaml.safe_dump(laid, sort_keys=False, default_flow_style=None, width=1000))
        text, changed = overlay.overlaid(params, whole)
    print("\n".join(changed))
    files.write_text(params, text)
    now = load(params)
    for lack in (lack for one in found for lack in (f"{one.path}: {each}" for each in one.recognised.lacking)):
        print(f"lacking: {lack}")
    for lack in proposal.lacking(now):
        print(f"lacking: {lack}")
    print(f"wrote {params}: {len(changes['sources']['of'])} sources; run: dclip check")


def _asked(ask: bool, question: str, default: str) -> str:
    return str(typer.prompt(question, default=default)) if ask else default


def _named(profiles: Path) -> list[str]:
    return sorted(path.stem for path in profiles.glob("*.yaml"))


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _profile(profiles: Path, name: str) -> dict[str, Any]:
    if name == "none":
        return {}
    file = profiles / f"{name}.yaml"
    if not file.is_file():
        raise InputError(f"no profile {file}; there are: {', '.join(_named(profiles)) or 'none'}")
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")))


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, `second` where both say something; sources and tests are those of `second` alone."""
    merged = dict(first)
    for name, value in second.items():
        before = merged.get(name)
        whole = name in ("of", "test") or not (isinstance(before, Mapping) and isinstance(value, Mapping))
        merged[name] = value if whole else _merged(before or {}, value)
    return merged


def _counted(one: Found, params: Params) -> Tried | None:
    """Rows and images of a source, counted by its own reader; None, and a sentence, if that cannot read it."""
    from pipeline.curation.captions import CaptionLimits
    from pipeline.sources import Source, SourceError
    from pipeline.trial.sources import try_source
    from stages.curate import rules_of

    given = Source(one.recognised.kind, one.path)
    rules = replace(rules_of(params), quota={one.name: 1}, test={}, kinds={one.name: given.kind})
    limits = CaptionLimits(**params.curate.captions.model_dump())
    try:
        tried = try_source(one.name, given, rules, limits, images=0, most_rows=sys.maxsize)
    except SourceError as error:
        print(f"{one.path}: it looks like {given.kind}, but cannot be read as one: {error}")
        return None
    also = f" (or {', '.join(one.others)})" if one.others else ""
    parts = "".join(f", {count:,} published for {part}" for part, count in sorted(tried.published.items()))
    print(
        f"{one.path}: {one.recognised.kind}{also}, by {', '.join(one.recognised.by)}: {tried.images:,} images, "
        f"{tried.files:,} of them with a file, {tried.captions:,} captions{parts}"
    )
    return tried


def _differs(params: Path) -> bool:
    """Whether a file differs from what git has of it, or git does not have it."""
    command = ["git", "-C", str(params.resolve().parent), "diff", "--quiet", "HEAD", "--", params.name]
    tracked = ["git", "-C", str(params.resolve().parent), "ls-files", "--error-unmatch", params.name]
    try:
        return any(subprocess.run(one, capture_output=True, check=False).returncode for one in (command, tracked))  # noqa: S603
    except OSError:  # no git here
        return True
