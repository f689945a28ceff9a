"""When the stages run and in which order: Prefect flows over the pipeline that `dvc.yaml` describes.

They know DVC and nothing of what a stage does. Prefect keeps its state in `.cache/prefect` of the checkout
and talks to nobody but its own server.
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
