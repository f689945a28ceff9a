"""Prefect flows that run the stages of `dvc.yaml`: when, and in which order.

They know DVC, but not what a stage does. Prefect keeps its state in `.cache/prefect` of the checkout and
connects to its own server only.
"""

import os
from pathlib import Path

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_HOME": str(Path(".cache/prefect").absolute()),
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}.items():
    os.environ.setdefault(_name, _value)
