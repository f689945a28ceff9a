"""`openo3 ask` and the Python API, with the shipped model and generated clips."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import openo3
from openo3.cli import main as cli
from openo3.core.geometry import RELATIVE_1000
from openo3.inference.model import count_votes
from openo3.inference.transcript import Transcript, readable
from openo3.media.probe import probe
from tests.support.clips import clip

MODEL = Path(__file__).parents[3] / "data/tiny-qwen3-vl"
CLAIM = "<obj>cup</obj><box>[500,0,1000,500]</box>at<t>2.5</t>s"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


@pytest.fixture(scope="module")
def answer(video):
    seen = []
    answer = openo3.load(MODEL).ask(video, "What is it?", watch=seen.append)
    assert len(seen) > 1
    assert seen[-1] == answer.completion.text
    return answer


def test_standard_input_gives_json_and_a_page(video, capsys, tmp_path, monkeypatch):
    page = tmp_path / "answer.html"
    arguments = [
        "ask",
        "-",
        "What is it?",
        "--json",
        "--votes",
        "2",
        "--confident",
        "--model",
        str(MODEL),
        "--html",
        str(page),
    ]
    with video.open("rb") as file:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=file))
        assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "question", "answer", "reasoning", "claims", "spans", "shown", "votes", "model", "protocol",
    }  # fmt: skip
    assert found["model"] == str(MODEL)
    assert found["protocol"]["frames"] == 4
    assert found["protocol"]["temperature"] == 0.7
    assert sum(vote["count"] for vote in found["votes"]) <= 2
    assert base64.b64encode(video.read_bytes()).decode() in page.read_text()
    assert sum(vote["share"] for vote in found["votes"]) == pytest.approx(1)


def test_a_model_that_nobody_named_is_called_as_every_checkout_calls_it(tmp_path, monkeypatch):
    """A page that is shared does not tell where the checkout lies."""
    (tmp_path / "openo3").mkdir()
    (tmp_path / "params.yaml").write_text(
        "sample_frames: {train: {fps: 1.0, min_frames: 2, max_frames: 4}, max_pixels: 4096}"
    )
    (tmp_path / "data/models").mkdir(parents=True)
    (tmp_path / "data/models/gspo").symlink_to(MODEL)
    monkeypatch.chdir(tmp_path / "data")
    assert openo3.load().name == "data/models/gspo"


def test_an_answer_is_saved_as_its_name_says(answer, tmp_path):
    for name in ("answer.html", "answer.gif", "answer.mp4"):
        assert answer.save(tmp_path / name).stat().st_size > 1000
    assert probe(tmp_path / "answer.mp4").codec == "h264"
    with pytest.raises(ValueError, match=r"answer\.txt: expected a name that ends in \.html, \.gif or \.mp4"):
        answer.save(tmp_path / "answer.txt")


def test_outside_a_notebook_an_answer_is_printed_and_shown_from_a_file(answer, capsys, monkeypatch, tmp_path):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer.show()
    said = capsys.readouterr().out
    assert "Answer: " in said
    assert Path(said.splitlines()[-1]).read_text() == answer.html()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["CLIP", "What \ud800?"], "openo3: the question holds half a character (a lone surrogate)\n"),
        (["CLIP", "?" * 10_001], "openo3: the question has 10,001 characters, at most 10,000\n"),
        (["/dev/zero", "What?"], "openo3: /dev/zero: unreadable: not a regular file\n"),
        (["missing.mp4", "What?"], "openo3: missing.mp4: missing\n"),
        (["CLIP", " "], "openo3: the question is empty\n"),
        (["CLIP", "What?", "--votes", "0"], "openo3: votes is 0, expected 1 to 64\n"),
        (["CLIP", "What?", "--html", "a.txt"], "openo3: --html a.txt: the name must end in .html\n"),
        (["CLIP", "What?", "--gif", "no/a.gif"], "openo3: --gif no/a.gif: no folder no\n"),
        (["http://example.org/a.mp4", "What?"], "openo3: http://example.org/a.mp4: not an https address\n"),
        (
            ["https://user:pass@127.0.0.1/a.mp4?token=1", "What?"],
            "openo3: https://127.0.0.1/a.mp4: 127.0.0.1 is in a private network (loopback)\n",
        ),
        (["CLIP", "What?", "--confident"], "openo3: confident needs several votes\n"),
        (
            ["CLIP", "What?", "--temperature", "1e-9"],
            "openo3: temperature is 1e-09, expected 0, or 0.01 to 10\n",
        ),
        (["CLIP", "What?", "--seed", str(2**70)], f"openo3: seed is {2**70}, expected 0 to 2^63 - 1\n"),
        (["CLIP", "What?", "--seed", "-1"], "openo3: seed is -1, expected 0 to 2^63 - 1\n"),
    ],
)
def test_bad_input_fails_with_one_line(video, capsys, arguments, said):
    arguments = [str(video) if value == "CLIP" else value for value in arguments]
    assert cli.main(["ask", *arguments, "--json", "--model", str(MODEL)]) == 2
    assert capsys.readouterr().err == said


def test_a_missing_model_fails_with_one_line(video, capsys, tmp_path):
    assert cli.main(["ask", str(video), "What?", "--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", lambda config: {"model_type": config["model_type"]} | {"text_config": []}),
        ("config.json", lambda config: config | {"vision_config": None, "text_config": {"hidden_size": "x"}}),
        ("config.json", lambda config: []),
        ("processor_config.json", lambda config: {"image_processor": {"patch_size": {}}}),
        ("tokenizer_config.json", lambda config: 3),
        ("tokenizer.json", lambda config: {"version": None}),
        ("pointer.json", lambda config: {"repo_id": 3}),
        ("openo3-run.json", lambda config: {"parameters": {"sample_frames": {"train": {}}}}),
        ("openo3-run.json", lambda config: run_record(max_frames=1e300)),
        ("openo3-run.json", lambda config: run_record(max_pixels=5)),
        ("openo3-run.json", lambda config: []),
    ],
)
def test_a_senseless_model_folder_fails_with_one_line(video, tmp_path, capsys, file, change):
    """Folders come from others. Before the line come at most warnings of libraries."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    path = folder / file
    path.write_text(json.dumps(change(json.loads(path.read_text()) if path.exists() else {})))
    assert cli.main(["ask", str(video), "What?", "--json", "--model", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("openo3: ")
    assert len(said.err.splitlines()[-1]) < 1000


def run_record(**changed):
    even = {"fps": 2.0, "min_frames": 4, "max_frames": 8, "max_pixels": 12288} | changed
    return {"parameters": {"sample_frames": {"train": even}}}


def test_importing_openo3_is_light():
    code = "import sys, openo3; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0
    assert callable(openo3.rewards.score)


def test_votes_of_equal_answers_are_counted_together():
    answers = ["red ring", "A blue disc.", "a blue disc", ""]
    winner, votes = count_votes(answers, [1.0] * 4)
    assert winner == 1
    assert [(vote.count, vote.share) for vote in votes] == [(2, 0.5), (1, 0.25)]
    winner, votes = count_votes(answers, [1.0, 0.2, 0.2, 0.2])
    assert (winner, votes[0].answer) == (0, "red ring")


def test_a_claim_is_printed_when_its_tag_closes():
    text = f"<think>The {CLAIM} falls.</think><answer>cup</answer>"
    transcript = Transcript(RELATIVE_1000, (200, 100))
    pieces = [transcript.grow(text[:end]) for end in range(len(text) + 1)]
    assert "".join(pieces) == "The cup [100,0,200,50] at 2.5 s falls."
    assert "cup [100,0,200,50] at 2.5 s" in pieces


def test_control_characters_never_reach_the_terminal():
    assert "\x1b" not in readable("a\x1b[31mb", RELATIVE_1000, (10, 10))
