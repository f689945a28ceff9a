"""What a benchmark is: one object that holds everything the pipeline knows about it.

    BENCHMARKS["NAME"].parse(raw)          one record of the published file, checked
    BENCHMARKS["NAME"].questions(...)      what a model is asked about it
    BENCHMARKS["NAME"].score(results)      all numbers

`openo3/benchmarks/NAME.py` builds the object, `openo3.benchmarks.registry` lists it. The stages iterate over
the registry, so a new benchmark is one new file and one line.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openo3.annotations.files import AnnotationFile
from openo3.annotations.rows import read_rows
from openo3.annotations.sources import Reference
from openo3.benchmarks.judges import Judge
from openo3.core.failures import Ability
from openo3.core.geometry import BoxSpace, Span
from openo3.core.metrics import Interval, Statistic, bootstrap, paired_difference, with_intervals
from openo3.core.prompts import Prompts
from openo3.core.schema import Box
from openo3.files.artifacts import read_json

Record = dict[str, Any]
Facts = dict[str, Any]
"""What is measured of a record for the rules of `openo3.validation`, by `FIELD.MEASURE`."""
Results = Sequence[Mapping[str, Any]]
"""Records with the answers filled in and, where a judge is needed, with its ratings."""

REJECTED = "rejected.jsonl"
"""Beside the validated benchmarks: how many rows of each are left out for which reason, where any is."""

Metric = tuple[str, str, str]
"""Key in the metrics file, heading of the table's column, second line of the heading."""


@dataclass(frozen=True)
class FrameSampling:
    """Evenly spread frames: `fps` a second, within the two bounds; `max_pixels` replaces the stage's own.

    Of a record about a segment of its media, only the segment is shown; without `segments`, the whole file.
    """

    fps: float
    min_frames: int
    max_frames: int
    max_pixels: int | None = None
    segments: bool = True


LONG = FrameSampling(fps=2.0, min_frames=4, max_frames=64, max_pixels=512 * 512)
"""The published evaluation's sampling of long videos."""


def video_of(record: Mapping[str, Any]) -> str | None:
    """The video that a checked record is about."""
    return record.get("media")


@dataclass(frozen=True)
class Scoring:
    """How a benchmark scores records: `columns` per record, and `metrics` made of their means by `statistic`.

    `rows` gives the scores of every record, each a list in the order of `columns`. `overall` is a record's
    one number in 0-1, by which records are compared. `asks` says, by kind of question, what it asks for and
    the column that scores it. `group` names the group that a record also counts in, `video` the video that
    it is about: intervals resample videos, whose records are not independent.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: Callable[[Results], Sequence[Sequence[float]]]
    overall: Callable[[Mapping[str, float]], float]
    statistic: Statistic = lambda means: means
    group: Callable[[Mapping[str, Any]], str] | None = None
    video: Callable[[Mapping[str, Any]], str | None] = video_of
    asks: Mapping[str, Mapping[Ability, str]] = field(default_factory=dict)

    def records(self, results: Results) -> list[dict[str, float]]:
        """Each record's scores by column, in the order of the records."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows(results)]

    def score(self, results: Results) -> dict[str, Any]:
        """`metrics`, `METRIC/GROUP` of each group, and `format`, with 95 % `intervals` and `n`."""
        found = self._intervals(results)
        for group, members in self._groups(results).items():
            own = self._intervals([results[index] for index in members])
            found |= {f"{name}/{group}": interval for name, interval in own.items()}
        if all("format" in record for record in results):
            shares = [record["format"] for record in results]
            [found["format"]] = bootstrap(shares, videos=self.videos(results))
        return with_intervals(found, len(results))

    def difference(self, a: Results, b: Results) -> dict[str, Interval]:
        """How much better `a` is than `b` on the same records, by metric, with the 95 % interval.

        `format` and, as `METRIC/GROUP`, the groups' metrics are among them where the records have them.
        """
        found = self._difference(a, b)
        if all("format" in record for record in (*a, *b)):
            formed, other = ([record["format"] for record in results] for results in (a, b))
            [found["format"]] = paired_difference(formed, other, videos=self.videos(a))
        for group, members in self._groups(a).items():
            own = self._difference([a[index] for index in members], [b[index] for index in members])
            found |= {f"{name}/{group}": gain for name, gain in own.items()}
        return found

    def videos(self, results: Results) -> list[Hashable]:
        """The video of each record; a record that names none has one of its own."""
        return [self.video(record) or index for index, record in enumerate(results)]

    def _groups(self, results: Results) -> dict[str, list[int]]:
        """The groups in alphabetical order, each with the indices of its records."""
        if self.group is None:
            return {}
        groups: dict[str, list[int]] = {}
        for index, record in enumerate(results):
            groups.setdefault(self.group(record), []).append(index)
        return dict(sorted(groups.items()))

    def _intervals(self, results: Results) -> dict[str, Interval]:
        found = bootstrap(self.rows(results), self.statistic, videos=self.videos(results))
        return dict(zip(self.metrics, found, strict=True))

    def _difference(self, a: Results, b: Results) -> dict[str, Interval]:
        found = paired_difference(self.rows(a), self.rows(b), self.statistic, videos=self.videos(a))
        return dict(zip(self.metrics, found, strict=True))


@dataclass(frozen=True)
class PublishedTable:
    """Numbers of others for comparison: a line for each model, in percent."""

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]
    source: str


@dataclass(frozen=True)
class Display:
    """How the report shows a benchmark.

    `columns` are those of its table. `main` is the metric that stands for the benchmark, with its name in a
    sentence; `axes` are the single abilities it measures, named likewise. `headlines` and `spreads` explain
    the metrics on tiles and histograms. Single records are shown as `evidence`, with the frames that each
    model cites, or as `span`, on a timeline; at most `max_examples` of them. `parts` names further questions
    of a record whose answers are shown (`when`, `where`), each with the column of its score.
    """

    columns: tuple[Metric, ...]
    main: tuple[str, str]
    axes: Mapping[str, str]
    headlines: Mapping[str, str]
    spreads: Mapping[str, str] = field(default_factory=dict)
    single: Literal["evidence", "span"] = "evidence"
    max_examples: int | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    published: PublishedTable | None = None


@dataclass(frozen=True)
class Truth:
    """A record's truth as the report shows it: in words, as a span in seconds, and as normalised boxes of
    the object `name` by second. `labels` say where the record is from."""

    text: str = ""
    labels: tuple[str | None, ...] = ()
    span: Span | None = None
    name: str = ""
    boxes: Mapping[float, Box] = field(default_factory=dict)
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Votable:
    """A benchmark's question on whose answers can be voted, as there are few different ones.

    `question` is its kind. `answer` names the field of a result that holds what was answered, empty if
    nothing can be read: an option's letter where the record has options, else words. `metric` is the column
    and metric that says whether it is right.
    """

    question: str
    answer: str
    metric: str = "acc"


@dataclass(frozen=True)
class Note:
    """What was done about a record's annotation, or does not agree with its media: `field` is about it."""

    field: str
    detail: str


Fitted = tuple[Record, list[Note]]


def unchanged(record: Record, size: tuple[int, int] | None, tolerance_s: float) -> Fitted:
    """The record as it is."""
    return record, []


def fit_span(field: str, span: Span, duration_s: float, tolerance_s: float) -> tuple[Span, list[Note]]:
    """A span within `0..duration_s`, in seconds; an end less than `tolerance_s` after it is left alone.

    A point, and a span that ends before it starts, become or stay a point: they are kept, and score 0.
    """
    start, end = max(span[0], 0.0), max(span[1], 0.0)
    if end > duration_s + tolerance_s:
        start, end = min(start, duration_s), duration_s
    end = max(start, end)
    if (start, end) != tuple(span):
        was, now = (f"{first:g}-{last:g} s" for first, last in (span, (start, end)))
        return (start, end), [Note(field, f"{was} clipped to {now}, the media lasts {duration_s:g} s")]
    return span, [Note(field, f"a point at {start:g} s, kept")] if start == end else []


def frames_of(record: Mapping[str, Any]) -> str:
    """The name under which a frame store has what is shown of a record: its media, or a segment of it."""
    return record.get("frames") or record["media"]


def prediction(
    index: int, record: Record, kind: str, prompt: str, completion: str, space: BoxSpace
) -> dict[str, Any]:
    """The answer to a question as the files of predictions hold it, one a line."""
    return {
        "record": index,
        "id": str(record.get("vid") or record.get("id") or record["media"]),
        "question": kind,
        "prompt": prompt,
        "completion": completion,
        "box_space": {"kind": space.kind, "size": space.size},
    }


def unrated(results: Results, judge: Judge) -> Results:
    """The results as they are, of a benchmark that needs no judge."""
    return results


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Its published file: `filename` below `data/raw/annotations` (a folder if it ends with a slash), `rows`
    that reads the records, `references` to the media that a record names, and `parse`, which gives a checked
    record with its `media`; the last two raise `RowError`. `facts` measures a checked record for the rules
    of `openo3.validation`. `media_field` and `id_field` name fields of the published record.

    `fit` fits a validated record to its media, whose size in pixels it gets beside the tolerance in seconds.
    A record is never dropped because its annotation does not fit, but clipped, with a note for each change.

    `sampling` is how its frames are sampled by default. `questions` gives the prompts by kind of question,
    made from the templates it gets, `result` the record with the answers filled in, of the same kinds or
    fewer; both get the space in which the model writes boxes. `rate` adds a judge's ratings; results that
    have them are not rated again. `votable` is the question to which several answers can be joined into one
    (`openo3.benchmarks.voting`).

    `pictures` gives the pictures of its file that questions refer to: the name that a record has as
    `picture`, and the bytes of a picture's file. A picture is shown after the video.

    For `openo3 score`: `blocks` gives its numbers if they are more than `score` has. `check` reads a record
    that `parse` gave, if `parse` itself cannot. `answered` checks a record whose `answers` (names of fields)
    were read before. Both raise `RowError`.
    """

    name: str
    title: str
    filename: str
    references: Callable[[Any], list[Reference]]
    parse: Callable[[Any], Record]
    facts: Callable[[Record], Facts]
    media_field: str
    questions: Callable[[Mapping[str, Any], BoxSpace, Prompts], dict[str, str]]
    result: Callable[[Mapping[str, Any], Mapping[str, str], BoxSpace], Record]
    scoring: Scoring
    truth: Callable[[Mapping[str, Any]], Truth]
    display: Display
    rows: Callable[[str | Path], Iterator[Any]] = read_rows
    pictures: Callable[[str | Path], Iterator[tuple[str, bytes]]] | None = None
    fit: Callable[[Record, tuple[int, int] | None, float], Fitted] = unchanged
    rate: Callable[[Results, Judge], Results] = unrated
    blocks: Callable[[Results], dict[str, Any]] | None = None
    check: Callable[[Any], Record] | None = None
    answered: Callable[[Any], Record] | None = None
    answers: tuple[str, ...] = ()
    votable: Votable | None = None
    id_field: str = ""
    sampling: FrameSampling = LONG

    @property
    def file(self) -> AnnotationFile:
        """Its annotation file."""
        return AnnotationFile(self.name, self.filename, self.references, self.rows)

    def load(self, path: str | Path) -> list[Record]:
        """The records of a file that `validate` wrote."""
        return read_json(path)

    def score(self, results: Results) -> dict[str, Any]:
        """All metrics by name, their 95 % `intervals`, and `n`, the number of records.

        Results that need a judge must be rated. Raises `ValueError` if they are not.
        """
        return self.scoring.score(results)

    def report(self, results: Results) -> dict[str, Any]:
        """What `openo3 score` prints of rated results."""
        return (self.blocks or self.score)(results)
