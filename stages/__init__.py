"""One thin program a DVC stage: it reads params.yaml, calls the library, and writes data/<stage>/.

Importing this package switches off everything by which a dependency reaches the network or reports on its use, and
everything in the environment by which it would compute other numbers without being asked to.
"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ["YOLO_CONFIG_DIR"] = str(  # its settings are nobody's own: not those of the home folder
    Path(os.environ.get("DCLIP_HOME", ".dclip")).resolve() / "ultralytics"
)
os.environ.setdefault("DVC_STUDIO_OFFLINE", "true")
os.environ.setdefault("MPLBACKEND", "agg")

LESS_EXACT = (
    "DNNL_DEFAULT_FPMATH_MODE",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Variables that make float32 less than it is, in whatever library reads them."""

for _name in LESS_EXACT:
    os.environ.pop(_name, None)
os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # without it cuBLAS is not deterministic
