"""One module per stage of `dvc.yaml`: parameters and inputs -> a call of the library -> artifacts.

A stage is run as `python -m stages.NAME` from the root of the repository. However it is started (DVC,
Prefect, accelerate), it is quiet towards the outside: no telemetry, no model hub unless its command in
`dvc.yaml` says `HF_HUB_OFFLINE=0`, and wandb writes to local files unless one has logged in to it.
"""

import os
from pathlib import Path

for _name, _value in {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "GX_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(_name, _value)

if "WANDB_API_KEY" not in os.environ:
    _netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    if not (_netrc.is_file() and "api.wandb.ai" in _netrc.read_text(errors="replace")):
        os.environ.setdefault("WANDB_MODE", "offline")
