"""Asking a model a benchmark's questions: every record's frames are read once, for all its questions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from PIL import Image
from tqdm import tqdm

from openo3.benchmarks.base import Benchmark, Record, frames_of
from openo3.core.prompts import Prompts
from openo3.media.frame_store import Frame, FrameStore
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import Engine

GREY = (128, 128, 128)


def blank(frames: Iterable[Frame]) -> tuple[Frame, ...]:
    """The frames with nothing on them: what a blind model sees."""
    return tuple(replace(frame, image=Image.new("RGB", frame.image.size, GREY)) for frame in frames)


def answer(
    benchmark: Benchmark,
    records: Sequence[Record],
    store: FrameStore,
    engine: Engine,
    sampling: Sampling,
    *,
    prompts: Prompts,
    see: Callable[[Iterable[Frame]], tuple[Frame, ...]] = tuple,
    kept: Path,
    records_per_batch: int,
    progress: str,
) -> tuple[list[Record], list[dict[str, Any]]]:
    """Results of all records and one line per question (prompt, completion, box space).

    `prompts` make the questions, `see` prepares the frames. Each batch's answers are appended to the file
    `kept` as one line; batches that it holds from an interrupted run are not asked again. The caller keeps
    one such file for each model, condition and version of the code (`openo3.training.workspace`). Each batch
    has its own seed, so that sampled answers are independent and a resumed run gives those of an
    uninterrupted one. A record whose media or picture has no frames is not asked and has no answers: it
    stays in the denominator.
    """
    done = _read_kept(kept)
    with (
        kept.open("ab") as file,
        tqdm(total=len(records), initial=len(done), desc=progress, unit="record") as bar,
    ):
        for start in range(0, len(records), records_per_batch):
            batch = range(start, min(start + records_per_batch, len(records)))
            if start in done:
                continue
            own = replace(sampling, seed=sampling.seed + 1_000_003 * start)
            answers = _ask(benchmark, records, batch, store, engine, own, prompts, see)
            file.write(orjson.dumps(answers) + b"\n")
            file.flush()
            done |= {answer["record"]: answer for answer in answers}
            bar.update(len(batch))
    results, lines = [], []
    for index, record in enumerate(records):
        space = _space(engine, store, record)
        results.append(benchmark.result(record, done[index]["completions"], space))
        lines += [
            {
                "record": index,
                "id": str(record.get("vid") or record.get("id") or record["media"]),
                "question": kind,
                "prompt": done[index]["prompts"][kind],
                "completion": completion,
                "box_space": {"kind": space.kind, "size": space.size},
            }
            for kind, completion in done[index]["completions"].items()
        ]
    return results, lines


def _ask(
    benchmark: Benchmark,
    records: Sequence[Record],
    batch: Sequence[int],
    store: FrameStore,
    engine: Engine,
    sampling: Sampling,
    prompts: Prompts,
    see: Callable[[Iterable[Frame]], tuple[Frame, ...]],
) -> list[dict[str, Any]]:
    """All questions of some records in one call of the engine."""
    asking: list[Prompt] = []
    asked: list[Mapping[str, str]] = []
    shown: dict[tuple[str, ...], tuple[Frame, ...]] = {}
    for index in batch:
        media, picture = frames_of(records[index]), records[index].get("picture")
        names = (media, picture) if picture else (media,)
        if any(name not in store for name in names):
            asked.append({})
            continue
        if names not in shown:
            pictures = [
                replace(frame, of_question=True) for name in names[1:] for frame in store.frames(name)
            ]
            shown[names] = see([*store.frames(media), *pictures])
        asked.append(benchmark.questions(records[index], _space(engine, store, records[index]), prompts))
        asking += [Prompt(shown[names], store.duration_s(media), text) for text in asked[-1].values()]
    texts = iter(engine.generate(asking, sampling))
    return [
        {
            "record": index,
            "prompts": dict(questions),
            "completions": {kind: next(texts)[0] for kind in questions},
        }
        for index, questions in zip(batch, asked, strict=True)
    ]


def _space(engine: Engine, store: FrameStore, record: Record) -> Any:
    return engine.box_space(store.sizes.get(frames_of(record), (1, 1)))


def _read_kept(path: Path) -> dict[int, dict[str, Any]]:
    """Record number -> answers of an interrupted run.

    The file is cut off before the first batch that is not whole: it and all later ones are asked again.
    """
    if not path.exists():
        return {}
    done: dict[int, dict[str, Any]] = {}
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            answers = {answer["record"]: answer for answer in orjson.loads(line)}
        except (KeyError, TypeError, ValueError):
            answers = {}
        if not line.endswith(b"\n") or not answers:
            print(f"{path.name}: answers after the first {len(done)} records are damaged, asks them again")
            os.truncate(path, size)
            break
        done |= answers
        size += len(line)
    return done
