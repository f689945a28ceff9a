"""A folder becomes records: asked once, within the budget, resumed after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openo3.annotating.clips import AnnotateError
from openo3.annotating.params import BudgetParams, Endpoint, FilterParams
from openo3.annotating.plan import plan
from openo3.annotating.run import annotate, summary
from openo3.annotations import stgr
from openo3.cli.main import main
from openo3.core.schema import Task
from openo3.files.artifacts import read_json, read_jsonl
from tests.openo3.annotating import annotator
from tests.support.chat_endpoint import completion, endpoint, said

ROOT = Path(__file__).parents[3]


def test_a_folder_becomes_records_with_their_media(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    folder, out = annotator.folder_of(tmp_path / "clips", 2), tmp_path / "local"
    with endpoint(annotator.answer) as server:
        done = annotate(folder, out, annotator.params(server.url))
    rows = read_json(out / "STGR-SFT.json")
    assert [row["video_path"] for row in rows] == ["clip 0.mp4", "clip 1.mp4"]
    assert all((out / "videos" / row["video_path"]).samefile(folder / row["video_path"]) for row in rows)
    sample = stgr.parse(rows[0])
    assert (sample.task, sample.source, sample.answer) == (Task.TEMPORAL_SPATIAL, "local", "a red band")
    [frame] = sample.key_frames
    shown = 1.0  # no frame of the 4 is there: the nearest one that the model saw is named
    assert abs(frame.time_s - shown) < 0.5
    assert sample.key_items == {1: {"red band": ((0.0, 0.0, 1.0, 0.25),)}}
    assert read_json(out / "STGR-RL.json")[0] == {
        k: v for k, v in rows[0].items() if k != "reasoning_process"
    }
    asked = [body for body in server.bodies if "response_format" in body]
    parts = asked[0]["messages"][0]["content"]
    assert [part["type"] for part in parts].count("image_url") == 4
    assert parts[0]["text"] == "Frame 1 at 0.0s: "
    assert "The video lasts 2.0 seconds." in parts[-1]["text"]
    assert set(server.keys) == {"Bearer secret"}
    found = summary(done)
    assert found["records"] == {"temporal-spatial free-form QA": 2}
    assert {name: each["checked"] for name, each in found["filters"].items()} == dict.fromkeys(
        ("boxes", "citations", "duplicates", "second-look", "key-frames", "blind"), 2
    )
    assert found["requests"]["annotate"] == 2
    assert found["requests"]["blind"] == 3
    assert found["tokens"]["read"] == 100 * len(server.bodies)
    assert "secret" not in (out / "annotate.json").read_text()


def test_nothing_is_asked_twice_and_other_thresholds_ask_nothing(tmp_path):
    folder, out = annotator.folder_of(tmp_path / "clips"), tmp_path / "local"
    with endpoint(annotator.answer) as server:
        annotate(folder, out, annotator.params(server.url))
        before, count = (out / "STGR-SFT.json").read_bytes(), len(server.bodies)
        annotate(folder, out, annotator.params(server.url))
        assert (len(server.bodies), (out / "STGR-SFT.json").read_bytes()) == (count, before)
        strict = FilterParams(max_box_area=0.2)
        annotate(folder, out, annotator.params(server.url, filters=strict))
        assert len(server.bodies) == count
        assert read_json(out / "STGR-SFT.json") == []
        [line] = read_jsonl(out / "aside.jsonl")
        assert (line["filter"], line["reason"]) == ("boxes", "box too large or degenerate")
        assert stgr.parse(line["record"]).question == "What is at the top?"
        other = tmp_path / "other"
        annotate(folder, other, annotator.params(server.url, filters=strict), replies=out / "replies.jsonl")
        assert [file.name for file in (other / "videos").iterdir()] == [line["clip"]], "for `openo3 look`"
        assert len(server.bodies) == count
        annotate(folder, out, annotator.params(server.url, endpoint=Endpoint(server.url, "another-model")))
        assert len(server.bodies) == 2 * count


def test_each_filter_sets_aside_what_it_is_for(tmp_path):
    """All in one reply: each annotation has one defect, and is set aside by the filter that is for it."""
    band, cup = "<obj>red band</obj>", "<obj>blue cup</obj><box>[0,0,1000,250]</box>at<t>1.0</t>s"
    wrong = {
        "Too large?": ({"key_frames": keyed("red band", [0, 0, 1000, 950])}, "boxes"),
        "Outside the frame?": ({"key_frames": keyed("red band", [0, 0, 1100, 250])}, "boxes"),
        "Of no height?": ({"key_frames": keyed("red band", [0, 250, 1000, 250])}, "boxes"),
        "Another object cited?": ({"reasoning": cup}, "citations"),
        "Another box cited?": ({"reasoning": f"{band}<box>[0,700,900,990]</box>at<t>1.0</t>s"}, "citations"),
        "Another time cited?": ({"key_frames": keyed("red band", annotator.BAND, 0.0)}, "citations"),
        "No time cited?": ({"reasoning": f"{band}<box>[0,0,1000,250]</box>"}, "citations"),
        "Nothing cited?": ({"reasoning": "It is at the top."}, "citations"),
        "Not seen there?": (
            {"key_frames": keyed("blue cup", annotator.BAND), "reasoning": cup},
            "second-look",
        ),
        "Not in the key frames?": ({"answer": "the number seventeen"}, "key-frames"),
        "Which colour has grass?": ({"answer": "green"}, "blind"),
        "What is at the top?": ({}, None),
        "What is at the top": ({}, "duplicates"),
    }
    replied = [annotator.annotation(question=question, **change) for question, (change, _) in wrong.items()]

    def answer(body):
        asked = said(body)
        if "response_format" in body:
            return annotator.reply(*replied)
        if "blue cup? Answer yes" in asked:
            return "No."
        return "green" if "grass" in asked and "grade" not in asked else annotator.answer(body)

    folder, out = annotator.folder_of(tmp_path / "clips"), tmp_path / "local"
    strict = FilterParams(citation_s=0.5)
    with endpoint(answer) as server:
        annotate(folder, out, annotator.params(server.url, per_video=len(wrong), filters=strict))
    failed = {line["question"]: line["filter"] for line in read_jsonl(out / "aside.jsonl")}
    expected = {question: name for question, (_, name) in wrong.items()}
    assert failed == {question: name for question, name in expected.items() if name}
    assert [row["question"] for row in read_json(out / "STGR-SFT.json")] == ["What is at the top?"]


def keyed(name: str, box: list[int], time_s: float = 1.0) -> list[dict]:
    return [{"time_s": time_s, "objects": [{"name": name, "box": box}]}]


def test_a_budget_ends_the_run_and_a_higher_one_continues_it(tmp_path):
    folder, out = annotator.folder_of(tmp_path / "clips", 2), tmp_path / "local"
    with endpoint(annotator.answer) as server:
        few = annotator.params(server.url, budget=BudgetParams(max_requests=5), concurrency=1)
        done = annotate(folder, out, few)
        assert len(server.bodies) == 5
        assert "requests of 5" in done.stopped
        assert read_json(out / "annotate.json")["unfinished"] > 0
        done = annotate(folder, out, annotator.params(server.url))
    assert done.stopped is None
    assert len(read_json(out / "STGR-SFT.json")) == 2
    whole = sum(read_json(out / "annotate.json")["requests"].values())
    assert len(server.bodies) == whole


def test_a_cost_is_never_exceeded(tmp_path):
    """Each request may read some 700 tokens and write 2,048, which are reserved before it is sent."""
    folder = annotator.folder_of(tmp_path / "clips")
    prices = {"price_in": 10.0, "price_out": 10.0}
    with endpoint(annotator.answer) as server:
        done = annotate(
            folder, tmp_path / "a", annotator.params(server.url, budget=BudgetParams(max_cost=0.02, **prices))
        )
        assert server.bodies == []
        assert "cost of 0.02" in done.stopped
        done = annotate(
            folder, tmp_path / "b", annotator.params(server.url, budget=BudgetParams(max_cost=1.0, **prices))
        )
    assert done.budget.cost == pytest.approx(120 * len(server.bodies) * 10 / 1e6)
    with pytest.raises(ValueError, match="max_cost needs price_in"):
        BudgetParams(max_cost=1.0)


def test_a_killed_run_continues_and_asks_only_the_rest(tmp_path):
    folder, out = annotator.folder_of(tmp_path / "clips", 2), tmp_path / "local"

    def slowly(body):
        time.sleep(0.05)
        return annotator.answer(body)

    with endpoint(slowly) as server:
        command = [
            *(sys.executable, "-m", "openo3.cli", "annotate", str(folder), "-o", str(out)),
            *("--with", server.url, "--model", "m", "--tasks", "temporal-spatial", "--per-video", "1"),
            *("--concurrency", "1"),
        ]
        with subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL
        ) as process:
            while len(server.bodies) < 4:
                assert process.poll() is None
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
        assert not (out / "STGR-SFT.json").exists()
        with (out / "replies.jsonl").open("ab") as file:
            file.write(b'{"key": "cut o')
        kept = sum(1 for _ in (out / "replies.jsonl").open("rb")) - 1
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
        assert len(read_json(out / "STGR-SFT.json")) == 2
        asked = [json.dumps(body["messages"]) + str(body.get("seed")) for body in server.bodies]
        assert 3 <= kept <= len(asked)
        assert len(asked) - len(set(asked)) <= 1


def test_two_endpoints(tmp_path):
    folder = annotator.folder_of(tmp_path / "clips")
    with endpoint(annotator.answer) as writer, endpoint(annotator.answer) as other:
        annotate(
            folder, tmp_path / "local",
            annotator.params(writer.url, checker=Endpoint(other.url, "checking-model")),
        )  # fmt: skip
    assert len(writer.bodies) == 1
    assert {body["model"] for body in other.bodies} == {"checking-model"}


def test_own_questions_with_their_tasks_and_clips(tmp_path):
    folder = annotator.folder_of(tmp_path / "clips", 2)
    (tmp_path / "all.txt").write_text("What is at the top?\ntemporal: When is the band seen?\n")
    (tmp_path / "one.jsonl").write_text('{"question": "What is at the top?", "clip": "clip 1.mp4"}\n')
    off = FilterParams(use=())
    with endpoint(annotator.answer) as server:
        annotate(
            folder,
            tmp_path / "a",
            annotator.params(server.url, questions=str(tmp_path / "all.txt"), filters=off),
        )
        asked = [said(body) for body in server.bodies]
        assert sum("word for word: When is the band seen?" in text for text in asked) == 2
        assert len(read_json(tmp_path / "a/STGR-SFT.json")) == 2  # the reply has no span
        annotate(
            folder,
            tmp_path / "b",
            annotator.params(server.url, questions=str(tmp_path / "one.jsonl"), filters=off),
        )
    assert [row["video_path"] for row in read_json(tmp_path / "b/STGR-SFT.json")] == ["clip 1.mp4"]


def test_an_endpoint_in_the_evidence_grammar_gets_the_clip(tmp_path):
    grammar = (
        "<think>The <obj>red band</obj><box>[0,0,1000,250]</box>at<t>1.0</t>s is at the top.</think>"
        "<answer>a red band</answer>"
    )

    def answer(body):
        return grammar if "task" in body else annotator.answer(body)

    folder, out = annotator.folder_of(tmp_path / "clips"), tmp_path / "local"
    (tmp_path / "q.txt").write_text("What is at the top?\n")
    with endpoint(answer) as server:
        annotate(
            folder, out,
            annotator.params(server.url, reply="evidence", send="clip", questions=str(tmp_path / "q.txt"),
                             filters=FilterParams(use=("boxes", "citations", "key-frames"))),
        )  # fmt: skip
    [row] = read_json(out / "STGR-SFT.json")
    assert row["key_frames"] == [{"idx": 1, "time": 1.0}]
    assert row["answer"] == "a red band"
    first, held = server.bodies
    assert (first["task"], first["messages"][0]["content"][0]["type"]) == ("temporal-spatial", "video_url")
    assert held["plain"] is True
    assert held["messages"][0]["content"][0]["type"] == "video_url"


def test_a_missing_ffmpeg_is_no_fault_of_the_clips(tmp_path, monkeypatch):
    folder = annotator.folder_of(tmp_path / "clips")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "no ffmpeg"))
    (tmp_path / "q.txt").write_text("What is at the top?\n")
    params = annotator.params(
        "http://127.0.0.1:9", reply="evidence", send="clip", questions=str(tmp_path / "q.txt")
    )
    with pytest.raises(AnnotateError, match=r"^ffmpeg cannot be started .*: the filter key-frames"):
        annotate(folder, tmp_path / "local", params)
    assert not (tmp_path / "local").exists()


def test_what_cannot_be_annotated_is_listed(tmp_path):
    folder, out = annotator.folder_of(tmp_path / "clips"), tmp_path / "local"
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "again.mp4").write_bytes((folder / "clip 0.mp4").read_bytes())
    with endpoint(annotator.answer) as server:
        annotate(folder, out, annotator.params(server.url))
    lines = {line["clip"]: line["reason"] for line in read_jsonl(out / "aside.jsonl")}
    assert lines == {"broken.mp4": "media unreadable", "clip 0.mp4": "the same content as another file"}


def test_records_of_others_are_not_overwritten(tmp_path):
    folder, out = annotator.folder_of(tmp_path / "clips"), tmp_path / "local"
    out.mkdir()
    (out / "STGR-RL.json").write_text("[]")
    with endpoint(annotator.answer) as server:
        with pytest.raises(AnnotateError, match=r"STGR-RL\.json: was not written by this command"):
            annotate(folder, out, annotator.params(server.url))
        (out / "STGR-RL.json").unlink()
        annotate(folder, out, annotator.params(server.url))
        (out / "STGR-SFT.json").write_text("[]")
        with pytest.raises(
            AnnotateError, match=r"STGR-SFT\.json: was not written by this command, or edited"
        ):
            annotate(folder, out, annotator.params(server.url))


def test_the_plan_asks_nothing(tmp_path, capsys):
    folder, out = annotator.folder_of(tmp_path / "clips", 2), tmp_path / "local"
    with endpoint(annotator.answer) as server:
        arguments = ["annotate", str(folder), "--with", server.url, "--model", "m", "-o", str(out), "--plan",
                     "--price-in", "2", "--price-out", "10", "--tasks", "temporal-spatial"]  # fmt: skip
        assert main(arguments) == 0
        assert server.bodies == []
        assert not out.exists()
        estimate = plan(folder, annotator.params(server.url, per_video=2), out / "replies.jsonl")
    shown = capsys.readouterr().out
    assert "2 videos of 0.1 minutes" in shown
    assert "cost, at most about" in shown
    requests = {name: usage.requests for name, usage in estimate.requests.items()}
    assert requests == {"annotate": 2, "second-look": 12, "key-frames": 4, "blind": 12, "grade": 16}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--reply", "evidence"], "name a file of questions"),
        (["--with", "ftp://x"], "expected an address"),
        (["--body", "[]"], "--body: expected a JSON object"),
        (["--max-cost", "1"], "max_cost needs price_in"),
        (["--questions", "none.txt"], "none.txt: No such file"),
        (["--send", "clip", "--box-space", "pixels"], "pixels are those of the frames"),
        (["--tasks", "visual"], "nothing to ask"),
        (["--max-box-area", "2"], "filters.max_box_area must be at most 1"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, capsys, more, problem):
    folder = annotator.folder_of(tmp_path / "clips")
    arguments = [
        "annotate",
        str(folder),
        "--with",
        "http://127.0.0.1:9/v1",
        "--model",
        "m",
        "-o",
        str(tmp_path / "o"),
    ]
    assert main([*arguments, *more]) == 2
    said_ = capsys.readouterr().err
    assert problem in said_
    assert said_.count("\n") == 1


def test_an_absent_or_refusing_server_ends_the_run_with_one_line(tmp_path):
    folder = annotator.folder_of(tmp_path / "clips")
    with (
        pytest.raises(AnnotateError, match="no-such-model"),
        endpoint(lambda body: (404, b'{"error": {"message": "no-such-model"}}')) as server,
    ):
        annotate(folder, tmp_path / "a", annotator.params(server.url))
    done = annotate(folder, tmp_path / "b", annotator.params("http://127.0.0.1:9/v1"))
    [line] = read_jsonl(tmp_path / "b/aside.jsonl")
    assert line["reason"] == "request not answered"
    assert summary(done)["records"] == {}


@pytest.mark.parametrize("content", [b"<html>Log in</html>", b"{}", b'{"choices": [{"message": {}}]}'])
def test_what_is_no_reply_of_a_model_is_not_kept(tmp_path, content):
    """A page of a login, say: the next run asks again."""
    folder, said_ = annotator.folder_of(tmp_path / "clips"), [content]
    with endpoint(lambda body: (200, said_.pop()) if said_ else annotator.answer(body)) as server:
        done = annotate(folder, tmp_path / "a", annotator.params(server.url))
        assert summary(done)["requests"] == {}
        [line] = read_jsonl(tmp_path / "a/aside.jsonl")
        assert line["reason"] == "request not answered"
        done = annotate(folder, tmp_path / "a", annotator.params(server.url))
    assert summary(done)["records"] == {"temporal-spatial free-form QA": 1}


def test_an_address_with_a_password_is_refused(tmp_path):
    folder = annotator.folder_of(tmp_path / "clips")
    with pytest.raises(AnnotateError, match="would be written down") as refused:
        annotate(folder, tmp_path / "a", annotator.params("http://me:hunter2@127.0.0.1:9/v1"))
    assert "hunter2" not in str(refused.value)
    assert not (tmp_path / "a").exists()


def test_a_reply_that_is_cut_off_names_the_parameter(tmp_path):
    folder = annotator.folder_of(tmp_path / "clips")
    with endpoint(lambda body: (200, completion('{"annotations": [', "length"))) as server:
        for room, asked in ((None, 1), (1024, 1), (4096, 2)):  # asked again only with more room
            annotate(folder, tmp_path / "a", annotator.params(server.url, max_tokens=room))
            assert len(server.bodies) == asked
    [line] = read_jsonl(tmp_path / "a/aside.jsonl")
    assert line["reason"] == "reply: cut off"
    assert "max_tokens, 4096" in line["detail"]


def test_images_are_asked_for_places(tmp_path):
    from PIL import Image

    folder, out = tmp_path / "clips", tmp_path / "local"
    folder.mkdir()
    Image.new("RGB", (64, 48), "teal").save(folder / "picture.png")
    claim = "<obj>cup</obj><box>[250,250,500,500]</box>"
    one = {"question": "Where is the cup?", "objects": [{"name": "cup", "box": [250, 250, 500, 500]}],
           "reasoning": f"There is a {claim}.", "answer": "cup"}  # fmt: skip
    with endpoint(lambda body: annotator.reply(one) if "response_format" in body else "yes") as server:
        annotate(folder, out, annotator.params(server.url, tasks=("temporal-spatial", "visual")))
    [row] = read_json(out / "STGR-SFT.json")
    assert row["answer"] == "<obj>cup</obj><box>[16,12,32,24]</box>"
    assert row["image_size"] == [64, 48]
    assert stgr.parse(row).reasoning == "There is a <obj>cup</obj><box>[0.25,0.25,0.5,0.5]</box>."
    assert (out / "images/picture.png").exists()
