"""One thin program a DVC stage: it reads params.yaml, calls the library, and writes data/<stage>/.

Importing this package switches off everything by which a dependency reaches the network or reports on its use.
"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")
os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(os.environ.get("DCLIP_HOME", ".dclip")).resolve() / "ultralytics"))
os.environ.setdefault("DVC_STUDIO_OFFLINE", "true")
os.environ.setdefault("MPLBACKEND", "agg")
