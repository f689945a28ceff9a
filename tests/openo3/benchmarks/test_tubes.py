"""HC-STVG and VidSTG: their files, tubes read from answers, numbers by hand, and their way to frames."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks.hcstvg import HCSTVG
from openo3.benchmarks.tubes import box_at, read_tube
from openo3.benchmarks.vidstg import VIDSTG
from openo3.cli.main import main
from openo3.core.geometry import RELATIVE_1000, pixels
from openo3.files.artifacts import read_json, read_jsonl
from openo3.media.frame_store import FrameStore
from stages import download, sample_frames, validate
from tests.support.local_folder import encode_clip

HC = {
    "bbox": [[10, 0, 20, 40]] * 20,
    "st_frame": 21,
    "img_num": 200,
    "st_time": 2.02,
    "ed_time": 4.02,
    "caption": " the man turns ",
    "width": 100,
    "height": 50,
}
SENTENCES = {
    "vid": "77",
    "fps": 10,
    "frame_count": 30,
    "width": 64,
    "height": 48,
    "used_segment": {"begin_fid": 5, "end_fid": 25},
    "temporal_gt": {"begin_fid": 8, "end_fid": 14},
    "captions": [{"description": "a dog walks", "type": "object", "target_id": 1}],
    "questions": [{"description": "what walks?", "type": "object", "target_id": 0}],
}


def record(**fields) -> dict:
    """Ten frames a second; the tube is the frames 20 to 39, its box [10, 0, 30, 40] in each of them."""
    return HCSTVG.parse(HC | {"video": "1_x.mkv"} | fields)


def answer(span: str, *boxes: tuple[float, list[int]]) -> str:
    claims = "".join(f"\n<obj>man</obj><box>{box}</box>at<t>{second}</t>s" for second, box in boxes)
    return f"<think>he turns</think><answer>{span}{claims}</answer>"


def scores(*answers: str) -> list[list[float]]:
    results = [HCSTVG.result(record(), {"tube": text}, pixels((100, 50))) for text in answers]
    return [list(map(float, row.values())) for row in HCSTVG.scoring.records(results)]


def tracks(frames: int) -> dict:
    """Object 0 stands still, object 1 moves by a pixel a frame and is absent from frame 12."""
    still = {"tid": 0, "bbox": {"xmin": 0, "ymin": 0, "xmax": 32, "ymax": 24}}
    moves = [{"tid": 1, "bbox": {"xmin": f, "ymin": 4, "xmax": f + 10, "ymax": 14}} for f in range(frames)]
    return {
        "video_id": "77",
        "trajectories": [[still] if f == 12 else [still, moves[f]] for f in range(frames)],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    encode_clip(own / "vidstg/1201/77.mp4")
    encode_clip(own / "hcstvg/part/1_x.mkv")
    (own / "VidSTG/validation/1201").mkdir(parents=True)
    (own / "VidSTG/test_annotations.json").write_text(json.dumps([SENTENCES]))
    (own / "VidSTG/validation/1201/77.json").write_text(json.dumps(tracks(30)))
    (own / "HC-STVG.json").write_text(json.dumps({"1_x.mkv": HC}))
    return own


def test_a_scene_of_hcstvg_in_both_published_forms():
    first = record()
    assert first["tube"] == {"fps": 10.0, "first": 20, "boxes": [[10, 0, 30, 40]] * 20}
    assert (first["question"], first["media"]) == ("the man turns", "videos/hcstvg/1_x.mkv")
    second = record(img_size=[50, 100, 3], width=None, height=None, English="a man turns", caption="x")
    assert (second["width"], second["height"], second["question"]) == (100, 50, "a man turns")
    assert HCSTVG.check(first) == first


def test_each_sentence_of_vidstg_is_a_record_about_its_segment(folder):
    dog, what = map(VIDSTG.parse, VIDSTG.rows(folder / "VidSTG"))
    # five a second: frames 9, 11 and 13 of the video, which are 2, 3 and 4 of the segment at that rate
    assert dog["tube"] == {"fps": 5.0, "first": 2, "boxes": [[f, 4, f + 10, 14] for f in (9, 11, 13)]}
    assert what["tube"]["boxes"] == [[0, 0, 32, 24]] * 3
    assert (dog["group"], what["group"]) == ("declarative", "interrogative")
    assert (dog["segment"], dog["frames"]) == ([0.5, 2.6], "videos/vidstg/77.mp4#t=0.500,2.600")
    assert dog["id"] != what["id"]


def test_a_frame_without_a_box_counts_and_scores_0(folder):
    (folder / "VidSTG/test_annotations.json").write_text(
        json.dumps([SENTENCES | {"used_segment": {"begin_fid": 6, "end_fid": 29}}])
    )
    [dog, _] = map(VIDSTG.parse, VIDSTG.rows(folder / "VidSTG"))
    assert dog["tube"]["boxes"] == [[8, 4, 18, 14], [10, 4, 20, 14], None]
    said = answer("From 0.2 to 0.8", (0.2, [8, 4, 18, 14]), (0.4, [10, 4, 20, 14]))
    [row] = VIDSTG.scoring.records([VIDSTG.result(dog, {"tube": said}, pixels((64, 48)))])
    assert (row["m_vIoU"], row["m_tIoU"]) == (pytest.approx(2 / 3), 1.0)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"bbox": None}, Reason.FIELD_MISSING, "tube.boxes"),
        ({"bbox": [[1, 2, 3]]}, Reason.WRONG_TYPE, "bbox[0]"),
        ({"st_frame": 0}, Reason.WRONG_TYPE, "tube.first"),
        ({"img_num": 0}, Reason.WRONG_TYPE, "tube.fps"),
        ({"width": -1}, Reason.WRONG_TYPE, "width"),
        ({"caption": None}, Reason.FIELD_MISSING, "caption"),
        ({"video": "../x.mp4"}, Reason.UNSAFE_PATH, "video"),
    ],
)
def test_each_defect_has_its_reason(fields, reason, field):
    with pytest.raises(RowError) as error:
        record(**fields)
    assert (error.value.reason, error.value.field) == (reason, field)


def test_a_sentence_without_the_boxes_of_vidor_says_which_file_is_missing(folder):
    (folder / "VidSTG/validation/1201/77.json").unlink()
    with pytest.raises(RowError, match=r"VidOR's file 77\.json"):
        VIDSTG.parse(next(VIDSTG.rows(folder / "VidSTG")))


@pytest.mark.parametrize("text", ["[]", '{"trajectories": 3}', '{"trajectories": [[1]]}', "{"])
def test_boxes_of_another_form_are_one_error(folder, text):
    (folder / "VidSTG/validation/1201/77.json").write_text(text)
    with pytest.raises(AnnotationError, match=r"77\.json: "):
        list(VIDSTG.rows(folder / "VidSTG"))


@pytest.mark.parametrize(
    "said",
    [
        answer("From <t>2.0</t>s to <t>4.0</t>s", (2.0, [0, 0, 500, 500]), (3.5, [0, 0, 500, 500])),
        'From 2 to 4 seconds: {"2": [0,0,500,500], "3.5": [0,0,500,500]}',
        '```json\n{"start": 2, "end": 4, "boxes": {"2": [0,0,500,500], "3.5": [0,0,500,500]}}\n```',
        '2 s - 4 s [{"time": 2.0, "bbox_2d": [0,0,500,500]}, {"time": 3.5, "bbox_2d": [0,0,500,500]}]',
    ],
)
def test_a_tube_is_read_in_the_forms_that_models_write(said):
    box = (0.0, 0.0, 0.5, 0.5)
    assert read_tube(said, RELATIVE_1000) == ((2.0, 4.0), {"2": box, "3.5": box})


def test_a_tube_without_a_span_is_that_of_its_boxes():
    span, _ = read_tube(answer("", (2.5, [0, 0, 9, 9]), (7.0, [0, 0, 9, 9])), RELATIVE_1000)
    assert span == (2.5, 7.0)
    assert read_tube("I do not know", RELATIVE_1000) == (None, {})


def test_numbers_by_hand():
    exact, half = [10, 0, 30, 40], [10, 0, 20, 40]  # IoU 1 and 1/2
    assert scores(
        answer("From 2 to 4", (2.0, exact)),
        answer("From 3 to 5", (3.0, exact)),  # 10 of 30 frames
        answer("From 2 to 4", (2.0, half)),  # exactly 0.5 is not above it
        answer("From 2 to 8", (2.0, exact)),  # 20 of 60: too late an end costs
        answer("From 2 to 4"),  # a span alone
        answer("From 6 to 7", (6.0, exact)),
        answer("From 4 to 2", (2.0, exact)),
        "never",
    ) == [
        [1, 1, 1, 1],
        pytest.approx([1 / 3, 1, 0, 1 / 3]),
        [0.5, 1, 0, 1],
        pytest.approx([1 / 3, 1, 0, 1 / 3]),
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_boxes_are_interpolated_between_the_answered_seconds():
    moving = [(2.0, (0.0, 0.0, 10.0, 10.0)), (4.0, (10.0, 0.0, 20.0, 10.0))]
    assert box_at(moving, 1.0) == moving[0][1]
    assert box_at(moving, 3.0) == (5.0, 0.0, 15.0, 10.0)
    assert box_at(moving, 9.0) == moving[1][1]
    # [10..30] at 2 s grows to [10..50] at 4 s: frame k of 20 has the width 20 + k, so an IoU of 20 / (20 + k)
    [row] = scores(answer("From 2 to 4", (2.0, [10, 0, 30, 40]), (4.0, [10, 0, 50, 40])))
    assert row[0] == pytest.approx(sum(20 / (20 + k) for k in range(20)) / 20)


@given(st.text())
def test_any_completion_gives_a_score(text):
    [row] = scores(text)
    assert all(0 <= score <= 1 for score in row)


def test_the_command_scores_raw_completions(tmp_path, capsys):
    rows = [
        HC | {"video": "a.mp4", "completions": {"tube": answer("From 2 to 4", (2.0, [100, 0, 300, 800]))}},
        record() | {"completions": {"tube": ""}},
    ]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(rows))
    assert main(["score", "hcstvg", str(file), "--per-record"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["m_vIoU"], found["vIoU@0.5"], found["m_tIoU"], found["n"]) == (0.5, 0.5, 0.5, 2)
    assert [line["id"] for line in found["records"]] == ["a.mp4", "1_x.mkv"]


@pytest.mark.slow
def test_both_go_through_the_stages(folder, tmp_path):
    download.run(download.Params(source="local", path=str(folder)), tmp_path)
    validate.run(validate.Params(max_rejected_share=0.0), tmp_path)
    bench = tmp_path / "data/validated/bench"
    [scene], sentences = read_json(bench / "hcstvg.json"), read_json(bench / "vidstg.json")
    assert [round(each["duration_s"], 2) for each in sentences] == [2.1, 2.1]
    notes = {(note["id"], note["field"]) for note in read_jsonl(tmp_path / "data/validated/clipped.jsonl")}
    assert (scene["id"], "width") in notes
    for name in ("sft", "rl"):
        (tmp_path / f"data/validated/{name}.jsonl").touch()
    train = sample_frames.FrameSampling(1.0, 2, 4)
    params = sample_frames.Params(train=train, max_pixels=4096, side_multiple=16, shards=1, workers=1)
    sample_frames.run(params, tmp_path)
    frames = FrameStore.open(tmp_path / "data/frames/vidstg").frames(sentences[0]["frames"])
    assert frames[0].time_s == 0.0
    assert frames[-1].time_s < 2.1
    assert FrameStore.open(tmp_path / "data/frames/hcstvg").frames(scene["media"])
