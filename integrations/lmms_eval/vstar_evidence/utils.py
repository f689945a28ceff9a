"""The functions of the lmms-eval task `vstar_evidence`: each is a call of openo3.

A document is one of the five questions of a record. Scores are those of whole records, so the aggregations
put the answers of a record together first. Models write boxes in thousandths of the frame (Qwen3-VL's way).

`OPENO3_JUDGE_URL` and `OPENO3_JUDGE_MODEL` name a judge behind an OpenAI-compatible endpoint, up to `/v1`;
without them words are compared, as `openo3 score` does.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets import Dataset

from openo3.benchmarks import judges
from openo3.benchmarks.vstar import VSTAR
from openo3.core.geometry import RELATIVE_1000
from openo3.media.frame_store import FrameStore
from openo3.prompt_file import default_prompts

METRICS = ("acc", "tIoU_1", "vIoU_1", "tIoU_2", "vIoU_2", "mAM", "mLGM")


def process_docs(dataset: Dataset) -> Dataset:
    """Records -> documents, one a question. Raises `RowError` for a row that is no record of V-STaR."""
    documents = []
    for index, raw in enumerate(dataset):
        record = VSTAR.parse(raw)
        for kind, question in VSTAR.questions(record, RELATIVE_1000, default_prompts()).items():
            documents.append(
                {
                    "index": index,
                    "kind": kind,
                    "question": question,
                    "answer": record["answer"],
                    "media": record["media"],
                    "record": json.dumps(record),
                }
            )
    return Dataset.from_list(documents)


def doc_to_text(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Any = None) -> str:
    """The question as openo3 asks it."""
    return doc["question"]


def doc_to_visual(doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, Any]) -> list[str]:
    """The path of the video."""
    return [str(Path(lmms_eval_specific_kwargs["media"]) / doc["media"])]


def doc_to_messages(
    doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The conversation as openo3 has it: each frame after its time, then the question.

    Without frames of the video: the video file and the question.
    """
    store = _frames(lmms_eval_specific_kwargs["frames"])
    if store is None or doc["media"] not in store:
        [video] = doc_to_visual(doc, lmms_eval_specific_kwargs)
        content = [{"type": "video", "url": video}, {"type": "text", "text": doc["question"]}]
        return [{"role": "user", "content": content}]
    frames = store.frames(doc["media"])
    images = iter(frame.image for frame in frames)
    messages = default_prompts().messages(
        [frame.time_s for frame in frames], store.duration_s(doc["media"]), doc["question"]
    )
    for message in messages:
        message["content"] = [
            {"type": "image", "url": next(images)} if part["type"] == "image" else part
            for part in message["content"]
        ]
    return messages


@lru_cache(1)
def _frames(folder: str) -> FrameStore | None:
    try:
        return FrameStore.open(folder)
    except FileNotFoundError:
        return None


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """What was said, under every metric: a document alone has no score."""
    said = {"index": doc["index"], "kind": doc["kind"], "record": doc["record"], "said": results[0]}
    return dict.fromkeys(METRICS, said)


def acc(items: Sequence[Mapping[str, Any]]) -> float:
    """What: the share of right answers."""
    return _number(items, "acc")


def tiou_1(items: Sequence[Mapping[str, Any]]) -> float:
    """When, chain 1: the mean temporal IoU."""
    return _number(items, "tIoU_1")


def viou_1(items: Sequence[Mapping[str, Any]]) -> float:
    """Where, chain 1: the mean box IoU."""
    return _number(items, "vIoU_1")


def tiou_2(items: Sequence[Mapping[str, Any]]) -> float:
    """When, chain 2."""
    return _number(items, "tIoU_2")


def viou_2(items: Sequence[Mapping[str, Any]]) -> float:
    """Where, chain 2."""
    return _number(items, "vIoU_2")


def mam(items: Sequence[Mapping[str, Any]]) -> float:
    """The mean of what, when and where over both chains."""
    return _number(items, "mAM")


def mlgm(items: Sequence[Mapping[str, Any]]) -> float:
    """The same on a log scale; infinite if one of them is perfect."""
    return _number(items, "mLGM")


def _number(items: Sequence[Mapping[str, Any]], metric: str) -> float:
    value = _scores(tuple((item["index"], item["kind"], item["record"], item["said"]) for item in items))[
        metric
    ]
    return math.inf if value is None else value


@lru_cache(1)
def _scores(items: tuple[tuple[int, str, str, str], ...]) -> dict[str, Any]:
    """All numbers of the answers, computed once for all metrics."""
    records: dict[int, str] = {}
    said: dict[int, dict[str, str]] = {}
    for index, kind, record, text in items:
        records[index] = record
        said.setdefault(index, {})[kind] = text
    results = [
        VSTAR.result(json.loads(records[index]), said[index], RELATIVE_1000) for index in sorted(records)
    ]
    return VSTAR.score(VSTAR.rate(results, _judge()))


def _judge() -> Any:
    url, model = os.environ.get("OPENO3_JUDGE_URL", ""), os.environ.get("OPENO3_JUDGE_MODEL", "")
    kind = "served" if url or model else "rouge"
    return judges.load(judges.JudgeParams(kind, url, model), default_prompts())
