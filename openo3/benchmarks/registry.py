"""Every benchmark by its name. To add one, write `openo3/benchmarks/NAME.py` and list its object here."""

from __future__ import annotations

from openo3.annotations.files import STGR_FILES
from openo3.benchmarks.activitynet import ACTIVITYNET
from openo3.benchmarks.base import Benchmark
from openo3.benchmarks.charades import CHARADES
from openo3.benchmarks.hcstvg import HCSTVG
from openo3.benchmarks.nextgqa import NEXTGQA
from openo3.benchmarks.tvgbench import TVGBENCH
from openo3.benchmarks.videomme import VIDEOMME
from openo3.benchmarks.videommmu import VIDEOMMMU
from openo3.benchmarks.vidstg import VIDSTG
from openo3.benchmarks.vstar import VSTAR
from openo3.benchmarks.worldsense import WORLDSENSE

_ALL = (
    VSTAR,
    TVGBENCH,
    VIDEOMME,
    WORLDSENSE,
    VIDEOMMMU,
    CHARADES,
    NEXTGQA,
    ACTIVITYNET,
    HCSTVG,
    VIDSTG,
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
"""In the order in which the report shows them."""

ANNOTATION_FILES = (*STGR_FILES, *(benchmark.file for benchmark in _ALL))
"""All annotation files that the pipeline reads, below `data/raw/annotations`."""


def get(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        KeyError: there is none; the message lists those that there are.
    """
    if name not in BENCHMARKS:
        raise KeyError(f"unknown benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
