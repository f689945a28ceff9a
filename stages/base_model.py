"""Stage `base_model`: the model to start from -> `data/models/base`.

The shipped tiny model is copied whole. Of a hub model only a pointer is written (repository and revision):
its 16 GB stay in the hub's own cache and out of DVC's.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from openo3.files.artifacts import atomic_directory, write_json
from stages.params import load_params, wrong

SHIPPED = Path("data/tiny-qwen3-vl")
OUT = Path("data/models/base")


@dataclass(frozen=True)
class Params:
    """`source` is `shipped` or the id of a hub model, which needs a pinned `revision`."""

    source: str
    revision: str | None = None


def main() -> None:
    params = load_params("base_model", Params)
    if params.source != "shipped" and params.revision is None:
        wrong(f"params.yaml: base_model.revision: missing key, the commit of {params.source} to use")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with atomic_directory(OUT) as folder:
        if params.source == "shipped":
            for file in SHIPPED.iterdir():  # without file modes, since a read-only copy could not be replaced
                shutil.copyfile(file, folder / file.name)
            return
        from huggingface_hub import snapshot_download

        snapshot_download(params.source, revision=params.revision)
        write_json(folder / "pointer.json", {"repo_id": params.source, "revision": params.revision})


if __name__ == "__main__":
    main()
