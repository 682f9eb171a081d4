"""Runs stages on request, each in a process of its own that can be killed: forked, so that nothing is imported again.

Reads a JSON line `{"stage", "params", "data", "home", "journal", "segment_bytes"}`, prints the process's number, and
when the process has ended a line with its exit status. Nothing is computed in this process, so that a fork is safe.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import faiss  # noqa: F401
import sentence_transformers  # noqa: F401
import webdataset  # noqa: F401
from counting import count_forwards
from PIL import Image

import pipeline.clip.cached
import pipeline.concepts.labelling
import pipeline.detector.regions
import pipeline.detector.weights
import pipeline.features.classes
import pipeline.features.image_embeddings
import pipeline.features.texts
import pipeline.store.collection
from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.program import perform


def run(request: dict) -> None:
    journal = os.open(request["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    count_forwards(setattr, lambda kind, rows, batches: os.write(journal, f"{kind} {rows}\n".encode()))
    os.environ["DCLIP_HOME"] = request["home"]
    os.fsync = lambda _: None  # for power cuts; a kill loses nothing that the system has, and this is minutes quicker
    pipeline.store.collection.SEGMENT_BYTES = request["segment_bytes"]
    stage = getattr(importlib.import_module(f"stages.{request['stage']}"), request["stage"])
    perform(stage, Params.model_validate(request["params"]), Workspace(Path(request["data"])))


Image.init()
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)  # what a stage prints is no answer
        try:
            run(json.loads(line))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
