"""`openo3 compare A.json B.json`: how two models' numbers differ, and their protocols.

    openo3 compare metrics/evaluate/sft.json metrics/evaluate/gspo.json
    openo3 compare metrics/evaluate/base.json metrics/evaluate/gspo.json \\
        --conditions plain greedy --across prompts
    openo3 compare a.json b.json        # each written by `openo3 score BENCHMARK RESULTS --per-record`

A file of `metrics/evaluate` has its protocols beside it, and its records' scores in `data/predictions` of the
same checkout. Every benchmark and condition that both files have is compared, over the records that both
have. Protocols that differ in what matters are refused, one line per field: `--across PART` names what is
meant to differ, `--anyway` compares nevertheless.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openo3.cli.errors import InputError, refuse
from openo3.files.artifacts import read_json

if TYPE_CHECKING:
    from openo3.benchmarks.base import Benchmark
    from openo3.core.metrics import Interval

Key = tuple[str, int]
"""A record's id, and the how many-th record of this id it is."""


@dataclass(frozen=True)
class Numbers:
    """A benchmark's scores in one condition: `rows` by record in the order of the benchmark's columns."""

    file: str
    benchmark: Benchmark
    protocol: Mapping[str, Any]
    rows: Mapping[Key, Sequence[float]]
    videos: Mapping[Key, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A.json", help="a metrics file, or the output of `score --per-record`")
    parser.add_argument("b", metavar="B.json", help="the same of another model: differences are B - A")
    parser.add_argument(
        "--conditions", nargs=2, metavar=("OF_A", "OF_B"), help="compare these conditions, plain greedy say"
    )
    parser.add_argument(
        "--across", action="append", default=[], metavar="PART",
        help="a part of the protocol that is meant to differ, prompts say; may be repeated",
    )  # fmt: skip
    parser.add_argument("--anyway", action="store_true", help="compare whatever differs")


def run(arguments: argparse.Namespace) -> int:
    """Print a table of differences and the fields that differ for each benchmark and condition."""
    from openo3.benchmarks.protocol import COMPARED

    try:
        if unknown := sorted(set(arguments.across) - set(COMPARED)):
            raise InputError(f"--across {unknown[0]}: there are {', '.join(COMPARED)}")
        a, b = (read(file, arguments.anyway) for file in (arguments.a, arguments.b))
        pairs = list(_pairs(a, b, arguments))
        refused = [] if arguments.anyway else [line for pair in pairs for line in _refusals(pair, arguments)]
        said = [] if refused else [line for pair in pairs for line in _compared(pair, arguments)]
    except InputError as error:
        return refuse(error)
    if refused:
        for line in refused:
            refuse(InputError(line))
        print("openo3: name what is compared with --across PART, or compare with --anyway", file=sys.stderr)
        return 2
    print("\n".join(said))
    return 0


def read(file: str, anyway: bool = False) -> dict[tuple[str, str], Numbers]:
    """The numbers of a file by benchmark and condition; without conditions, the latter is "".

    Raises `InputError` for a file that is neither of the two kinds, and where protocols or scores of records
    are missing; with `anyway`, protocols may be.
    """
    content = _json(Path(file))
    if not isinstance(content, dict):
        raise InputError(f"{file}: neither a metrics file nor the output of `openo3 score --per-record`")
    if isinstance(content.get("protocol"), dict):
        numbers = _scored(file, content)
        return {(numbers.benchmark.name, ""): numbers}
    return _evaluated(file, content, anyway)


def _scored(file: str, content: Mapping[str, Any]) -> Numbers:
    """The output of `openo3 score --per-record`."""
    benchmark = _benchmark(file, content["protocol"].get("benchmark"))
    records = content.get("records")
    if not isinstance(records, list) or not records:
        raise InputError(f"{file}: records: none, make the file with `openo3 score --per-record`")
    rows, columns = {}, benchmark.scoring.columns
    for number, record in enumerate(records, start=1):
        row = [record.get(column) for column in columns] if isinstance(record, dict) else [None]
        if not all(_is_score(score) for score in row):
            raise InputError(f"{file}: records: number {number} lacks one of {', '.join(columns)}")
        rows[number] = row
    keys = _keys(record.get("id") for record in records)
    return Numbers(
        file,
        benchmark,
        content["protocol"],
        dict(zip(keys, rows.values(), strict=True)),
        {key: _video(record.get("video")) for key, record in zip(keys, records, strict=True)},
    )


def _evaluated(file: str, content: Mapping[str, Any], anyway: bool) -> dict[tuple[str, str], Numbers]:
    """A file of `metrics/evaluate`, its protocols beside it, and the results that it was made from."""
    from openo3.benchmarks.conditions import CONDITIONS
    from openo3.benchmarks.protocol import beside

    path = Path(file)
    protocols = {} if anyway and not beside(path).exists() else _json(beside(path))
    found = {}
    for name, conditions in content.items():
        benchmark = _benchmark(file, name)
        for condition in conditions if isinstance(conditions, dict) else ():
            if condition not in CONDITIONS:
                raise InputError(f"{file}: {name}: unknown condition {condition!r}")
            results_file = _checkout(path) / f"data/predictions/{path.stem}/{name}/{condition}.results.json"
            results = _json(results_file)
            try:
                keys = _keys(record.get(benchmark.id_field or benchmark.media_field) for record in results)
                rows, videos = benchmark.scoring.rows(results), benchmark.scoring.videos(results)
                scores = dict(zip(keys, rows, strict=True))
                if not all(math.isfinite(score) for row in rows for score in row):
                    raise ValueError("a score is not finite")
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise InputError(f"{results_file}: not results of {name}: {repr(error)[:200]}") from None
            found[name, condition] = Numbers(
                file,
                benchmark,
                _protocol(beside(path), protocols, name, condition),
                scores,
                {key: _video(video) for key, video in zip(keys, videos, strict=True)},
            )
    return found


def _protocol(file: Path, protocols: Any, benchmark: str, condition: str) -> Mapping[str, Any]:
    """That of one number; empty where the file has none. Raises `InputError` for one of another form."""
    found = protocols
    for name in (benchmark, condition):
        found = found.get(name, {}) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise InputError(f"{file}: {benchmark}: not the protocols of an evaluation")
    return found


def _is_score(value: Any) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or (type(value) is int and abs(value) < 1e15)


def _video(named: Any) -> Any:
    """What records of one video have in common, as a key."""
    return named if isinstance(named, str | int | None) else str(named)


def _checkout(metrics: Path) -> Path:
    """The folder that holds `metrics/evaluate/MODEL.json`."""
    return [metrics.resolve(), *metrics.resolve().parents][:4][-1]


def _pairs(
    a: Mapping[tuple[str, str], Numbers],
    b: Mapping[tuple[str, str], Numbers],
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, Numbers, Numbers]]:
    """What to compare, with its name. Raises `InputError` if there is nothing."""
    some = False
    for name, condition in a:
        of_a, of_b = arguments.conditions or (condition, condition)
        if condition == of_a and (name, of_b) in b:
            some = True
            told = of_a if of_a == of_b else f"{of_a} and {of_b}"
            yield ", ".join(filter(None, (name, told))), a[name, of_a], b[name, of_b]
    if not some:
        raise InputError(f"{arguments.a}, {arguments.b}: no benchmark and condition is in both")


def _refusals(pair: tuple[str, Numbers, Numbers], arguments: argparse.Namespace) -> Iterator[str]:
    from openo3.benchmarks.protocol import differences, matters

    name, a, b = pair
    for field, values in differences(a.protocol, b.protocol).items():
        if matters(field) and field.split(".")[0] not in arguments.across:
            yield f"{name}: not comparable: {_differing(field, values, arguments)}"


def _differing(field: str, values: tuple[Any, Any], arguments: argparse.Namespace) -> str:
    said = ["not stated" if value is None else _short(value) for value in values]
    return f"{field} is {said[0]} in {arguments.a}, {said[1]} in {arguments.b}"


def _compared(pair: tuple[str, Numbers, Numbers], arguments: argparse.Namespace) -> Iterator[str]:
    from openo3.benchmarks.protocol import differences
    from openo3.core.metrics import bootstrap, paired_difference

    name, a, b = pair
    shared = [key for key in a.rows if key in b.rows]
    if not shared:
        raise InputError(f"{name}: {a.file} and {b.file} have no record in common")
    scoring = a.benchmark.scoring
    rows = [[numbers.rows[key] for key in shared] for numbers in (a, b)]
    videos = [a.videos[key] if a.videos[key] is not None else index for index, key in enumerate(shared)]
    levels = [bootstrap(scores, scoring.statistic, videos=videos) for scores in rows]
    gains = paired_difference(rows[1], rows[0], scoring.statistic, videos=videos)
    left_out = len(a.rows) + len(b.rows) - 2 * len(shared)
    more = f", {left_out} that only one of them has left out" if left_out else ""
    yield f"{name}: B - A over {len(shared)} records of {len(set(videos))} videos{more}"
    yield f"{'percent':14}{'A':>8}{'B':>8}   B - A, 95 % interval"
    for metric, of_a, of_b, gain in zip(scoring.metrics, *levels, gains, strict=True):
        yield f"{metric:14}{_percent(of_a.value):>8}{_percent(of_b.value):>8}   {_interval(gain)}"
    for field, values in differences(a.protocol, b.protocol).items():
        yield f"differs: {_differing(field, values, arguments)}"


def _percent(value: float, sign: str = "") -> str:
    if math.isfinite(value):
        return f"{100 * value:{sign}.1f}"
    return "?" if math.isnan(value) else "∞" if value > 0 else "-∞"


def _interval(gain: Interval) -> str:
    value, low, high = (_percent(number, "+") for number in (gain.value, gain.low, gain.high))
    return f"{value} [{low}, {high}]"


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text


def _keys(ids: Iterator[Any]) -> list[Key]:
    """Each record's id with its number among the records of this id: a video may have several."""
    seen: Counter[str] = Counter()
    keys = []
    for name in map(str, ids):
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _benchmark(file: str, name: Any) -> Benchmark:
    from openo3.benchmarks.registry import BENCHMARKS

    if not isinstance(name, str) or name not in BENCHMARKS:
        said = repr(name)[:80]
        raise InputError(f"{file}: unknown benchmark {said}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing; make it with the stage evaluate, or `dvc checkout`") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
