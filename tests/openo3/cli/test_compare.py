"""`openo3 compare`: differences of the same records, and refusal where protocols differ in what matters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openo3.benchmarks import protocol
from openo3.benchmarks.registry import BENCHMARKS
from openo3.cli import main as cli
from openo3.core.geometry import RELATIVE_1000
from openo3.files.artifacts import read_json, write_json
from openo3.report.comparison import difference_cell
from tests.support.mutations import mutants

GOOD, BAD = "from 2 to 6", "from 5 to 9"
SPANS = BENCHMARKS["tvgbench"]
Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        status = cli.main(["compare", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return run


def records() -> list[dict[str, Any]]:
    """Three videos with two records each."""
    rows = [{"path": f"{n // 2}.mp4", "question": f"q{n}", "answer": "2.0-6.0"} for n in range(6)]
    return [SPANS.parse(row) for row in rows]


def evaluated(root: Path, model: str, texts: list[str], **changes: Any) -> Path:
    """What the stage leaves of a model: numbers, protocol (with `changes` by field) and results."""
    asked = records()
    results = [
        SPANS.result(each, {"when": text}, RELATIVE_1000) for each, text in zip(asked, texts, strict=True)
    ]
    found = protocol.of_records(SPANS, asked) | {
        "condition": "greedy",
        "prompts": {"digest": "p", "grammar": True},
        "decoding": {"temperature": 0.0},
        "model": {"name": model},
    }
    for field, value in changes.items():
        part, name = field.split("__")
        found[part][name] = value
    path = root / f"metrics/evaluate/{model}.json"
    write_json(path, {"tvgbench": {"greedy": SPANS.score(results)}})
    write_json(protocol.beside(path), {"tvgbench": {"greedy": found}})
    write_json(root / f"data/predictions/{model}/tvgbench/greedy.results.json", results)
    return path


def results_of(path: Path) -> list[dict[str, Any]]:
    return read_json(path.parents[2] / f"data/predictions/{path.stem}/tvgbench/greedy.results.json")


def test_the_differences_are_those_of_the_report(tmp_path: Path, run: Run):
    a = evaluated(tmp_path, "sft", [GOOD, BAD, BAD, BAD, GOOD, BAD])
    b = evaluated(tmp_path, "gspo", [GOOD, GOOD, BAD, GOOD, GOOD, BAD])
    status, out, err = run(a, b)
    assert (status, err) == (0, [])
    first, _, *lines = out.splitlines()
    assert first == "tvgbench, greedy: B - A over 6 records of 3 videos"
    gains = SPANS.scoring.difference(results_of(b), results_of(a))
    for metric in SPANS.scoring.metrics:
        [line] = [line for line in lines if line.startswith(f"{metric} ")]
        cell = difference_cell(gains[metric])
        assert line.endswith(f"{cell.text} {cell.interval}")
    assert [line for line in lines if line.startswith("differs: ")] == [
        f"differs: model.name is sft in {a}, gspo in {b}"
    ]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"prompts__digest": "other"}, ["prompts.digest"]),
        ({"decoding__temperature": 1.0, "records__n": 5}, ["records.n", "decoding.temperature"]),
        ({"records__digest": "other"}, ["records.digest"]),
        ({"decoding__seed": 1}, ["decoding.seed"]),
    ],
)
def test_protocols_that_differ_in_what_matters_are_refused(
    tmp_path: Path, run: Run, changes: dict[str, Any], fields: list[str]
):
    a = evaluated(tmp_path, "sft", [GOOD] * 6)
    b = evaluated(tmp_path, "gspo", [GOOD] * 6, **changes)
    status, out, err = run(a, b)
    assert (status, out) == (2, "")
    *lines, hint = err
    assert [line.partition(" is ")[0] for line in lines] == [
        f"openo3: tvgbench, greedy: not comparable: {field}" for field in fields
    ]
    assert "--across" in hint
    status, out, err = run(a, b, "--anyway")
    assert (status, err) == (0, [])
    assert out.count("differs: ") == 1 + len(fields)
    parts = {field.split(".")[0] for field in fields}
    assert run(a, b, *[word for part in parts for word in ("--across", part)])[0] == 0


def test_what_is_counted_of_a_run_is_no_difference(tmp_path: Path, run: Run):
    a = evaluated(tmp_path, "sft", [GOOD] * 6)
    b = evaluated(tmp_path, "gspo", [GOOD] * 6, records__without_frames=1)
    assert run(a, b)[0] == 0


def test_outputs_of_score_are_compared(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]):
    files = []
    for name, texts in (("a", [BAD] * 6), ("b", [GOOD] * 5 + [BAD])):
        rows = [
            {**{key: row[key] for key in ("path", "question", "answer")}, "completions": {"when": text}}
            for row, text in zip(records(), texts, strict=True)
        ]
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        assert cli.main(["score", "tvgbench", str(tmp_path / "rows.json"), "--per-record"]) == 0
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(capsys.readouterr().out)
    status, out, err = run(*files)
    assert (status, err) == (0, [])
    assert out.splitlines()[0] == "tvgbench: B - A over 6 records of 3 videos"
    assert "differs" not in out
    [line] = [line for line in out.splitlines() if line.startswith("R1@0.5")]
    assert line.split()[1:4] == ["0.0", "83.3", "+83.3"]


def test_unusable_files_are_one_line(tmp_path: Path, run: Run):
    a = evaluated(tmp_path, "sft", [GOOD] * 6)
    none, other = tmp_path / "none.json", tmp_path / "other.json"
    other.write_text('{"no such": {}}')
    for arguments, problem in [
        ((none, a), f"{none}: missing"),
        ((a, other), "other.protocol.json: missing"),
        ((a, other, "--anyway"), f"{other}: unknown benchmark 'no such'"),
        ((a, a, "--across", "mood"), "--across mood: there are benchmark, records, frames"),
        ((a, a, "--conditions", "plain", "greedy"), "no benchmark and condition is in both"),
    ]:
        status, out, err = run(*arguments)
        assert (status, out, len(err)) == (2, "", 1)
        assert problem in err[0]
    protocol.beside(a).unlink()
    assert "sft.protocol.json: missing" in run(a, a)[2][0]
    assert run(a, a, "--anyway")[0] == 0
    results = tmp_path / "data/predictions/sft/tvgbench/greedy.results.json"
    results.write_text("[1]")
    assert "not results of tvgbench" in run(a, a, "--anyway")[2][0]


@pytest.mark.parametrize("part", ["metrics", "protocols", "results", "scores"])
def test_mutants_of_its_files_are_compared_or_refused_in_one_line(
    part: str, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
):
    a, b = (evaluated(tmp_path, model, [GOOD, BAD] * 3) for model in ("sft", "gspo"))
    target = {
        "metrics": b,
        "protocols": protocol.beside(b),
        "results": tmp_path / "data/predictions/gspo/tvgbench/greedy.results.json",
        "scores": tmp_path / "scores.json",
    }[part]
    if part == "scores":
        rows = [
            {"path": f"{n}.mp4", "question": "q", "answer": "2-6", "completions": {"when": GOOD}}
            for n in (1, 2)
        ]
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        capsys.readouterr()
        assert cli.main(["score", "tvgbench", str(tmp_path / "rows.json"), "--per-record"]) == 0
        target.write_text(capsys.readouterr().out)
        a = b = target
    statuses = set()
    for text in mutants(json.loads(target.read_text()), 60):
        target.write_text(text)
        status, out, err = run(a, b, "--anyway")
        statuses.add(status)
        assert (status, bool(out), len(err)) in ((0, True, 0), (2, False, 1)), text[:300]
    assert 2 in statuses
