"""MSCOCO: annotations/captions_<name>.json beside the image folder <name>, and optionally dataset_coco.json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.schema import Reason, make_key
from pipeline.sources import karpathy
from pipeline.sources.rows import Caption, Rejected, Row, Sample, SourceError

SOURCE = "mscoco"


def read(folder: Path) -> Iterator[Row]:
    """Every image and caption of all captions_*.json files; an image's id is its 12-digit COCO id.

    Karpathy's split is by id, so it holds whether an image lies in train2014, val2014 or train2017.
    """
    annotation_files = sorted((folder / "annotations").glob("captions_*.json"))
    if not annotation_files:
        raise SourceError(f"{SOURCE}: no annotations/captions_*.json in {folder}")
    split = karpathy.read(folder / "dataset_coco.json", lambda image: f"{int(image['cocoid']):012d}")
    seen: set[str] = set()
    for path in annotation_files:
        yield from _read_file(path, folder / path.stem.removeprefix("captions_"), split, seen)


def _read_file(path: Path, images: Path, split: karpathy.Evaluation, seen: set[str]) -> Iterator[Row]:
    if not images.is_dir():
        raise SourceError(f"{SOURCE}: {path.name} belongs to the image folder {images}, which does not exist")
    try:
        content = files.read_json(path)
        licences = {entry["id"]: str(entry["name"]) for entry in content.get("licenses", [])}
        captions: dict[int, list[tuple[Any, str]]] = defaultdict(list)
        for annotation in content["annotations"]:
            place = f"{path.name}#{annotation['id']}"
            captions[int(annotation["image_id"])].append((annotation["caption"], place))
        entries = [
            (
                int(image["id"]),
                str(image["file_name"]),
                licences.get(image.get("license"), ""),
                str(image.get("flickr_url") or image.get("coco_url") or ""),
            )
            for image in content["images"]
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path}: not a COCO captions file ({error!r}); expected images with id and file_name, and "
            "annotations with id, image_id and caption. Download it again"
        ) from error
    present = {entry.name for entry in images.iterdir()}
    for number, file_name, licence, url in entries:
        source_id = f"{number:012d}"
        key = make_key(SOURCE, source_id)
        own = []
        for text, place in captions.pop(number, ()):
            if reason := _unusable(text):
                yield Rejected("caption", key, SOURCE, place, reason, repr(text)[:200])
            else:
                own.append(Caption(text, place))
        if source_id in seen:
            detail = "this image id was already read"
            yield Rejected("image", key, SOURCE, f"{path.name}#{number}", Reason.DUPLICATE_IMAGE, detail)
            for caption in own:
                yield Rejected("caption", key, SOURCE, caption.place, Reason.DUPLICATE_IMAGE, detail)
            continue
        seen.add(source_id)
        yield Sample(
            key=key, source=SOURCE, source_id=source_id,
            path=images / file_name if file_name in present else None,
            captions=tuple(own), licence=licence, url=url, evaluation=split.get(source_id),
        )  # fmt: skip
    for number, orphans in captions.items():
        for _, place in orphans:
            key = make_key(SOURCE, f"{number:012d}")
            yield Rejected("caption", key, SOURCE, place, Reason.MALFORMED_ROW, f"no image with id {number}")


def _unusable(text: Any) -> Reason | None:
    """Why a caption cannot be text; JSON can hold what UTF-8 cannot, such as half of a surrogate pair."""
    if not isinstance(text, str):
        return Reason.MALFORMED_ROW
    try:
        text.encode()
    except UnicodeEncodeError:
        return Reason.NOT_UTF8
    return None
