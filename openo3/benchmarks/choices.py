"""What benchmarks with options share: reading their records, asking for a letter, accuracy, tables.

A record is as `openo3.annotations.choice_records` checked it, and `validate` adds `duration_s`. Below the
dots is what `result` and `rate` add:

    {"id": "001-1", "question": "What is she cutting?", "options": ["Apples.", "Pears."], "answer": "B",
     "group": "short", "media": "videos/NAME/fFjv93ACGo8.mp4", "duration_s": 61.5, ...
     "said": "B", "completion": "<think>...", "correct": 1.0, "format": 1.0,
     "read": {"which": "alone"}}

An answer that names no option, or more than one, is wrong; it is never taken for one of them. A question
without options is for the judge. Accuracy is over all records, and by group: length of
the video, kind of task, track.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from openo3.annotations import choice_records
from openo3.annotations.sources import Reference
from openo3.benchmarks.base import Benchmark, Display, Facts, Record, Results, Scoring, Truth, Votable
from openo3.benchmarks.judges import CORRECT, Judge
from openo3.core.evidence import parse_completion
from openo3.core.format_check import format_share
from openo3.core.geometry import BoxSpace
from openo3.core.prompts import Prompts
from openo3.core.reading import answer_by_rule, final_answer, read_choice
from openo3.core.schema import Task


@dataclass(frozen=True)
class MultipleChoice:
    """How such a question is asked and read.

    `about` names, by group, the template of `prompts.questions` that says what the question is about.
    """

    about: Mapping[str, str] = field(default_factory=dict)

    def questions(self, record: Mapping[str, Any], space: BoxSpace, prompts: Prompts) -> dict[str, str]:
        """One prompt: which."""
        about = "about_next_picture" if record.get("picture") else self.about.get(record["group"], "")
        return {"which": prompts.choice(record["question"], record["options"], about)}

    def result(self, record: Mapping[str, Any], completions: Mapping[str, str], space: BoxSpace) -> Record:
        """The record with the letter that was chosen, or what was said; `correct` is None if a judge is
        needed."""
        text = completions.get("which", "")
        completion = parse_completion(text)
        options, task = record["options"], Task.MCQ if record["options"] else Task.FREE_FORM
        said, rule = read_choice(text, options) if options else answer_by_rule(text)
        correct = None if said and not options else float(said == record["answer"])
        formed = bool(said) and format_share(task, completion) == 1
        answers = {"said": said, "completion": text, "correct": correct, "format": float(formed)}
        return {**record, **answers, "read": {"which": rule}}

    def rate(self, results: Results, judge: Judge) -> Results:
        """Open questions get the judge's rating; it may also read options that no rule could."""
        results = _extracted(results, judge)
        open_ = [record for record in results if record["correct"] is None]
        items = [(record["question"], record["answer"], record["said"]) for record in open_]
        correct = (float(rating >= CORRECT) for rating in judge.rate(items))
        return [
            {**record, "correct": next(correct)} if record["correct"] is None else record
            for record in results
        ]


def _extracted(results: Results, judge: Judge) -> Results:
    """The results with the options that the judge reads from answers which no rule could."""
    answers = [
        "" if record["said"] or not record["options"] else final_answer(record["completion"])
        for record in results
    ]
    asked = [
        (record["question"], record["options"], answer)
        for record, answer in zip(results, answers, strict=True)
        if answer
    ]
    letters = iter(judge.choose(asked))
    found = [next(letters) if answer else "" for answer in answers]
    return [
        {
            **record,
            "said": letter,
            "correct": float(letter == record["answer"]),
            "read": {**record["read"], "which": "judge"},
        }
        if letter
        else record
        for record, letter in zip(results, found, strict=True)
    ]


def rows_of_scores(results: Results) -> list[list[float]]:
    """`acc` of each record. Raises `ValueError` for a record that a judge has yet to rate."""
    for index, record in enumerate(results):
        if record["correct"] is None:
            raise ValueError(f"record {index} is not rated: let a judge rate the results first")
    return [[record["correct"]] for record in results]


def facts(record: Record) -> Facts:
    """What the rules of `openo3.validation` are checked over."""
    answer, letters = record["answer"], ascii_uppercase[: len(record["options"])]
    return {
        "question.chars": len(record["question"].strip()),
        "answer.chars": len(answer),
        "answer.option": answer if letters else None,
        "answer.unlisted": f"{answer}, of {letters}" if letters and answer not in [*letters] else None,
    }


def truth(title: str, record: Mapping[str, Any]) -> Truth:
    """What the report shows as the truth."""
    options = dict(zip(ascii_uppercase, record["options"], strict=False))
    answer = record["answer"]
    return Truth(
        text=f"{answer}. {options[answer]}" if options else answer,
        labels=(title, record["group"], record["id"]),
        options=[f"{letter}. {option}" for letter, option in options.items()],
    )


def choice_benchmark(
    name: str,
    title: str,
    filename: str,
    *,
    rows: Callable[[str | Path], Iterator[Any]],
    references: Callable[[Any], list[Reference]],
    parse: Callable[[Any], Record],
    media_field: str,
    id_field: str,
    groups: Sequence[str],
    about: Mapping[str, str] | None = None,
    pictures: Callable[[str | Path], Iterator[tuple[str, bytes]]] | None = None,
) -> Benchmark:
    """A benchmark with options, whose table has a line for each of `groups`; see `Benchmark` for the rest."""
    asking = MultipleChoice(about or {})
    accuracy = tuple((f"acc/{group}", group.capitalize(), "accuracy") for group in groups)
    return Benchmark(
        name=name,
        title=title,
        filename=filename,
        rows=rows,
        pictures=pictures,
        references=references,
        parse=parse,
        facts=facts,
        media_field=media_field,
        id_field=id_field,
        questions=asking.questions,
        result=asking.result,
        rate=asking.rate,
        votable=Votable("which", "said"),
        check=choice_records.checked,
        scoring=Scoring(
            columns=("acc",),
            metrics=("acc",),
            rows=rows_of_scores,
            overall=lambda score: score["acc"],
            asks={"which": {"what": "acc"}},
            group=lambda record: record["group"],
        ),
        truth=partial(truth, title),
        display=Display(
            columns=(("acc", "All", "accuracy"), *accuracy, ("format", "Format", "well formed")),
            main=("acc", f"{title}'s accuracy"),
            axes={"acc": f"{title}'s accuracy"},
            headlines={
                "acc": "Questions answered right",
                "format": "Completions in the form that was asked for",
            },
            max_examples=4,
        ),
    )
