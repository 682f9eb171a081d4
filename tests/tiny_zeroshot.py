"""Images by class in the three layouts that zero-shot sets have."""

import json

import webdataset as wds
from tiny_models import picture


def put(folder, counts, described=None, split="test"):
    """`counts`: images by class folder, below `split`, or right below `folder` if it is empty (an ImageFolder)."""
    for name, count in counts.items():
        (folder / split / name).mkdir(parents=True)
        for i in range(count):
            picture(len(name) + i).save(folder / split / name / f"{i}.png")
    if described is not None:
        (folder / "classes.json").write_text(json.dumps(described))
    return folder


def put_webdataset(
    folder, *shards, names=b"cat\nred star\n", templates=b"a photo of a {c}.\nmany {c}s\n", split="test"
):
    """As CLIP_benchmark publishes its sets. `shards`: samples, each a dict such as {"png": bytes, "cls": number}."""
    (folder / split).mkdir(parents=True)
    (folder / "classnames.txt").write_bytes(names)
    (folder / "zeroshot_classification_templates.txt").write_bytes(templates)
    (folder / split / "nshards.txt").write_text(f"{len(shards)}\n")
    count = 0
    for number, samples in enumerate(shards):
        with wds.TarWriter(str(folder / split / f"{number}.tar")) as tar:
            for sample in samples:
                tar.write({"__key__": f"s{count:07d}", **sample})
                count += 1
    return folder
