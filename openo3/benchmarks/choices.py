"""Benchmarks that ask to choose one of some options: Video-MME, WorldSense, VideoMMMU.

A record is as `openo3.annotations.choice_records` checked it; below the dots what `result` and `rate` add:

    {"id": "001-1", "question": "What is she cutting?", "options": ["Apples.", "Pears."], "answer": "B",
     "group": "short", "media": "videos/videomme/fFjv93ACGo8.mp4", "duration_s": 61.5, ...
     "said": "B", "completion": "<think>...", "correct": 1.0, "format": 1.0}

An answer that names no option, or more than one, is wrong; it is never taken for one of them. A question
without options (some of VideoMMMU's) is for the judge. Accuracy is over all records, and by group: length of
the video, kind of task, track.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openo3.benchmarks.judges import CORRECT, Judge
from openo3.core import prompts
from openo3.core.evidence import parse_completion, read_choice
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace
from openo3.core.metrics import bootstrap, with_intervals
from openo3.core.schema import Task
from openo3.files.artifacts import read_json

Record = dict[str, Any]


@dataclass(frozen=True)
class MultipleChoice:
    """See `openo3.benchmarks.Benchmark`. `notes` says, by group, what to tell before the question."""

    notes: Mapping[str, str] = field(default_factory=dict)

    def load(self, path: str | Path) -> list[Record]:
        """The records in their validated form."""
        return read_json(path)

    def questions(self, record: Mapping[str, Any], space: BoxSpace) -> dict[str, str]:
        """One prompt: which."""
        note = self.notes.get(record["group"], "")
        return {"which": prompts.choice(record["question"], record["options"], note)}

    def result(self, record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
        """The record with the letter that was chosen, or what was said; `correct` is None if a judge is
        needed."""
        text = completions.get("which", "")
        completion = parse_completion(text)
        options, task = record["options"], Task.MCQ if record["options"] else Task.FREE_FORM
        said = read_choice(text, options) if options else completion.said
        correct = None if said and not options else float(said == record["answer"])
        formed = bool(said) and format_share(task, completion) == 1
        return {**record, "said": said, "completion": text, "correct": correct, "format": float(formed)}

    def rate(self, results: Sequence[Record], judge: Judge) -> Sequence[Record]:
        """Open questions get the judge's rating."""
        open_ = [record for record in results if record["correct"] is None]
        items = [(record["question"], record["answer"], record["said"]) for record in open_]
        correct = (float(rating >= CORRECT) for rating in judge.rate(items))
        return [
            {**record, "correct": next(correct)} if record["correct"] is None else record
            for record in results
        ]

    def score(self, results: Sequence[Record], judge: Judge) -> dict[str, Any]:
        """`acc`, `acc/GROUP` of each group, and `format`, with 95 % `intervals` and `n`."""
        rated = self.rate(results, judge)
        columns = {"acc": [record["correct"] for record in rated]}
        for group in sorted({record["group"] for record in rated}):
            columns[f"acc/{group}"] = [record["correct"] for record in rated if record["group"] == group]
        columns["format"] = [record["format"] for record in rated]
        return with_intervals({name: bootstrap(values)[0] for name, values in columns.items()}, len(rated))


VIDEOMME = MultipleChoice()
WORLDSENSE = MultipleChoice()
VIDEOMMMU = MultipleChoice(
    notes={
        "Perception": prompts.BUT_THE_END,
        "Comprehension": prompts.BUT_THE_END,
        "Adaptation": prompts.IN_THE_END,
    }
)
"""Every video of VideoMMMU ends with the picture of a quiz, which is what `Adaptation` asks about."""
