"""The four annotation files that the pipeline reads, all of them JSON lists below `data/raw/annotations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openo3 import bench_records, stgr
from openo3.sources import Reference


@dataclass(frozen=True)
class AnnotationFile:
    """`references` lists the files that a record names; it raises `RowError` if the record does not tell."""

    name: str
    filename: str
    references: Callable[[Any], list[Reference]]


ANNOTATION_FILES = (
    AnnotationFile("sft", "STGR-SFT.json", stgr.references),
    AnnotationFile("rl", "STGR-RL.json", stgr.references),
    AnnotationFile("vstar", "V_STaR_test.json", bench_records.vstar_references),
    AnnotationFile("tvgbench", "TVGBench.json", bench_records.tvgbench_references),
)
