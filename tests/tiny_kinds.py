"""One small dataset, written as every kind of source that there is."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds
from tiny_corpora import coco, conceptual, flickr, img2dataset, png, write

from pipeline.sources import Source
from pipeline.sources.columns import Columns

BY_ID = ("mscoco", "folder", "csv", "tsv", "jsonl", "parquet", "bytes", "webdataset", "huggingface")
"""Kinds in which an image may have the id that one wants, and nothing else is known of it."""
BY_URL = ("conceptual_captions", "img2dataset", "img2dataset-files", "img2dataset-parquet", "urls")
"""Kinds in which an image is known by its url."""
KINDS = (*BY_ID, "flickr30k", *BY_URL)


def url(number):
    return f"http://pictures/{number}"


def written(folder, form, captions):
    """A dataset, of images with these captions by number, in one form."""
    return globals()[f"_{form.replace('-', '_')}"](Path(folder), captions)


def _mscoco(folder, captions):
    return Source("mscoco", coco(folder, captions))


def _flickr30k(folder, captions):
    rows = [(name, k, text) for name, own in _named(captions) for k, text in enumerate(own)]
    lines = [f"{name}#{k}\t{text}".encode() for name, k, text in rows]
    return Source("flickr30k", flickr(folder, lines, pictures={f"{i:012d}.jpg": png(i) for i in captions}))


def _folder(folder, captions):
    for name, own in _named(captions):
        write(folder / "all" / name.replace(".jpg", ".txt"), "\n".join(own).encode())
    _images(folder / "all", captions)
    (folder / "all").rename(folder / "images")
    return Source("folder", folder / "images")


def _csv(folder, captions, delimiter=","):
    _images(folder / "images", captions)
    name = "captions.csv" if delimiter == "," else "captions.tsv"
    with (folder / name).open("w", newline="", encoding="utf-8-sig") as stream:
        rows = csv.writer(stream, delimiter=delimiter)
        rows.writerow(["image", "caption"])
        rows.writerows((file, text) for file, own in _named(captions) for text in own)
    return Source("table", folder)


def _tsv(folder, captions):
    return _csv(folder, captions, "\t")


def _jsonl(folder, captions):
    _images(folder, captions)
    lines = (json.dumps({"file_name": name, "text": own}) for name, own in _named(captions))
    write(folder / "metadata.jsonl", "\n".join(lines).encode())
    return Source("table", folder / "metadata.jsonl")


def _parquet(folder, captions):
    _images(folder / "data", captions)
    rows = [{"where": f"data/{name}", "said": own, "number": name[:-4]} for name, own in _named(captions)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet", row_group_size=3)
    return Source("table", folder, {"columns": Columns(path="where", captions=("said",), id="number")})


def _records(captions):
    """As `datasets` has images."""
    return pa.Table.from_pylist(
        [
            {"image": {"bytes": png(i), "path": None}, "captions": own, "image_id": f"{i:012d}"}
            for i, own in captions.items()
        ]
    )


def _bytes(folder, captions):
    folder.mkdir(parents=True)
    pq.write_table(_records(captions), folder / "train.parquet", row_group_size=3)
    return Source("table", folder, {"columns": Columns(id="image_id")})


def _huggingface(folder, captions):
    saved(folder, {"train": _records(captions)})
    return Source("huggingface", folder, {"columns": Columns(id="image_id")})


def saved(folder, tables):
    """Tables by split, as `DatasetDict.save_to_disk` writes them."""
    write(folder / "dataset_dict.json", json.dumps({"splits": list(tables)}).encode())
    for split, table in tables.items():
        name = "data-00000-of-00001.arrow"
        write(folder / split / "state.json", json.dumps({"_data_files": [{"filename": name}]}).encode())
        write(folder / split / "dataset_info.json", b"{}")
        with pa.OSFile(str(folder / split / name), "wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table, max_chunksize=5)


def _webdataset(folder, captions):
    folder.mkdir(parents=True)
    with wds.TarWriter(str(folder / "000.tar")) as tar:
        for i, own in captions.items():
            tar.write({"__key__": f"{i:012d}", "jpg": png(i), "json": json.dumps({"captions": own}).encode()})
    return Source("webdataset", folder, {"columns": Columns(id="__key__")})


def _conceptual_captions(folder, captions):
    first = conceptual(folder, {url(i): (own[0].encode(), png(i)) for i, own in captions.items()})
    rest = b"".join(f"{text}\t{url(i)}\n".encode() for i, own in captions.items() for text in own[1:])
    with (first / "Train_GCC-training.tsv").open("ab") as stream:
        stream.write(rest)
    return Source("conceptual_captions", folder)


def _img2dataset(folder, captions, form="webdataset"):
    return Source("img2dataset", img2dataset(folder, [(url(i), own, png(i)) for i, own in captions.items()], form=form))


def _img2dataset_files(folder, captions):
    return _img2dataset(folder, captions, "files")


def _img2dataset_parquet(folder, captions):
    return _img2dataset(folder, captions, "parquet")


def _urls(folder, captions):
    """A table of urls, with downloads that are named by their CRC-32."""
    _conceptual_captions(folder, captions)
    (folder / "Train_GCC-training.tsv").unlink()
    rows = "".join(f"{url(i)}\t{text}\n" for i, own in captions.items() for text in own)
    write(folder / "data.tsv", f"url\tcaption\n{rows}".encode())
    return Source("table", folder)


def _named(captions):
    return [(f"{i:012d}.jpg", own) for i, own in captions.items()]


def _images(folder, captions):
    for i in captions:
        write(folder / f"{i:012d}.jpg", png(i))
