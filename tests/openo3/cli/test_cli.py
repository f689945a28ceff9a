"""The commands as a shell runs them: their output, and one line for each kind of bad input."""

import copy
import io
import json
import math
import subprocess
import sys
import time

import pytest

from openo3.cli import main as cli
from tests.support.mutations import mutants

VIDEO = {
    "id": "video",
    "task": "temporal-spatial free-form QA",
    "answer": "a red cup",
    "key_frames": [{"idx": 1, "time": 2.0}, {"idx": 2, "time": 5.0}],
    "key_items": {"1": {"cup": [[0.0, 0.0, 0.5, 0.5]]}, "2": {"cup": [[0.5, 0.0, 1.0, 0.5]]}},
    "image_size": None,
    "frame_size": [100, 80],
    "progress": 0.5,
    "completion": "<think><obj>cup</obj><box>[0,0,50,20]</box>at<t>4.0</t>s</think>"
    "<answer>a blue cup</answer>",
}
IMAGE = {
    "id": 7,
    "task": "visual QA",
    "answer": "<obj>cup</obj><box>[10, 20, 110, 220]</box>",
    "key_frames": [],
    "key_items": {},
    "image_size": [333, 500],
    "frame_size": [666, 1000],
    "progress": 0,
    "completion": "<think>a</think><answer><obj>a cup</obj><box>[20,40,220,240]</box></answer>",
}
MCQ = {
    "id": "mcq",
    "task": "temporal QA (MCQ)",
    "answer": "C\n[12.0, 20.0]",
    "progress": 1,
    "completion": "<think><t>12</t>s <t>25</t>s</think>"
    "<answer>From <t>12</t>s to <t>16</t>s\nCorrect Option: (C)</answer>",
}
TEMPORAL = {**MCQ, "id": "t", "task": "temporal QA", "answer": "[12.0, 20.0]"}
GENERAL = {**MCQ, "id": "g", "task": "General video QA MCQ", "answer": "B", "completion": "B"}
RESULT = {
    "vid": "v1",
    "domain": "Daily life",
    "fps": 30.0,
    "width": 200,
    "height": 100,
    "frame_count": 900,
    "question": "What falls?",
    "answer": "the red cup",
    "timestamps": [2.0, 6.0],
    "bboxes": [{"timestamp": 3, "frame_index": 90, "xmin": 0, "ymin": 0, "xmax": 100, "ymax": 100}],
    "answer_vqa": "red cup",
    "answer_temporal": [2.0, 4.0],
    "answer_temporal_pre": "",
    "answer_spatial": {"3": [0, 0, 100, 50]},
    "answer_temporal_2": [],
    "answer_temporal_pre_2": "from 0:02 to 0:06",
    "answer_spatial_2": {"3": [0, 0, 100, 100]},
}


def shell(*arguments):
    command = [sys.executable, "-m", "openo3.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def run(capsys, monkeypatch):
    """The same without a process of its own; `text` is its standard input."""

    def run(*arguments, text=""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        status = cli.main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, out, err)

    return run


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_rewards_are_printed_per_row(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(lines(VIDEO, IMAGE) + "\n" + lines(MCQ, TEMPORAL, GENERAL))
    done = shell("rewards", file)
    assert (done.returncode, done.stderr) == (0, "")
    video, image, mcq, temporal, general = map(json.loads, done.stdout.splitlines())
    for scored in (video, image, mcq, temporal, general):
        assert list(scored["rewards"]) == [
            "ans_acc", "ans_tiou", "ans_viou", "thk_temporal_point", "thk_temporal_segment", "thk_spatial",
            "format",
        ]  # fmt: skip
    assert video["id"] == "video"
    assert video["rewards"] == {
        "ans_acc": pytest.approx(4 / 9),
        "ans_tiou": None,
        "ans_viou": None,
        "thk_temporal_point": pytest.approx(math.exp(-1 / 8)),  # a second from 5.0, sigma 2
        "thk_temporal_segment": None,
        "thk_spatial": 0,  # two seconds after the cup was there
        "format": 1,
    }
    assert video["total"] == pytest.approx(4 / 9 + math.exp(-1 / 8) + 1)
    assert image["id"] == 7
    assert image["rewards"]["ans_viou"] == pytest.approx(0.5, abs=1e-8)
    assert image["total"] == pytest.approx(1.5, abs=1e-8)
    assert mcq["rewards"]["ans_acc"] == 1
    assert mcq["rewards"]["ans_tiou"] == temporal["rewards"]["ans_tiou"] == 0.5
    assert mcq["rewards"]["thk_temporal_segment"] == 0.5
    assert general["rewards"]["ans_acc"] == general["rewards"]["format"] == general["total"] == 0


def test_options_of_rewards_change_the_scores(run):
    released = run("rewards", "-", "--gate", "released", text=lines(VIDEO))
    assert json.loads(released.stdout)["rewards"]["thk_spatial"] == 0.5
    permille = {
        **VIDEO,
        "frame_size": None,
        "completion": "<think><obj>cup</obj><box>[0,0,500,250]</box>at<t>2.0</t>s</think>",
    }
    done = run("rewards", "-", "--box-space", "permille", text=lines(permille))
    assert json.loads(done.stdout)["rewards"]["thk_spatial"] == 0.5


def test_rewards_follow_the_settings_of_a_run(run, tmp_path):
    params = tmp_path / "own.yaml"
    params.write_text(
        "gspo: {rewards: {gate: released, weights: {ans_acc: 2.0, thk_objects: 3.0}}, trainer: {}}"
    )
    done = run("rewards", "-", "--params", params, text=lines(VIDEO))
    assert (done.returncode, done.stderr) == (0, "")
    scored = json.loads(done.stdout)
    rewards = scored["rewards"]
    assert rewards["thk_spatial"] == 0.5
    weights = {"ans_acc": 2.0, "thk_objects": 3.0}
    assert scored["total"] == pytest.approx(
        sum(weights.get(name, 1.0) * value for name, value in rewards.items() if value is not None)
    )
    assert rewards["thk_objects"] is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sft: {}", "gspo: missing block"),
        ("gspo: {rewards: {gat: released}}", "gspo.rewards.gat: unknown key"),
        ("gspo: {rewards: {weights: {ans_ac: 1.0}}}", "gspo.rewards: no reward ans_ac; there are "),
    ],
)
def test_wrong_settings_fail_with_one_line(run, tmp_path, text, said):
    params = tmp_path / "own.yaml"
    params.write_text(text)
    done = run("rewards", "-", "--params", params, text=lines(VIDEO))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"openo3: {params}: {said}")


def test_any_completion_is_scored(run):
    texts = ["", "\x00\ud800", "<think>" * 9, "<box>[1e999,nan,[]]</box>", "9" * 5000, "<obj>" * 200_000]
    odd = [{**row, "completion": text} for row in (VIDEO, IMAGE, MCQ, TEMPORAL, GENERAL) for text in texts]
    done = run("rewards", "-", text=lines(*odd))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(odd)


def changed(row, **fields):
    """The row with some fields replaced; fields given as `...` are removed."""
    row = {**copy.deepcopy(row), **fields}
    return {name: value for name, value in row.items() if value is not ...}


BAD_ROWS = [
    (changed(VIDEO, id=...), "id: field missing"),
    (changed(VIDEO, id=["a"]), "id: wrong type"),
    (changed(VIDEO, task="dancing"), "task: unknown task"),
    (changed(VIDEO, task="where"), "task: unknown task"),  # derived from rows, never one
    (changed(VIDEO, task=None), "task: field missing"),
    (changed(VIDEO, answer=...), "answer: field missing"),
    (changed(VIDEO, answer=[1.0, 4.0]), "answer: wrong type"),
    (changed(VIDEO, answer="x" * 10_000_000), "answer: text too long"),
    (changed(VIDEO, completion=...), "completion: field missing"),
    (changed(VIDEO, completion=3), "completion: wrong type"),
    (changed(VIDEO, frame_size=...), "frame_size: field missing"),
    (changed(VIDEO, frame_size=[100]), "frame_size: wrong type"),
    (changed(VIDEO, frame_size=[100, 0]), "frame_size: wrong type"),
    (changed(VIDEO, frame_size="100x80"), "frame_size: wrong type"),
    (changed(VIDEO, frame_size=[100, math.inf]), "frame_size[1]: number not finite"),
    (changed(VIDEO, progress=...), "progress: field missing"),
    (changed(VIDEO, progress=1.5), "progress: wrong type"),
    (changed(VIDEO, progress=True), "progress: wrong type"),
    (changed(VIDEO, progress=math.nan), "progress: number not finite"),
    (changed(VIDEO, key_frames=...), 'key_items."1": key_items of an unknown key frame'),
    (changed(VIDEO, key_frames=[], key_items={}), "key_frames: key frames missing"),
    (changed(VIDEO, key_frames=[{"idx": 1}]), "key_frames[0].time: field missing"),
    (changed(VIDEO, key_frames=[{"idx": "1", "time": 2}]), "key_frames[0].idx: wrong type"),
    (changed(VIDEO, key_frames=[3]), "key_frames[0]: wrong type"),
    (changed(VIDEO, key_items={"9": {}}), 'key_items."9": key_items of an unknown key frame'),
    (changed(VIDEO, key_items={"1": {}, "01": {}}), 'key_items."01": wrong type (idx 1 is given twice)'),
    (changed(VIDEO, key_items=[1]), "key_items: wrong type"),
    (changed(VIDEO, key_items={"one": {}}), 'key_items."one": wrong type'),
    (changed(VIDEO, key_items={"1": {"a\0b": []}}), 'key_items."1": not valid text'),
    (changed(VIDEO, key_items={"1": {"a\nb": [[1, 2, 3]]}}), 'key_items."1"."a\\nb": wrong type'),
    (changed(VIDEO, key_items={"1": {"a": [[10, 20, 30, 40]]}}), "box in the wrong coordinate space"),
    (changed(VIDEO, key_items={"1": {"a": [[0, 0, 1, math.nan]]}}), "key_items.1.a[0][3]: number not finite"),
    (changed(IMAGE, image_size=None), "image_size: field missing"),
    (changed(IMAGE, answer="a cup"), "answer: answer does not parse"),
    (changed(MCQ, answer="C"), "answer: answer does not parse"),
    (changed(TEMPORAL, answer="[20.0, 12.0]"), "answer: answer does not parse"),
    (changed(GENERAL, answer=" "), "answer: answer empty"),
    ("text", "row: row is not an object"),
]


@pytest.mark.parametrize(("row", "problem"), BAD_ROWS, ids=[problem for _, problem in BAD_ROWS])
def test_a_bad_row_is_named_in_one_line(row, problem, tmp_path, capsys):
    file = tmp_path / "rows.jsonl"
    file.write_text(lines(VIDEO, row, VIDEO))
    assert cli.main(["rewards", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"openo3: {file}: row 2: ")
    assert problem in err
    assert err.count("\n") == 1
    assert len(err) < 1000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"id": ', "row 2: not JSON"),
        (b"\xff\xfe", "row 2: not UTF-8 text"),
        (b"9" * 5000, "row 2: not JSON"),
        (b"[" * 100_000, "row 2: not JSON"),
    ],
)
def test_invalid_json_lines_fail_with_one_line(run, text, problem, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(lines(VIDEO).encode() + text)
    done = run("rewards", file)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{file}: {problem}" in done.stderr


@pytest.mark.parametrize("command", [["rewards"], ["score", "vstar"]])
def test_unreadable_files_fail_with_one_line(run, command, tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        done = run(*command, path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert str(path) in done.stderr


def test_score_prints_the_vstar_metrics(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([RESULT, {**RESULT, "VQA_score": 1}, changed(RESULT, answer_vqa=...)]))
    done = shell("score", "vstar", file)
    assert (done.returncode, done.stderr) == (0, "")
    numbers = json.loads(done.stdout)
    assert list(numbers) == ["overall", "length/Short", "domain/Daily life", "protocol"]
    assert numbers["protocol"]["records"]["n"] == 3
    assert numbers["protocol"]["judge"] == {
        "kind": "rouge", "model": "", "max_tokens": None, "extract": False, "rated": 1, "extracted": 0,
        "unreadable": 0,
    }  # fmt: skip
    overall = numbers["overall"]
    assert overall["acc"] == pytest.approx(1 / 3)
    assert overall["chain1"]["m_tIoU"] == overall["chain1"]["m_vIoU"] == 0.5
    assert overall["chain2"]["m_tIoU"] == overall["chain2"]["m_vIoU"] == 1
    assert overall["LGM2"] is None
    assert overall["infinite"] == ["LGM2", "mLGM"]


BAD_RESULTS = [
    (changed(RESULT, timestamps=...), "timestamps: wrong type"),
    (changed(RESULT, timestamps=[6, 2]), "timestamps: span does not end"),
    (changed(RESULT, timestamps=[2, math.nan]), "timestamps[1]: number not finite"),
    (changed(RESULT, fps=0), "fps: wrong type"),
    (changed(RESULT, fps="30"), "fps: wrong type"),
    (changed(RESULT, frame_count=...), "frame_count: field missing"),
    (changed(RESULT, question=5), "question: wrong type"),
    (changed(RESULT, answer=...), "answer: field missing"),
    (changed(RESULT, domain=["x"]), "domain: wrong type"),
    (changed(RESULT, bboxes=...), "bboxes: field missing"),
    (changed(RESULT, bboxes=[{"timestamp": 3}]), "bboxes[0].xmin: field missing"),
    (changed(RESULT, bboxes=[[1, 2, 3, 4]]), "bboxes[0]: wrong type"),
    (changed(RESULT, answer_vqa=["red"]), "answer_vqa: wrong type"),
    (changed(RESULT, answer_temporal=5), "answer_temporal: wrong type"),
    (changed(RESULT, answer_temporal_pre_2=[5]), "answer_temporal_pre_2: wrong type"),
    (changed(RESULT, answer_spatial_2="[1,2,3,4]"), "answer_spatial_2: wrong type"),
    (changed(RESULT, answer_spatial={"3": [0, 0, -math.inf, 1]}), "answer_spatial.3[2]: number not finite"),
    (changed(RESULT, VQA_score=4), "VQA_score: wrong type"),
    (changed(RESULT, VQA_score="3"), "VQA_score: wrong type"),
    (changed(RESULT, VQA_score=True), "VQA_score: wrong type"),
    (3, "row: row is not an object"),
]


@pytest.mark.parametrize(("record", "problem"), BAD_RESULTS, ids=[problem for _, problem in BAD_RESULTS])
def test_a_bad_record_is_named_in_one_line(record, problem, tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([RESULT, record]))
    assert cli.main(["score", "vstar", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"openo3: {file}: row 2: {problem}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "not JSON"), ("[1, 2", "not JSON"), ("{}", "expected a list"), ("[]", "expected a list")],
)
def test_results_that_are_not_a_list_are_an_error(text, problem, tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(text)
    assert cli.main(["score", "vstar", str(file)]) == 2
    assert problem in capsys.readouterr().err


def test_results_without_answers_are_an_error(tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([{name: RESULT[name] for name in RESULT if not name.startswith("answer_")}]))
    assert cli.main(["score", "vstar", str(file)]) == 2
    assert "answer_vqa: no record has an answer" in capsys.readouterr().err


VSTAR = {
    **{name: value for name, value in RESULT.items() if not name.startswith("answer_")},
    **dict.fromkeys(("temporal_question", "spatial_question", "spatial_question_2"), "Where?"),
}
SAID = {"what": "the red cup", "when": "from 2 to 4 s", "where": '{"3": [0,0,500,1000]}'}
SPAN = {"path": "a.mp4", "question": "it falls", "answer": "2.0-6.0", "duration": 9.0}
CHOICE = {"videoID": "v", "question_id": "7", "question": "Which?", "options": ["a", "b"], "answer": "B"}
CHOICE |= {"duration": "short"}


def scored(benchmark, tmp_path, capsys, *records, as_lines=False, options=()):
    file = tmp_path / "results.json"
    file.write_text(lines(*records) if as_lines else json.dumps(records))
    status = cli.main(["score", benchmark, str(file), *options])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("as_lines", [True, False])
def test_raw_completions_of_every_kind_of_benchmark_are_scored(as_lines, tmp_path, capsys):
    def numbers(benchmark, *records):
        return scored(benchmark, tmp_path, capsys, *records, as_lines=as_lines)

    overall = numbers("vstar", {**VSTAR, "completions": SAID}, {**VSTAR, "completions": None})["overall"]
    assert (overall["acc"], overall["chain1"]["m_tIoU"], overall["chain1"]["m_vIoU"]) == (0.5, 0.25, 0.5)
    found = numbers("tvgbench", {**SPAN, "completions": {"when": "from 2 to 4 s"}}, SPAN)
    assert (found["m_tIoU"], found["R1@0.5"], found["n"]) == (0.25, 0.5, 2)
    found = numbers("videomme", {**CHOICE, "completions": {"which": "B"}}, {**CHOICE, "completions": {}})
    assert (found["acc"], found["acc/short"], found["n"]) == (0.5, 0.5, 2)


def test_a_record_that_was_validated_can_be_scored(tmp_path, capsys):
    record = {"id": "7", "question": "Which?", "options": ["a", "b"], "answer": "B", "group": "short"}
    record |= {"media": "videos/videomme/v.mp4", "completions": {"which": "B"}}
    assert scored("videomme", tmp_path, capsys, record)["acc"] == 1


@pytest.mark.parametrize(
    ("space", "box"),
    [
        ({"kind": "pixels", "size": [400, 200]}, "[0,0,200,200]"),
        ({"kind": "normalised"}, "[0,0,0.5,1]"),
        ({"kind": "relative_1000", "size": None}, "[0,0,500,1000]"),
    ],
)
def test_boxes_are_read_in_the_stated_space(space, box, tmp_path, capsys):
    record = {**VSTAR, "completions": {"where": f'{{"3": {box}}}'}, "box_space": space}
    assert scored("vstar", tmp_path, capsys, record)["overall"]["chain1"]["m_vIoU"] == 1


def test_scores_are_printed_per_record(tmp_path, capsys):
    records = [{**SPAN, "completions": {"when": text}} for text in ("from 2 to 6", "never")]
    found = scored("tvgbench", tmp_path, capsys, *records, options=["--per-record"])
    assert [record["m_tIoU"] for record in found["records"]] == [1, 0]
    assert found["records"][0]["id"] == "a.mp4"
    assert found["records"][0]["video"].endswith("/a.mp4")
    assert found["protocol"]["answers"] == {"unanswered": 1, "read": {"when": {"none": 1, "text": 1}}}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"completions": {"why": "x"}}, 'completions: wrong type (unknown kind "why"; there are what, when'),
        ({"completions": {"what": 3}}, "completions.what: wrong type"),
        ({"completions": ["x"]}, "completions: wrong type"),
        ({"box_space": {"kind": "feet"}}, "box_space.kind: wrong type (expected pixels"),
        ({"box_space": {"kind": "pixels"}}, "box_space.size: field missing"),
        ({"width": 0}, "width: wrong type"),
        ({"vid": "../x"}, "vid: path leaves its root"),
    ],
)
def test_bad_completions_are_named_in_one_line(changes, problem, tmp_path, capsys):
    file = tmp_path / "results.jsonl"
    file.write_text(lines({**VSTAR, "completions": SAID}, {**VSTAR, "completions": SAID, **changes}))
    assert cli.main(["score", "vstar", str(file)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"openo3: {file}: row 2: {problem}")


def test_span_results_without_completions_are_an_error(tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([SPAN]))
    assert cli.main(["score", "tvgbench", str(file)]) == 2
    assert "completions: no record has any" in capsys.readouterr().err


def test_a_judge_without_a_model_is_an_error(tmp_path, capsys):
    file = tmp_path / "results.json"
    file.write_text(json.dumps([RESULT]))
    assert cli.main(["score", "vstar", str(file), "--judge-url", "http://127.0.0.1:9/v1"]) == 2
    assert "needs url and model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["rewards"], ["rewards", "x", "--gate", "open"], ["score", "vstar"], ["score", "x", "y"]],
)
def test_bad_arguments_fail_with_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_starts_fast_and_imports_no_heavy_library():
    started = time.perf_counter()
    assert "COMMAND" in shell("--help").stdout
    assert time.perf_counter() - started < 5  # 0.1 s; importing torch takes as long as this
    loaded = (
        "import sys, openo3.cli.main; print({'torch', 'numpy', 'nltk', 'transformers'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True).strip() == "set()"


def test_a_closed_output_pipe_is_no_error(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(lines(*[GENERAL] * 5000))
    pipeline = f"set -o pipefail; {sys.executable} -m openo3.cli rewards {file} | head -1"
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["id"] == "g"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "row", [VIDEO, IMAGE, MCQ, TEMPORAL, GENERAL, RESULT], ids=lambda row: row.get("id", "score")
)
def test_mutants_of_a_row_are_scored_or_refused_in_one_line(tmp_path, capsys, row):
    file = tmp_path / "rows.json"
    command = ["score", "vstar"] if row is RESULT else ["rewards"]
    for text in mutants([row] if row is RESULT else row, 60):
        file.write_text(text)
        status = cli.main([*command, str(file)])
        out, err = capsys.readouterr()
        assert (status, bool(out), len(err.splitlines())) in ((0, True, 0), (2, False, 1)), text[:300]
        assert "NaN" not in out
        assert "Infinity" not in out
