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

from openo3.benchmarks.base import Benchmark, Record, frames_of, prediction
from openo3.core.geometry import BoxSpace
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
    asked = ask_all(
        benchmark, records, store, engine, sampling,
        prompts=prompts, see=see, kept=kept, records_per_batch=records_per_batch, progress=progress,
    )  # fmt: skip
    results, lines = [], []
    for index, record in enumerate(records):
        space = box_space(engine, store, record)
        completions = {kind: texts[0] for kind, texts in asked[index]["completions"].items()}
        results.append(benchmark.result(record, completions, space))
        lines += [
            prediction(index, record, kind, asked[index]["prompts"][kind], completion, space)
            for kind, completion in completions.items()
        ]
    return results, lines


def ask_all(
    benchmark: Benchmark,
    records: Sequence[Record],
    store: FrameStore,
    engine: Engine,
    sampling: Sampling,
    *,
    prompts: Prompts,
    see: Callable[[Iterable[Frame]], tuple[Frame, ...]] = tuple,
    only: str | None = None,
    kept: Path,
    records_per_batch: int,
    progress: str,
) -> dict[int, dict[str, Any]]:
    """Record number -> `prompts` and `completions` by kind of question, `sampling.n` of them for each.

    `only` names the one kind of question to ask; the rest is as in `answer`.
    """

    def make(batch: range) -> list[dict[str, Any]]:
        own = replace(sampling, seed=sampling.seed + 1_000_003 * batch.start)
        return _ask(benchmark, records, batch, store, engine, own, prompts, see, only)

    return in_batches(make, len(records), kept, records_per_batch, progress)


def in_batches(
    make: Callable[[range], list[dict[str, Any]]], count: int, kept: Path, size: int, progress: str
) -> dict[int, dict[str, Any]]:
    """Record number -> what `make` gives for it, batch by batch of `size` records of `count`.

    `make` gives for each record of a batch, in order, a JSON object with its number as `record`. Each
    batch is appended to the file `kept` as soon as it is made; those that it holds are not made again.
    """
    done = _read_kept(kept)
    with kept.open("ab") as file, tqdm(total=count, initial=len(done), desc=progress, unit="record") as bar:
        for start in range(0, count, size):
            if start in done:
                continue
            made = make(range(start, min(start + size, count)))
            file.write(orjson.dumps(made) + b"\n")
            file.flush()
            done |= {each["record"]: each for each in made}
            bar.update(len(made))
    return done


def _ask(
    benchmark: Benchmark,
    records: Sequence[Record],
    batch: Sequence[int],
    store: FrameStore,
    engine: Engine,
    sampling: Sampling,
    prompts: Prompts,
    see: Callable[[Iterable[Frame]], tuple[Frame, ...]],
    only: str | None,
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
        questions = benchmark.questions(records[index], box_space(engine, store, records[index]), prompts)
        asked.append({kind: text for kind, text in questions.items() if only in (None, kind)})
        asking += [Prompt(shown[names], store.duration_s(media), text) for text in asked[-1].values()]
    texts = iter(engine.generate(asking, sampling))
    return [
        {
            "record": index,
            "prompts": dict(questions),
            "completions": {kind: next(texts) for kind in questions},
        }
        for index, questions in zip(batch, asked, strict=True)
    ]


def box_space(engine: Engine, store: FrameStore, record: Record) -> BoxSpace:
    """The space in which the engine writes boxes about a record's frames."""
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
