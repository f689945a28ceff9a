"""V-STaR's numbers: every record counts in every mean, whether it was answered or not.

After the benchmark's published scorer, with these deviations. Records without an answer stay in all
denominators (the published one leaves them out of some). `answer_spatial` is compared by whole seconds,
`"3.0"` being `"3"`. LGM of a perfect score is infinite, which JSON cannot hold: the number is then null and
`infinite` lists the names of such numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openo3.annotations import rows
from openo3.annotations.rejections import Reason, RowError
from openo3.benchmarks.base import Results, Scoring
from openo3.benchmarks.judges import CORRECT, UNPARSABLE, Judge
from openo3.core.evidence import second_key
from openo3.core.geometry import Span, box_iou, tiou
from openo3.core.metrics import (
    arithmetic_mean,
    box_metrics,
    finite,
    log_geometric_mean,
    span_metrics,
)
from openo3.core.reading import final_answer, read_times
from openo3.core.schema import Box

CHAINS = ("", "_2")
COLUMNS = ("acc", "tIoU_1", "vIoU_1", "tIoU_2", "vIoU_2")
METRICS = (*COLUMNS, "mAM", "mLGM")
_KINDS = ("answer_vqa", "answer_temporal", "answer_temporal_pre", "answer_spatial")
ANSWERS = tuple(kind + suffix for kind in _KINDS for suffix in CHAINS)
"""The fields in which a record has its answers."""
LENGTHS = {"Short": 60.0, "Medium": 180.0, "Long": float("inf")}
"""Video lengths by their upper end in seconds, itself not included."""

SIDES = ("xmin", "ymin", "xmax", "ymax")
_SECOND = re.compile(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*")


@dataclass(frozen=True)
class Scored:
    """One record's scores: `tious` and `vious` by chain, `vious` with one IoU per annotated second."""

    rating: int
    tious: tuple[float, float]
    vious: tuple[list[float], list[float]]
    length: str
    domain: str

    @property
    def columns(self) -> list[float]:
        """The five scores of `COLUMNS`."""
        where = [float(np.mean(ious)) if ious else 0.0 for ious in self.vious]
        return [float(self.rating >= CORRECT), self.tious[0], where[0], self.tious[1], where[1]]


def rate(results: Sequence[Mapping[str, Any]], judge: Judge) -> list[dict[str, Any]]:
    """The records with a `VQA_score` each: the one they have, else the judge's; 0 for no answer at all."""
    scores = [0 if _score(record) is None and not _said(record) else _score(record) for record in results]
    open_ = [record for record, given in zip(results, scores, strict=True) if given is None]
    ratings = iter(judge.rate([(record["question"], record["answer"], _said(record)) for record in open_]))
    return [
        {**record, "VQA_score": next(ratings) if given is None else given}
        for record, given in zip(results, scores, strict=True)
    ]


def summary(means: NDArray) -> NDArray:
    """Means of `COLUMNS`, `[..., 5]` -> `METRICS`, `[..., 7]`; for `bootstrap` and `paired_difference`."""
    what, *chains = np.moveaxis(np.asarray(means, dtype=float), -1, 0)
    pairs = [chains[:2], chains[2:]]
    joined = [
        np.mean([mean(what, when, where) for when, where in pairs], axis=0)
        for mean in (arithmetic_mean, log_geometric_mean)
    ]
    return np.stack([what, *chains, *joined], axis=-1)


def report(results: Results) -> dict[str, dict[str, Any]]:
    """`overall`, `length/...` and `domain/...`, each a block of all numbers, of rated results."""
    scored = scored_records(results)
    return {
        "overall": _block(scored),
        **_groups("length", scored, lambda record: record.length, LENGTHS),
        **_groups("domain", scored, lambda record: record.domain, sorted({r.domain for r in scored})),
    }


def scored_records(results: Results) -> list[Scored]:
    """Each record's scores, in the order of the records.

    Raises `ValueError` for a record without a `VQA_score`: `rate` gives it one.
    """
    return [
        Scored(
            rating=_rating(record, index),
            tious=(_tiou(record, CHAINS[0]), _tiou(record, CHAINS[1])),
            vious=(_vious(record, CHAINS[0]), _vious(record, CHAINS[1])),
            length=_length(record),
            domain=record.get("domain") or "unknown",
        )
        for index, record in enumerate(results)
    ]


def true_boxes(record: Mapping[str, Any]) -> list[tuple[float, Box]]:
    """Every annotated `(second, box in source pixels)`.

    Raises `RowError` for a box that lacks its second or one of its sides.
    """
    boxes = []
    for index, item in enumerate(rows.listed(record.get("bboxes"), "bboxes")):
        field = f"bboxes[{index}]"
        item = rows.mapping(item, field)
        second = rows.number(item.get("timestamp"), f"{field}.timestamp")
        boxes.append((second, tuple(rows.number(item.get(side), f"{field}.{side}") for side in SIDES)))
    return boxes


def _columns(results: Results) -> list[list[float]]:
    return [record.columns for record in scored_records(results)]


SCORING = Scoring(
    columns=COLUMNS,
    metrics=METRICS,
    rows=_columns,
    overall=lambda score: (score["acc"] + score["tIoU_1"] + score["vIoU_1"]) / 3,
    asks={
        "what": {"what": "acc"},
        "when": {"when": "tIoU_1"},
        "where": {"where": "vIoU_1"},
        "where_2": {"where": "vIoU_2"},
        "when_2": {"when": "tIoU_2"},
    },
    statistic=summary,
    video=lambda record: record.get("media") or record.get("vid"),
)


def _block(scored: Sequence[Scored]) -> dict[str, Any]:
    ratings = [record.rating for record in scored]
    valid = [rating for rating in ratings if rating != UNPARSABLE]
    acc = float(np.mean([rating >= CORRECT for rating in ratings]))
    block: dict[str, Any] = {
        "acc": acc,
        "avg_all": float(np.mean([max(rating, 0) for rating in ratings])),
        "avg_valid": float(np.mean(valid)) if valid else 0.0,
    }
    for number in (1, 2):
        spans = span_metrics([record.tious[number - 1] for record in scored])
        boxes = box_metrics([record.vious[number - 1] for record in scored])
        block[f"chain{number}"] = {**spans, **boxes}
        shares = (acc, spans["m_tIoU"], boxes["m_vIoU"])
        block[f"AM{number}"] = float(arithmetic_mean(*shares))
        block[f"LGM{number}"] = float(log_geometric_mean(*shares))
    block["mAM"] = (block["AM1"] + block["AM2"]) / 2
    block["mLGM"] = (block["LGM1"] + block["LGM2"]) / 2
    return _for_json(block)


def _for_json(block: dict[str, Any]) -> dict[str, Any]:
    """The block without infinities; `infinite` names them."""
    infinite = [name for name in ("LGM1", "LGM2", "mLGM") if finite(block[name]) is None]
    block.update(dict.fromkeys(infinite))
    return {**block, "infinite": infinite} if infinite else block


def _groups(
    kind: str, scored: Sequence[Scored], key: Callable[[Scored], str], names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """A block for each group that has records, in the order of the names."""
    members = {name: [record for record in scored if key(record) == name] for name in names}
    return {f"{kind}/{name}": _block(records) for name, records in members.items() if records}


def _score(record: Mapping[str, Any]) -> int | None:
    return record.get("VQA_score")


def _rating(record: Mapping[str, Any], index: int) -> int:
    rating = _score(record)
    if rating is None:
        raise ValueError(f"record {index} has no VQA_score: let a judge rate the results first")
    return rating


def _said(record: Mapping[str, Any]) -> str:
    return final_answer(record.get("answer_vqa") or "")


def _tiou(record: Mapping[str, Any], suffix: str) -> float:
    """Of `answer_temporal`; if that is empty, of the text that it was read from."""
    span = _span(record.get(f"answer_temporal{suffix}") or record.get(f"answer_temporal_pre{suffix}"))
    return tiou(record["timestamps"], span) if span else 0.0


def _span(answer: Any) -> Span | None:
    if isinstance(answer, str):
        return read_times(answer)
    return (answer[0], answer[1]) if _are_numbers(answer, 2) else None


def _vious(record: Mapping[str, Any], suffix: str) -> list[float]:
    """For each annotated second the best IoU of the boxes answered for it."""
    answer = record.get(f"answer_spatial{suffix}")
    boxes = _boxes_by_second(answer) if isinstance(answer, Mapping) else {}
    return [
        max(
            (box_iou(said, true) for said in boxes.get(second_key(second), ())),
            default=0.0,
        )
        for second, true in true_boxes(record)
    ]


def _boxes_by_second(answer: Mapping[str, Any]) -> dict[str, list[Box]]:
    """What a model answered, as far as it is boxes; a second's value is a box or a list of boxes."""
    where: dict[str, list[Box]] = {}
    for second, value in answer.items():
        key = second_key(float(second)) if _SECOND.fullmatch(second) else second
        values = [value] if _are_numbers(value, 4) else value if isinstance(value, list) else []
        where.setdefault(key, []).extend(tuple(box) for box in values if _are_numbers(box, 4))
    return where


def _are_numbers(value: Any, count: int) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == count
        and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)
        and all(abs(item) < 1e12 for item in value)
    )


def _length(record: Mapping[str, Any]) -> str:
    seconds = round(record["frame_count"] / record["fps"], 2)
    return next((name for name, end in LENGTHS.items() if seconds < end), "Long")


def answered(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A record whose answers were read before, checked: its truth is complete, its answers have their types.

    Raises `RowError`.
    """
    for field in ("question", "answer"):
        rows.text(raw, field)
    if raw.get("domain") is not None:
        rows.text(raw, "domain")
    if rows.number(raw.get("fps"), "fps") <= 0 or rows.number(raw.get("frame_count"), "frame_count") < 0:
        raise RowError(Reason.WRONG_TYPE, "fps", "expected fps above 0 and frame_count from 0")
    start, end = rows.numbers(raw.get("timestamps"), "timestamps", 2)
    if start > end:
        raise RowError(Reason.SPAN_EMPTY, "timestamps", rows.shown(raw["timestamps"]))
    if raw.get("bboxes") is None:
        raise RowError(Reason.FIELD_MISSING, "bboxes")
    true_boxes(raw)
    _check_answers(raw)
    return dict(raw)


def _check_answers(raw: Mapping[str, Any]) -> None:
    """Types alone: what a model wrote inside them may be anything."""
    types = {"answer_vqa": (str,), "VQA_score": (int,)}
    for suffix in CHAINS:
        types[f"answer_temporal{suffix}"] = (list, str)
        types[f"answer_temporal_pre{suffix}"] = (str,)
        types[f"answer_spatial{suffix}"] = (dict, list)
    for field, allowed in types.items():
        value = raw.get(field)
        if value is not None and (not isinstance(value, allowed) or isinstance(value, bool)):
            expected = " or ".join(kind.__name__ for kind in allowed)
            raise RowError(Reason.WRONG_TYPE, field, f"expected {expected}, found {rows.shown(value)}")
    if raw.get("VQA_score") not in (None, -1, 0, 1, 2, 3):
        raise RowError(Reason.WRONG_TYPE, "VQA_score", f"expected -1 to 3, found {raw['VQA_score']}")
