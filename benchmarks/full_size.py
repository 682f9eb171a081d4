"""The whole way at full size: every stage's time, memory and bytes, and how they grow.

    python -m benchmarks.full_size FOLDER --images 75000
    python -m benchmarks.full_size SMALLER --images 7500
    python -m benchmarks.full_size FOLDER --images 75000 --small SMALLER

makes the sample world with so many images to keep, and runs every stage of dvc.yaml on it, one after another, each in a
process of its own, as `dvc repro` does with nothing done before. The corpora and their test images grow with
`--images`; what the base, the detector and the probes are trained on, and the zero-shot images, stay as params.yaml has
them. `--set student.epochs=2` changes any parameter. Prints, stage by stage,

- seconds, and seconds of processors that all its processes took together, which hardly depend on what else the machine
  does;
- memory at its peak, as it is sampled every 0.2 s: of all its processes together, mapped files left out (what forked
  processes share counts for each), and of the largest process, mapped files and libraries included;
- bytes: of its folder below FOLDER/data, and by how much FOLDER/home has grown (feature store, pixels, checkpoints);
- beside a run of fewer images, the exponents x of processor seconds and memory ~ images^x.

Everything goes into FOLDER/figures.json as it becomes known. After a kill the same command goes on: stages that are
done are not run again, and the stage that was under way keeps the seconds that it had taken (`attempts` says how often
it was begun). What a stage cannot do without: `benchmarks.floors`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.params import checked
from stages.declaration import declared

ROOT = Path(__file__).parents[1]
FIGURES = "figures.json"
SAMPLED, KEPT = 0.2, 10.0
"""Seconds between two looks at the memory, and between two notes of how far a stage is."""
GROWING = ("mscoco", "flickr30k", "conceptual_captions", "test")
"""Parameters of `sample` that grow with the number of images."""
MEASURED = ("seconds", "processors", "own", "largest")
EXPONENT = 1.05
"""Target: most of a stage's seconds."""


def scaled(content, images, data, changes=()):
    """params.yaml for so many images to keep, everything below `data`.

    Args:
        changes: `section.name=value` each.
    """
    sources = content["sources"]["of"].values()
    factor = images / sum(source["quota"] for source in sources)
    for counts, names in ((content["sample"], GROWING), *((source, ["quota"]) for source in sources)):
        for name in names:
            counts[name] = math.ceil(counts[name] * factor)
    for change in changes:
        name, equals, value = change.partition("=")
        *sections, last = name.split(".")
        part = content
        for section in sections:
            part = part[section]
        if not equals or last not in part:
            raise InputError(f"--set {change}: there is no such parameter; expected section.name=value")
        part[last] = yaml.safe_load(value)
    made = data / "sample"
    content["sources"]["path"], content["models"]["path"] = str(made / "corpora"), str(made / "base")
    content["zeroshot"]["path"], content["probe"]["attributes"] = str(made / "zeroshot"), str(made / "attributes")
    return checked(content, "the parameters of this size").model_dump(mode="json")


class Run:
    """The stages of one size in one folder.

    Args:
        command: of a stage's name, what runs it.
    """

    def __init__(self, folder, images, params, command):
        self.folder, self.command, self.path = folder, command, folder / FIGURES
        self.known = {"images": images, "params": params, "stages": {}}
        if self.path.is_file():
            known = json.loads(self.path.read_text())
            if (known["images"], known["params"]) != (images, params):
                raise InputError(
                    f"{self.path} is of {known['images']:,} images, or of other parameters; expected {images:,} and "
                    "these. Give another folder, or remove this one"
                )
            self.known = known

    def stage(self, name):
        """Run a stage, unless that was done; its figures."""
        found = self.known["stages"].setdefault(name, {"attempts": 0} | dict.fromkeys(MEASURED, 0))
        if "bytes" in found:
            return found
        _end_left_over(found.pop("process", None))
        found.setdefault("home_before", _size(self.folder / "home"))
        found["attempts"] += 1
        before, used, start = found["seconds"], found["processors"], time.monotonic()
        with (self.folder / f"{name}.log").open("ab") as log:
            environment = os.environ | {"DCLIP_HOME": str(self.folder / "home")}
            process = subprocess.Popen(self.command(name), stdout=log, stderr=log, cwd=ROOT, env=environment)
            watched = psutil.Process(process.pid)
            found["process"] = [process.pid, watched.create_time()]
            noted = -math.inf
            try:
                while (status := process.poll()) is None:
                    own, largest, processors = _looked_at(watched)
                    found["own"], found["largest"] = max(found["own"], own), max(found["largest"], largest)
                    found["processors"] = max(found["processors"], used + processors)
                    found["seconds"] = before + time.monotonic() - start
                    if time.monotonic() - noted >= KEPT:
                        noted = time.monotonic()
                        self._keep()
                    time.sleep(SAMPLED)
            except BaseException:
                _end(watched)
                process.wait()
                raise
        found["seconds"] = before + time.monotonic() - start
        if status != 0:
            self._keep()
            raise InputError(f"{name} ended with {status}; see {self.folder / f'{name}.log'}, then run it again")
        del found["process"]
        found["bytes"] = _size(self.folder / "data" / name)
        found["home"] = _size(self.folder / "home") - found.pop("home_before")
        self._keep()
        return found

    def _keep(self):
        files.write_json(self.path, self.known)


def _tree(watched):
    with suppress(psutil.Error):
        return [watched, *watched.children(recursive=True)]
    return []


def _looked_at(watched):
    """What a process and those below it have in memory and have computed.

    Returns:
        bytes of all but for mapped files, bytes of the largest with these, and seconds of processors, those of ended
        processes included. What the system says of memory when a process ends (ru_maxrss) is no less than what this
        program itself has held.
    """
    own, largest, seconds = 0, 0, 0.0
    for process in _tree(watched):
        with suppress(psutil.Error):
            held = process.memory_info()
            own, largest = own + held.rss - getattr(held, "shared", 0), max(largest, held.rss)
            seconds += sum(process.cpu_times()[:4])
    return own, largest, seconds


def _end(watched):
    for process in reversed(_tree(watched)):
        with suppress(psutil.Error):
            process.kill()


def _end_left_over(noted):
    """End a stage that outlived the kill of this program."""
    with suppress(psutil.Error):
        if noted and (left := psutil.Process(noted[0])).create_time() == noted[1]:
            _end(left)
            left.wait(timeout=60)


def _size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def exponent(large, small, images, fewer):
    """x of figure ~ images^x; None where one of them is nothing."""
    return math.log(large / small) / math.log(images / fewer) if large > 0 and small > 0 else None


def table(known, small=None):
    """Lines that say what is known of a run, beside one of fewer images."""
    head = f"{'stage':10s}{'seconds':>10s}{'processors, s':>15s}{'memory, MB':>12s}{'largest, MB':>13s}"
    head += f"{'bytes, MB':>11s}{'home, MB':>10s}"
    yield f"{known['images']:,} images"
    yield head + (f"{'x, time':>9s}{'x, memory':>11s}" if small else "")
    total = 0.0
    for name, found in known["stages"].items():
        if "bytes" not in found:
            continue
        total += found["seconds"]
        columns = [found["own"], found["largest"], found["bytes"], found["home"]]
        line = f"{name:10s}{found['seconds']:>10.1f}{found['processors']:>15.1f}"
        line += "".join(f"{value / 1e6:>{width}.1f}" for value, width in zip(columns, (12, 13, 11, 10), strict=True))
        if small and "bytes" in small["stages"].get(name, {}):
            other, sizes = small["stages"][name], (known["images"], small["images"])
            found_x = [exponent(found[figure], other[figure], *sizes) for figure in ("processors", "own")]
            line += "".join(
                f"{'-' if x is None else f'{x:.2f}':>{width}s}" for x, width in zip(found_x, (9, 11), strict=True)
            )
            line += "" if found_x[0] is None or found_x[0] <= EXPONENT else f"  NOT met: at most {EXPONENT}"
        yield line + (f"  begun {found['attempts']} times" if found["attempts"] > 1 else "")
    yield f"{'all':10s}{total:>10.1f}"


def main(arguments=None):
    """Run what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description="Every stage at full size: seconds, memory, bytes, exponents.")
    parser.add_argument("folder", type=Path, help="where everything is written")
    parser.add_argument("--images", type=int, default=75_000, help="to keep of the corpora, before the split")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another parameter")
    parser.add_argument("--small", type=Path, help="the folder of a run of fewer images")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    try:
        params = scaled(yaml.safe_load(options.params.read_text()), options.images, folder / "data", options.set)
        folder.mkdir(parents=True, exist_ok=True)
        given = ["--params", str(folder / "params.yaml"), "--data", str(folder / "data")]
        run = Run(folder, options.images, params, lambda name: [sys.executable, "-m", f"stages.{name}", *given])
        files.write_text(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False))
        for name in declared():
            print(f"{name} ..", file=sys.stderr, flush=True)
            run.stage(name)
        small = json.loads((options.small / FIGURES).read_text()) if options.small else None
    except InputError as error:
        sys.exit(f"full_size: {error}")
    print("\n".join(table(run.known, small)))


if __name__ == "__main__":
    main()
