"""Fuzzed corpora through every reader, with captions counted: none may be lost.

    python -m benchmarks.fuzz_readers --inputs 20000

Every input is a small corpus in one of the layouts that are read, its captions marked by numbers, and then damaged:
its entries before they are written (other types, lists, missing fields, repeated ids), or its bytes afterwards (cut,
noise, zeros, joined). What the damaged files hold is counted by searching their bytes for the marks, which asks nothing
of the readers. Then each mark has to be in a caption that was read or in a row that was rejected, or a tar or parquet
is named of which not all could be read, or the corpus is refused. It prints inputs, captions held, read, rejected,
refused, and how many were lost, and ends with 1 if any was.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import random
import re
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources import Caption, Rejected, Row, Source, SourceError, read

MARK = re.compile(rb"mark\d{4}")
ODD: list[Any] = [None, 5, -1, 1.5, True, "", "x", [], {}, [[]], "\u00e9", 10**13, {"raw": "none"}]

Files = dict[str, bytes]
Make = Callable[[random.Random, list[str]], Files]


def captions(draw: random.Random) -> list[str]:
    """Marked captions with what trips readers."""
    extra = ["", ' "so" it says', ", of course ; indeed", " | or not", " é 🐕", ' "', " \\ ", " '' "]
    return [f"mark{n:04d} is seen{draw.choice(extra)}" for n in range(draw.randint(1, 9))]


def odd(draw: random.Random, value: Any, rate: float = 0.15) -> Any:
    """The value, or now and then something else that keeps its captions."""
    if draw.random() > rate:
        return value
    return draw.choice([[value], [value, value], {"value": value}, [[value], 3]] if _marked(value) else ODD)


def _marked(value: Any) -> bool:
    return bool(MARK.search(json.dumps(value).encode()))


def coco(draw: random.Random, said: list[str]) -> Files:
    annotations = [
        {"id": odd(draw, n), "image_id": odd(draw, draw.randint(1, 3)), "caption": odd(draw, text)}
        for n, text in enumerate(said)
    ]
    images = [{"id": odd(draw, n), "file_name": odd(draw, f"{n}.jpg")} for n in range(1, 4)]
    content = {"images": images, "annotations": [odd(draw, each, 0.05) for each in annotations]}
    return {"annotations/captions_train2017.json": json.dumps(content).encode(), "train2017/1.jpg": b""}


def karpathy_coco(draw: random.Random, said: list[str]) -> Files:
    return {"dataset_coco.json": karpathy(draw, said), "train2014/1.jpg": b""}


def karpathy_flickr(draw: random.Random, said: list[str]) -> Files:
    return {"dataset_flickr30k.json": karpathy(draw, said), "images/1.jpg": b""}


def karpathy(draw: random.Random, said: list[str]) -> bytes:
    entries: list[dict[str, Any]] = []
    for number, text in enumerate(said):
        sentence = odd(draw, {"raw": odd(draw, text), "sentid": odd(draw, number)}, 0.05)
        if entries and draw.random() < 0.6 and isinstance(entries[-1]["sentences"], list):
            entries[-1]["sentences"].append(sentence)
        else:
            entry = {"split": "train", "cocoid": odd(draw, number), "filepath": odd(draw, "train2014"),
                     "filename": odd(draw, f"{number}.jpg"), "sentences": [sentence]}  # fmt: skip
            entries.append(entry)
    for entry in entries:
        if draw.random() < 0.1:
            entry["sentences"] = {str(k): each for k, each in enumerate(entry["sentences"])}
    return json.dumps({"images": entries}).encode()


def token(draw: random.Random, said: list[str]) -> Files:
    lines = "".join(f"{draw.randint(1, 3)}.jpg#{n}\t{text}\n" for n, text in enumerate(said))
    return {"results.token": lines.encode(), "images/1.jpg": b""}


def kaggle(draw: random.Random, said: list[str]) -> Files:
    lines = "".join(f"{draw.randint(1, 3)}.jpg| {n}| {text}\n" for n, text in enumerate(said))
    return {"results.csv": f"image_name| comment_number| comment\n{lines}".encode(), "images/1.jpg": b""}


def of_images(draw: random.Random, said: list[str]) -> Files:
    return {"results.csv": delimited(draw, said, flickr=True), "images/1.jpg": b""}


def of_urls(draw: random.Random, said: list[str]) -> Files:
    return {"a.tsv": delimited(draw, said, flickr=False)}


def delimited(draw: random.Random, said: list[str], flickr: bool) -> bytes:
    out = io.StringIO(newline="")
    quoting, end = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), draw.choice(["\n", "\r\n", "\r"])
    writer = csv.writer(out, delimiter=draw.choice(",;\t|"), quoting=quoting, lineterminator=end)
    key = "image" if flickr else "url"
    order = draw.sample(range(3), 3)
    if draw.random() < 0.7:
        writer.writerow([["", "caption", key][c] for c in order])
    for number, text in enumerate(said):
        name = f"{draw.randint(1, 3)}.jpg"
        text = text.replace(" is ", " is\n" if end != "\r" and draw.random() < 0.2 else " is ")
        writer.writerow([[number, text, name if flickr else f"http://x/{name}"][c] for c in order])
    return out.getvalue().encode(draw.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]))


def urls(draw: random.Random, said: list[str]) -> Files:
    rows = ([text, f"http://x/{n}"] for n, text in enumerate(said))
    turn = draw.choice([1, -1])
    return {"a.tsv": "".join("\t".join(row[::turn]) + "\n" for row in rows).encode()}


def downloaded(draw: random.Random, said: list[str]) -> Files:
    """img2dataset's three forms, with a parquet or without."""
    form, kinds = draw.choice(["webdataset", "files", "parquet"]), draw.choice([False, True])
    rows, files = [], {}
    for number, text in enumerate(said):
        key = f"{draw.choice([number, number, 0]):09d}" if form == "webdataset" else f"{number:09d}"
        row = {"url": f"http://x/{number}", "caption": [text] if kinds else text, "key": key, "status": "success"}
        rows.append(row | ({"jpg": b"x"} if form == "parquet" else {}))
        record = row | {"url": odd(draw, row["url"]), "caption": odd(draw, row["caption"])}
        parts = {"jpg": b"x" * draw.randint(0, 900), "json": json.dumps(record).encode(), "txt": text.encode()}
        if draw.random() < 0.1:
            del parts[draw.choice(["jpg", "json"])]
        files |= {f"{key}.{extension}\0{number}": data for extension, data in parts.items()}
    found: Files = {}
    if form == "webdataset":
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=draw.choice([0, 1, 2])) as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name.partition("\0")[0])
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        found["00000.tar"] = out.getvalue()
    elif form == "files":
        found = {f"00000/{name.partition(chr(0))[0]}": data for name, data in files.items()}
    if form == "parquet" or draw.random() < 0.2:
        written = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), written, compression="none", use_dictionary=False)
        found["00000.parquet"] = written.getvalue()
    return found


def a_table(draw: random.Random, said: list[str]) -> Files:
    return {"captions.csv": delimited(draw, said, flickr=True), "images/1.jpg": b""}


def json_lines(draw: random.Random, said: list[str]) -> Files:
    rows = ({"file_name": odd(draw, f"{n}.jpg"), "text": odd(draw, text)} for n, text in enumerate(said))
    return {"metadata.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows).encode()}


def in_parquet(draw: random.Random, said: list[str]) -> Files:
    rows = [{"image": b"x", "text": [text] * draw.randint(1, 2)} for text in said]
    written = io.BytesIO()
    size = draw.randint(1, 4)
    pq.write_table(pa.Table.from_pylist(rows), written, compression="none", use_dictionary=False, row_group_size=size)
    return {"a.parquet": written.getvalue()}


def of_arrow(draw: random.Random, said: list[str]) -> Files:
    table = pa.Table.from_pylist([{"image": b"x", "text": text} for text in said])
    written = io.BytesIO()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table, max_chunksize=draw.randint(1, 4))
    return {"a.arrow": written.getvalue()}


def tars(draw: random.Random, said: list[str]) -> Files:
    found = {name: data for name, data in downloaded(draw, said).items() if name.endswith(".tar")}
    return found or {"0.tar": b""}


def beside(draw: random.Random, said: list[str]) -> Files:
    files = {f"{number}.txt": text.encode() for number, text in enumerate(said)}
    return files | {f"{number}.jpg": b"x" for number in range(len(said)) if draw.random() < 0.8}


LAYOUTS: dict[str, list[tuple[str, Make]]] = {
    "mscoco": [("annotations", coco), ("split file", karpathy_coco)],
    "flickr30k": [("token", token), ("kaggle", kaggle), ("delimited", of_images), ("split file", karpathy_flickr)],
    "conceptual_captions": [("urls", urls), ("delimited", of_urls), ("img2dataset", downloaded)],
    "img2dataset": [("all", downloaded)],
    "table": [("delimited", a_table), ("JSON lines", json_lines), ("Parquet", in_parquet)],
    "huggingface": [("Arrow", of_arrow)],
    "webdataset": [("tars", tars)],
    "folder": [("texts", beside)],
}


def damaged(draw: random.Random, files: Files) -> Files:
    """One of the files with other bytes."""
    name = draw.choice([name for name, data in files.items() if data] or list(files))
    data, noise = (
        files[name],
        draw.choice([b"\xff", b"\0", b"\n", b'"', b"\t", b",", b"{", bytes(600), b"ustar", b"\r"]),
    )
    at = draw.randint(0, len(data))
    made = {
        "cut": data[:at], "joined": data + data, "replace": data[:at] + noise + data[at + len(noise) :],
        "insert": data[:at] + noise + data[at:],
        "remove": data[:at] + data[at + draw.randint(1, 600) :],
    }  # fmt: skip
    return files | {name: draw.choice(list(made.values()))}


def held(files: Files) -> Counter[bytes]:
    """Marks in the files, each as often as its file has it; what only repeats another file is not counted."""
    table = any(name.endswith(".parquet") for name in files)
    found: Counter[bytes] = Counter()
    for name, data in files.items():
        if name.endswith((".csv", ".tsv", ".token")):
            found += Counter(MARK.findall(b"".join(lines(data))))
        elif name.endswith(".jsonl"):
            found += Counter(mark for line in data.split(b"\n") for mark in in_line(line))
        elif "/" not in name.removeprefix("annotations/") and name.endswith(".json"):
            with contextlib.suppress(ValueError, RecursionError):  # what is no JSON has to be refused
                found += Counter(in_json(json.loads(data)))
        elif not (table and name.endswith((".tar", ".json", ".txt"))):
            found |= Counter(set(MARK.findall(data)))  # KEY.json and KEY.txt say the same
    return found


def in_line(line: bytes) -> list[bytes]:
    """Marks of a line of JSON lines; of an object only those of the field that is a caption by its name."""
    with contextlib.suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict):
            return MARK.findall(json.dumps(row.get("text")).encode())
    return MARK.findall(line)


def in_json(value: Any, path: tuple[str, ...] = ("sentences annotations", "raw caption")) -> list[bytes]:
    """Marks of whatever is, however deep, where captions are: below fields of these names, one within the other."""
    if isinstance(value, dict):
        below = {key: path[1:] if path and key in path[0].split() else path for key in value}
        return [mark for key, each in value.items() for mark in in_json(each, below[key])]
    if isinstance(value, list):
        return [mark for each in value for mark in in_json(each, path)]
    return [] if path else MARK.findall(str(value).encode(errors="replace"))


def lines(data: bytes, end: bytes = b"\n") -> list[bytes]:
    """The lines of a table, with their ends."""
    form = "utf-16-le" if data.startswith(b"\xff\xfe") else "utf-16-be" if data.startswith(b"\0") else ""
    plain = data.decode(form, "replace").encode(errors="replace") if form else data
    return [line + end for line in plain.split(end)]


def told(files: Files, rows: list[Row]) -> int:
    """Captions that rejected rows stand for: one each, or of a table all marks from their line to the next row."""
    places = [row.place for row in rows if isinstance(row, Caption | Rejected)]
    count = 0
    for row, following in zip_longest(
        (row for row in rows if isinstance(row, Caption | Rejected)), (place.rpartition(":") for place in places[1:])
    ):
        if not isinstance(row, Rejected) or row.kind != "caption":
            continue
        name, _, number = row.place.partition("[")[0].rpartition(":")
        if name.endswith((".csv", ".tsv", ".token", ".jsonl")):
            until = int(following[2].partition("[")[0]) - 1 if following else None
            both = (
                lines(files[name], end)[int(number) - 1 : until] for end in (b"\n", b"\r")
            )  # damage may leave either
            count += max(len(MARK.findall(b"".join(own))) for own in both)
        else:
            count += 1
    return count


def measure(inputs: int, seed: int) -> Counter[str]:
    """Read so many inputs; counts of what became of their captions, and of those lost by layout."""
    counts: Counter[str] = Counter()
    kinds = [(corpus, *layout) for corpus, layouts in LAYOUTS.items() for layout in layouts]
    for number in range(inputs):
        draw = random.Random(f"{seed}/{number}")
        corpus, name, make = kinds[number % len(kinds)]
        files = make(draw, captions(draw))
        if draw.random() < 0.6:
            files = damaged(draw, files)
        counts["inputs"] += 1
        wanted = held(files)
        counts["held"] += wanted.total()
        with tempfile.TemporaryDirectory() as folder:
            for path, data in files.items():
                (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / path).write_bytes(data)
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    rows = list(read(Source(corpus, Path(folder))))
            except SourceError:
                counts["refused"] += 1
                continue
        texts = (row.text if isinstance(row.text, bytes) else row.text.encode(errors="replace")
                 for row in rows if isinstance(row, Caption))  # fmt: skip
        found = Counter(mark for text in texts for mark in MARK.findall(text))
        rejected = told(files, rows)
        gap = any(isinstance(row, Rejected) and row.place.endswith((".tar", ".parquet", ".arrow")) for row in rows)
        missing = (wanted - found).total()
        counts["read"] += (wanted & found).total()
        counts["rejected"] += rejected
        if missing > rejected and not gap:
            counts["lost"] += missing - rejected
            counts[f"lost of {corpus}, {name}"] += missing - rejected
            print(f"input {number} ({corpus}, {name}): lost {sorted(wanted - found)}")
    return counts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    counts = measure(options.inputs, options.seed)
    print(f"{time.monotonic() - start:.0f} s")
    for name in ("inputs", "held", "read", "rejected", "refused", "lost"):
        print(f"{name}: {counts[name]:,}")
    sys.exit(counts["lost"] > 0)


if __name__ == "__main__":
    main()
