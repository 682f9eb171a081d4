"""Flickr30k: a token file `name.jpg#i<TAB>caption`, an image folder, optionally dataset_flickr30k.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.schema import Reason, make_key
from pipeline.sources import karpathy
from pipeline.sources.rows import Caption, Rejected, Row, Sample, SourceError

SOURCE = "flickr30k"
IMAGE_FOLDERS = ("flickr30k_images", "flickr30k-images", "images")
LICENCE = "Flickr, research use"


def read(folder: Path) -> Iterator[Row]:
    """Every image named in the token file, with its captions in the file's order."""
    tokens = sorted(folder.glob("*.token"))
    if len(tokens) != 1:
        raise SourceError(
            f"{SOURCE}: found {len(tokens)} *.token files in {folder}, expected one (results_20130124.token)"
        )
    images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    if images is None:
        raise SourceError(f"{SOURCE}: no image folder in {folder}; expected one of {', '.join(IMAGE_FOLDERS)}")
    split = karpathy.read(folder / "dataset_flickr30k.json", lambda image: Path(image["filename"]).stem)

    path = tokens[0]
    captions: dict[str, list[Caption]] = {}
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            place = f"{path.name}:{number}"
            reference, tab, raw = line.rstrip(b"\r\n").partition(b"\t")
            name, hash_sign, _ = reference.decode("utf-8", errors="replace").rpartition("#")
            if not tab or not hash_sign or not name:
                yield Rejected("caption", "", SOURCE, place, Reason.MALFORMED_ROW, "expected name.jpg#i<TAB>caption")
                continue
            own = captions.setdefault(name, [])
            try:
                own.append(Caption(raw.decode("utf-8"), place))
            except UnicodeDecodeError as error:
                yield Rejected("caption", make_key(SOURCE, Path(name).stem), SOURCE, place, Reason.NOT_UTF8, str(error))
    present = {entry.name for entry in images.iterdir()}
    seen: dict[str, str] = {}
    for name, own in captions.items():
        source_id = Path(name).stem
        key = make_key(SOURCE, source_id)
        if seen.setdefault(source_id, name) != name:
            detail = f"same photo id as {seen[source_id]}"
            yield Rejected("image", key, SOURCE, name, Reason.DUPLICATE_IMAGE, detail)
            for caption in own:
                yield Rejected("caption", key, SOURCE, caption.place, Reason.DUPLICATE_IMAGE, detail)
            continue
        yield Sample(
            key=key, source=SOURCE, source_id=source_id,
            path=images / name if name in present else None,
            captions=tuple(own), licence=LICENCE, url="", evaluation=split.get(source_id),
        )  # fmt: skip
