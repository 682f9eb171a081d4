"""`dclip search` and `dclip serve`: images by text or by image, on the command line or in a browser."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from pipeline.errors import InputError
from stages.program import check_writable

DataOption = Annotated[Path, typer.Option(help="Folder with a folder for every stage.")]


def search(
    query: Annotated[str | None, typer.Argument(help="What the image should show.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image to ask with, instead of a text.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many images.")] = 5,
    html: Annotated[Path | None, typer.Option(help="Also write the images as a page to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    data: DataOption = Path("data"),
) -> None:
    """Show the test images that fit a text or an image best, e.g. dclip search "a small red star on sand"."""
    from pipeline.artifacts import catalog
    from pipeline.artifacts.schema import Split
    from pipeline.artifacts.workspace import Workspace
    from pipeline.clip.image_files import bytes_of
    from pipeline.search import page
    from pipeline.search.engine import Search

    if query is not None and image is not None:
        raise InputError("a text and --image were given; expected one of them")
    if query is None and image is None:
        raise InputError("expected a text, or --image with an image")
    if query is not None and not query.strip():
        raise InputError("the query is empty; say what the image should show")
    if html:
        check_writable("--html", html)
    ws = Workspace(data)
    manifest = ws.manifest(Split.TEST) if ws.has(catalog.MANIFEST) else None
    searching = Search(ws.student, ws.path(catalog.INDEX), manifest.fingerprint if manifest else None)
    if image is not None:
        if not image.is_file():
            raise InputError(f"{image} is {'a folder' if image.is_dir() else 'not there'}; expected an image's file")
        hits, asked = searching.image(bytes_of(image), top), image.name
    else:
        assert query is not None
        hits, asked = searching.text(query, top), query
        if unread := searching.unread(query):
            print(f"dclip: {unread}", file=sys.stderr)
    if html:
        page.write(html, asked, hits, searching.captions, manifest or ws.manifest(Split.TEST))
    if as_json:
        print(json.dumps(searching.described(hits), ensure_ascii=False))
        return
    table = RichTable(title=escape(f'"{asked}"' if image is None else asked), title_justify="left")
    for heading in ("rank", "similarity", "image", "its first caption"):
        table.add_column(heading)
    for hit in searching.described(hits):
        table.add_row(str(hit["rank"]), f"{hit['similarity']:.3f}", hit["key"], escape(hit["captions"][0]))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if html:
        print(f"images: {html}")


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0 for any that is free.")] = 8765,
    data: DataOption = Path("data"),
) -> None:
    """Open a page on this machine that searches the test images by text or by image, until Ctrl-C."""
    from pipeline.artifacts import catalog
    from pipeline.artifacts.schema import Split
    from pipeline.artifacts.workspace import Workspace
    from pipeline.search.engine import Search
    from pipeline.search.server import server

    ws = Workspace(data)
    manifest = ws.manifest(Split.TEST)
    searching = Search(ws.student, ws.path(catalog.INDEX), manifest.fingerprint)
    try:
        found = server(searching, manifest, port)
    except OSError as error:
        raise InputError(f"port {port} cannot be used ({error.strerror}); choose another one: --port 0") from error
    with found:
        try:
            print(f"http://127.0.0.1:{found.server_address[1]}  (Ctrl-C ends it)", flush=True)
            found.serve_forever()
        except KeyboardInterrupt:
            print(flush=True)
            if found.busy:  # Python cannot stop the threads that answer, and might crash when it ends below them
                os._exit(0)
