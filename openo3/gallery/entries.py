"""What the page shows of a record and of each run's answers, as plain JSON values.

Times are those of the clip's file: a record about a segment of its media has answers relative to the
segment's start, which are moved here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from statistics import fmean
from typing import Any

from openo3.benchmarks.base import Benchmark
from openo3.core.evidence import Claim
from openo3.core.failures import Ability, Failure, failures_of
from openo3.core.geometry import BoxSpace, pixels
from openo3.core.reading import final_answer, read_times, read_where
from openo3.core.schema import Box
from openo3.gallery.paged import MAX_LINE, cut
from openo3.gallery.predictions import Run, Said
from openo3.inference.evidence_json import claim_json, evidence_json
from openo3.inference.transcript import without_tags


def record_json(benchmark: Benchmark, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record: its question, options, labels and truth."""
    truth = benchmark.truth(record)
    shift_s = start_s(record)
    spans = [[time_s + shift_s for time_s in truth.span]] if truth.span else []
    boxes = [{"time_s": time_s + shift_s, "boxes": [_rounded(box)]} for time_s, box in truth.boxes.items()]
    return {
        "question": cut(str(record.get("question", ""))),
        "options": [cut(str(option), 500) for option in truth.options],
        "labels": [cut(str(label), MAX_LINE) for label in truth.labels if label],
        "segment": record.get("segment"),
        "start_s": shift_s,
        "truth": {
            "text": cut(truth.text or _written(spans)),
            "name": truth.name,
            "spans": spans,
            "boxes": boxes,
        },
    }


def answer_json(run: Run, number: int, name: str, size: tuple[int, int]) -> dict[str, Any]:
    """A run's answers to a record: its overall score, and a part for each question.

    `name` is the object that is asked for, as far as the truth says it, `size` the `(W, H)` of the clip in
    pixels.
    """
    said = run.said[number]
    return {
        "score": round(run.benchmark.scoring.overall(run.scores[number]), 4),
        "parts": [_part_json(run, number, kind, said.get(kind), name, size) for kind in run.kinds],
    }


def failures_in(answer: Mapping[str, Any]) -> list[str]:
    """The keys of all failures of a record's answers, in the order of `Failure`."""
    found = {key for part in answer["parts"] for key in part["failures"]}
    return [failure.key for failure in Failure if failure.key in found]


def first_answer(answer: Mapping[str, Any]) -> str:
    """The answer to the record's first question in a line."""
    parts = answer["parts"]
    return cut(" ".join(without_tags(parts[0]["said"]).split()), MAX_LINE) if parts else ""


def start_s(record: Mapping[str, Any]) -> float:
    """Where in its media a record begins, in seconds."""
    segment = record.get("segment")
    return float(segment[0]) if segment else 0.0


def _part_json(
    run: Run, number: int, kind: str, said: Said | None, name: str, size: tuple[int, int]
) -> dict[str, Any]:
    """One question: its score, its failures, the texts, and the evidence as the player takes it."""
    record = run.results[number]
    columns: Mapping[Ability, str] = run.benchmark.scoring.asks.get(kind, {})
    scores: dict[Ability, float] = {
        ability: run.scores[number][column] for ability, column in columns.items()
    }
    text, prompt = (said.text, said.prompt) if said else ("", "")
    failed = failures_of(scores, text, options=record.get("options") or (), cites=run.cites)
    space = said.space if said else BoxSpace("relative_1000")
    return {
        "kind": kind,
        "score": round(fmean(scores.values()), 4) if scores else None,
        "failures": [failure.key for failure in failed],
        "asked": said is not None,
        "prompt": cut(prompt),
        "text": cut(text),
        "said": cut(final_answer(text), 2_000),
        "shown": _evidence(columns, cut(text), space, size, name, start_s(record)),
    }


def _evidence(
    abilities: Collection[str], text: str, space: BoxSpace, size: tuple[int, int], name: str, shift_s: float
) -> dict[str, Any]:
    """What the player draws; answers in words and JSON are read as evaluation reads them."""
    evidence = evidence_json(text, space, size)
    del evidence["reasoning"]  # `shown` has it
    if "when" in abilities and not evidence["spans"]:
        span = read_times(text)
        evidence["spans"] = [list(span)] if span else []
    if "where" in abilities and not evidence["claims"]:
        _add_where(evidence, read_where(text, space), name or "answer", size)
    return _shifted(evidence, shift_s) if shift_s else evidence


def _add_where(
    evidence: dict[str, Any], where: Mapping[str, list[Box]], name: str, size: tuple[int, int]
) -> None:
    """Boxes by second become claims, and the answer the list of them."""
    shown: list[Any] = []
    for second, boxes in where.items():
        shown += [" "] if shown else []
        shown.append({"claim": len(evidence["claims"])})
        evidence["claims"].append(claim_json(Claim(name, tuple(boxes), float(second)), pixels(size)))
    if shown:
        evidence["shown"]["answer"] = shown


def _shifted(evidence: dict[str, Any], by_s: float) -> dict[str, Any]:
    """The evidence with all times later by so many seconds."""
    for claim in evidence["claims"]:
        if claim["time_s"] is not None:
            claim["time_s"] += by_s
    evidence["spans"] = [[time_s + by_s for time_s in span] for span in evidence["spans"]]
    for pieces in evidence["shown"].values():
        for piece in pieces:
            if isinstance(piece, dict) and "time_s" in piece:
                piece["time_s"] += by_s
    return evidence


def _rounded(box: Box) -> list[float]:
    return [round(value, 4) for value in box]


def _written(spans: list[list[float]]) -> str:
    return ", ".join(f"from {start:g} to {end:g} s" for start, end in spans)
