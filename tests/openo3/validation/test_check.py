"""Every validation rule, on real clips: rows that break it get its reason; all others are kept."""

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openo3.annotations import stgr
from openo3.annotations.rejections import Reason
from openo3.annotations.rows import AnnotationError
from openo3.core.schema import Sample
from openo3.fetch import local
from openo3.fetch.sync import sync
from openo3.files.artifacts import read_json, read_jsonl
from openo3.validation import block, facts
from openo3.validation.check import check
from openo3.validation.media import MediaFacts, read_index
from tests.support import choice_folder, local_folder
from tests.support.local_folder import key_frame
from tests.support.misbehaving import probe_that_crashes

SFT = {row["id"]: row for row in local_folder.sft_rows()}
RL = {row["id"]: row for row in local_folder.rl_rows()}
VSTAR, TVGBENCH = local_folder.vstar_record(), local_folder.tvgbench_record()
BOX = VSTAR["bboxes"][0]


def items(*box):
    return {"key_items": {"1": {"cup": [[0.1, 0.2, 0.3, 0.4], list(box)]}}}


def thinks(text):
    return {"reasoning_process": text}


def shows(image):
    return {"key_frames": [key_frame(1, 1) | {"path": image}], "key_items": {}}


def boxed(*box):
    return {"answer": f"<obj>cup</obj><box>{list(box)}</box>"}


BROKEN_SFT = [
    ("ts", {"question": " \n"}, Reason.EMPTY_QUESTION, "question", "0 characters"),
    ("ts", thinks(None), Reason.NO_REASONING, "reasoning_process", "0 characters"),
    ("ts", thinks("  "), Reason.NO_REASONING, "reasoning_process", "0 characters"),
    ("ts", thinks("a <obj>cup"), Reason.BAD_EVIDENCE, "reasoning_process", "opened 1 times, closed 0"),
    ("ts", thinks("<box>[1,2,3]</box>"), Reason.BAD_EVIDENCE, "reasoning_process", "a <box> is not"),
    ("ts", thinks("<box>[0,0,1,nan]</box>"), Reason.BAD_EVIDENCE, "reasoning_process", "a <box> is not"),
    ("ts", thinks("at <t>soon</t>s"), Reason.BAD_EVIDENCE, "reasoning_process", "a time is not"),
    ("ts", thinks("</think><answer>x"), Reason.BAD_EVIDENCE, "reasoning_process", "holds </think>"),
    ("ts", thinks("<obj></obj>"), Reason.BAD_EVIDENCE, "reasoning_process", "an <obj> has no name"),
    ("ts", thinks("at <t>99</t>s"), Reason.EVIDENCE_TIME, "reasoning_process", "95 s after the end"),
    ("ts", thinks("<box>[0.1,0.2,1.3,0.4]</box>"), Reason.BOX_OUTSIDE, "reasoning_process", "1.3 of 0-1"),
    ("ts", thinks("<box>[0.5,0.2,0.3,0.4]</box>"), Reason.BOX_INVERTED, "reasoning_process", "side -0.2"),
    ("ts", {"key_frames": [], "key_items": {}}, Reason.NO_KEY_FRAMES, "key_frames", "0 key frames"),
    ("ts", {"key_frames": [key_frame(2, 2), key_frame(1, 1)]}, Reason.KEY_ORDER, "key_frames", "1 s after"),
    ("ts", {"key_frames": [key_frame(1, 1), key_frame(1, 2)]}, Reason.KEY_REPEATED, "key_frames", "idx 1"),
    ("ts", {"key_frames": [key_frame(1, 1)]}, Reason.KEY_UNKNOWN, "key_items", "idx 2"),
    ("ts", {"key_frames": [key_frame(1, -1), key_frame(2, 1)]}, Reason.KEY_TIME, "key_frames", "at -1 s"),
    ("ts", {"key_frames": [key_frame(1, 1), key_frame(2, 4.7)]}, Reason.KEY_TIME, "key_frames", "0.7 s"),
    ("ts", shows("no.jpg"), Reason.KEY_IMAGE_MISSING, "key_frames.path", "kfs/no.jpg: not in mine/"),
    ("ts", shows("bad.jpg"), Reason.KEY_IMAGE_UNREADABLE, "key_frames.path", "kfs/bad.jpg"),
    ("ts", items(-0.1, 0.2, 0.3, 0.4), Reason.BOX_OUTSIDE, "key_items", "lowest coordinate -0.1"),
    ("ts", items(10, 20, 30, 40), Reason.BOX_OUTSIDE, "key_items", "highest coordinate 40"),
    ("ts", items(0.5, 0.2, 0.3, 0.4), Reason.BOX_INVERTED, "key_items", "shortest side -0.2"),
    ("ts", items(0.1, 0.2, 0.1, 0.4), Reason.BOX_EMPTY, "key_items", "a side of 0"),
    ("ts", {"video_path": "gone.mp4"}, Reason.MEDIA_MISSING, "video_path", "gone.mp4: not in mine/"),
    ("ts", {"video_path": "out.mp4"}, Reason.UNSAFE_PATH, "video_path", "a link leads out"),
    ("ts", {"video_path": "empty.mp4"}, Reason.MEDIA_UNREADABLE, "video_path", "empty"),
    ("ts", {"video_path": "page.mp4"}, Reason.MEDIA_UNREADABLE, "video_path", "page.mp4"),
    ("ts", {"video_path": "still.mp4"}, Reason.MEDIA_UNREADABLE, "video_path", "found: image"),
    ("when", {"answer": "[2.0, 2.0]"}, Reason.SPAN_EMPTY, "answer", "lasts 0 s"),
    ("when", {"answer": "[2.0, 9.0]"}, Reason.SPAN_TIME, "answer", "5 s after the end"),
    ("choice", {"answer": "blue"}, Reason.BAD_ANSWER, "answer", "'blue' is no capital letter"),
    ("choice", {"answer": "C"}, Reason.UNKNOWN_OPTION, "answer", "C, of AB"),
    ("image", boxed(0, 12, 65, 24), Reason.BOX_OUTSIDE, "answer", "1.01562"),
    ("image", boxed(32, 12, 16, 24), Reason.BOX_INVERTED, "answer", "-0.25"),
    ("image", boxed(0.25, 0.25, 0.5, 0.5), Reason.BOX_SPACE, "answer", "0.5 pixels"),
    ("image", {"answer": "<box>[1,2,3,4]</box><box>[1]</box>"}, Reason.BAD_EVIDENCE, "answer", "a <box>"),
    ("image", {"image_path": "gone.jpg"}, Reason.MEDIA_MISSING, "image_path", "gone.jpg"),
    ("free", {"task": "poetry"}, Reason.UNKNOWN_TASK, "task", '"poetry"'),
    ("free", {"video_path": "../x.mp4"}, Reason.UNSAFE_PATH, "video_path", "climbs out"),
    ("choice", {"question": "Which?", "options": ["blue", "red"]}, Reason.UNKNOWN_OPTION, "options", "it"),
    ("image", {"image_size": [48, 64]}, Reason.BOX_SPACE, "size", "annotated 48x64"),
    ("image", {"image_size": [999, 999], "answer": "<box>[0,0,9,9]</box>"}, Reason.BOX_SPACE, "size", "x48"),
    ("free", {"video_path": "/".join(["d" * 99] * 12) + ".mp4"}, Reason.UNSAFE_PATH, "video_path", ""),
    ("free", {"id": "ts"}, Reason.DUPLICATE_ID, "id", "the id of row 0"),
]  # fmt: skip

NESTED: list = []
for _ in range(300):
    NESTED = [NESTED]

BROKEN_VSTAR = [
    ({"spatial_question": " "}, Reason.EMPTY_QUESTION, "question"),
    ({"answer": ""}, Reason.EMPTY_ANSWER, "answer"),
    ({"vid": "gone"}, Reason.MEDIA_MISSING, "vid"),
    ({"width": "64"}, Reason.WRONG_TYPE, "width"),
    ({"note": 2**70}, Reason.WRONG_TYPE, "row"),
    ({"note": "\ud800"}, Reason.WRONG_TYPE, "row"),
    ({"note": NESTED}, Reason.WRONG_TYPE, "row"),
]
BROKEN_TVGBENCH = [
    ({"answer": "soon"}, Reason.BAD_ANSWER, "answer"),
    ({"question": ""}, Reason.EMPTY_QUESTION, "question"),
    ({"path": "gone.mp4"}, Reason.MEDIA_MISSING, "path"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Download and validate all good rows followed by the broken ones."""
    root = tmp_path_factory.mktemp("validation")
    folder = local_folder.write(root / "mine")
    sft = list(SFT.values())
    sft += [{**SFT[row], "id": f"{row} {k}", **fields} for k, (row, fields, *_) in enumerate(BROKEN_SFT)]
    local_folder.annotate(folder, "STGR-SFT.json", sft)
    local_folder.annotate(folder, "STGR-RL.json", [*RL.values(), RL["ts"], RL["choice"] | {"answer": "?"}])
    local_folder.annotate(folder, "V_STaR_test.json", [VSTAR, VSTAR] + [VSTAR | b[0] for b in BROKEN_VSTAR])
    local_folder.annotate(folder, "TVGBench.json", [TVGBENCH] + [TVGBENCH | b[0] for b in BROKEN_TVGBENCH])
    (folder / "videos/empty.mp4").touch()
    (folder / "videos/page.mp4").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "videos/still.mp4").write_bytes((folder / "kfs/k1.jpg").read_bytes())
    (folder / "kfs/bad.jpg").write_bytes((folder / "kfs/k1.jpg").read_bytes()[:20])
    (root / "secret.mp4").write_bytes((folder / "videos" / local_folder.CLIP).read_bytes())
    (folder / "videos/out.mp4").symlink_to(root / "secret.mp4")
    sync(local.plan(folder), root / "raw", root / "known")
    (root / "spool").mkdir()
    index = read_index(root / "raw", root / "media.jsonl")
    validation = check(root / "raw/annotations", index, root / "spool", time_tolerance_s=0.5)
    validation.write(root / "validated")
    return root


def rejected(root: Path, file: str) -> list[dict]:
    return [line for line in read_jsonl(root / "validated/rejected.jsonl") if line["file"] == file]


def test_each_broken_row_has_its_reason_field_and_detail(root):
    found = rejected(root, "STGR-SFT.json")
    assert [line["row"] for line in found] == list(range(len(SFT), len(SFT) + len(BROKEN_SFT)))
    for line, (row, fields, reason, field, detail) in zip(found, BROKEN_SFT, strict=True):
        assert (line["reason"], line["field"]) == (reason, field), (row, fields, line)
        assert detail in line["detail"]
        assert line["source"] == "local"
        assert line["task"] == fields.get("task", SFT[row]["task"])


@pytest.mark.parametrize(
    ("file", "good", "broken"),
    [("V_STaR_test.json", 2, BROKEN_VSTAR), ("TVGBench.json", 1, BROKEN_TVGBENCH)],
)
def test_each_broken_record_of_a_benchmark_has_its_reason(root, file, good, broken):
    found = rejected(root, file)
    assert [line["row"] for line in found] == list(range(good, good + len(broken)))
    for line, (fields, reason, field) in zip(found, broken, strict=True):
        assert (line["reason"], line["field"]) == (reason, field), (fields, line)


def test_the_first_of_two_rows_with_the_same_id_is_kept(root):
    duplicate, letter = rejected(root, "STGR-RL.json")
    assert (duplicate["row"], duplicate["reason"], duplicate["detail"]) == (
        6,
        "duplicate id",
        "the id of row 0",
    )
    assert (letter["row"], letter["reason"]) == (7, "duplicate id")


def test_good_rows_become_samples_with_length_and_size(root):
    sft = [Sample.from_json(line) for line in read_jsonl(root / "validated/sft.jsonl")]
    rl = [Sample.from_json(line) for line in read_jsonl(root / "validated/rl.jsonl")]
    assert [sample.id for sample in sft] == list(SFT)
    assert [sample.id for sample in rl] == list(RL)
    for sample in sft + rl:
        assert sample.size == local_folder.SIZE
        assert sample.duration_s == (None if sample.is_image else local_folder.DURATION_S)
        assert (root / "raw/media" / sample.media).is_file()
    assert all(sample.reasoning for sample in sft)
    assert not any(sample.reasoning for sample in rl)


def test_good_benchmark_records_are_unchanged(root):
    media = {"media": "videos/vstar/v 1.mp4", "duration_s": 4.0}
    assert read_json(root / "validated/bench/vstar.json") == [VSTAR | media] * 2
    [record] = read_json(root / "validated/bench/tvgbench.json")
    assert record == TVGBENCH | {"media": "videos/tvgbench/charades/t1.mp4", "duration_s": 4.0}


# changes of a record, the clipped values, and the note about them
FITTED_VSTAR = [
    ({"bboxes": [BOX | {"xmax": 65}]}, {"bboxes": [BOX | {"xmax": 64}]}, "bboxes[0]", "clipped to [4"),
    ({"bboxes": [BOX, BOX | {"ymax": 6}]}, {}, "bboxes[1]", "has no area, kept"),
    ({"bboxes": [BOX | {"timestamp": 9}]}, {}, "bboxes[0]", "after the end of the video"),
    ({"timestamps": [2.0, 2.0]}, {}, "timestamps", "a point at 2 s"),
    ({"timestamps": [3.0, 1.0]}, {"timestamps": [3.0, 3.0]}, "timestamps", "3-1 s clipped to 3-3 s"),
    ({"timestamps": [-1.0, 1.0]}, {"timestamps": [0.0, 1.0]}, "timestamps", "clipped to 0-1 s"),
    ({"timestamps": [1.0, 5.0]}, {"timestamps": [1.0, 4.0]}, "timestamps", "the media lasts 4 s"),
    ({"bboxes": []}, {}, "bboxes", "there are none"),
    ({"width": 128}, {}, "width", "annotated 128 x 48, the video is 64 x 48"),
]
SEGMENT = {"start": 1.0, "end": 3.0, "duration": 2.0}
FITTED_TVGBENCH = [
    ({"answer": "1.0-9.0"}, {"answer": "1.0-4.0"}, "answer", "clipped to 1-4 s"),
    ({"answer": "2-1"}, {"answer": "2.0-2.0"}, "answer", "clipped to 2-2 s"),
    ({"answer": "2-2"}, {"answer": "2.0-2.0"}, "answer", "a point"),
    ({**SEGMENT, "answer": "1.0-3.5"}, {"answer": "1.0-2.0"}, "answer", "the media lasts 2 s"),
]


@pytest.mark.parametrize(
    ("name", "good", "changes"),
    [("vstar", VSTAR, FITTED_VSTAR), ("tvgbench", TVGBENCH, FITTED_TVGBENCH)],
)
def test_out_of_range_annotations_of_a_record_are_clipped_and_the_record_is_kept(
    name, good, changes, tmp_path
):
    folder = local_folder.write(tmp_path / "mine")
    file = {"vstar": "V_STaR_test.json", "tvgbench": "TVGBench.json"}[name]
    local_folder.annotate(folder, file, [good, *(good | change for change, *_ in changes)])
    sync(local.plan(folder), tmp_path / "raw", tmp_path / "known")
    (tmp_path / "spool").mkdir()
    index = read_index(tmp_path / "raw", tmp_path / "media.jsonl")
    validation = check(tmp_path / "raw/annotations", index, tmp_path / "spool", time_tolerance_s=0.5)
    validation.write(tmp_path / "validated")
    kept = read_json(tmp_path / f"validated/bench/{name}.json")
    assert len(kept) == 1 + len(changes), list(validation.rejections())
    notes = list(read_jsonl(tmp_path / "validated/clipped.jsonl"))
    assert [note["row"] for note in notes] == list(range(1, len(kept)))
    for record, note, (change, clipped, field, detail) in zip(kept[1:], notes, changes, strict=True):
        assert {key: record[key] for key in change} == change | clipped
        assert (note["file"], note["field"]) == (file, field)
        assert detail in note["detail"]
    assert validation.metrics()["clipped"] == {name: len(changes)}


def test_an_answer_must_be_one_of_the_options(tmp_path):
    folder = choice_folder.write(tmp_path / "mine")
    good = choice_folder.videomme_record()
    changes = ({}, {"answer": "E"}, {"answer": "a door"}, {"answer": " "}, {"videoID": "gone"})
    rows = [good | change for change in changes]
    pq.write_table(pa.Table.from_pylist(rows), folder / "Video-MME.parquet")
    sync(local.plan(folder), tmp_path / "raw", tmp_path / "known")
    (tmp_path / "spool").mkdir()
    index = read_index(tmp_path / "raw", tmp_path / "media.jsonl")
    validation = check(tmp_path / "raw/annotations", index, tmp_path / "spool", 0.5)
    validation.write(tmp_path / "validated")
    broken = [(r.row, r.reason, r.field) for r in validation.rejections() if r.source == "videomme"]
    assert broken == [
        (1, Reason.UNKNOWN_OPTION, "answer"),
        (2, Reason.BAD_ANSWER, "answer"),
        (3, Reason.EMPTY_ANSWER, "answer"),
        (4, Reason.MEDIA_MISSING, "videoID"),
    ]
    assert [r["id"] for r in read_json(tmp_path / "validated/bench/videomme.json")] == ["001-1"]
    assert len(read_json(tmp_path / "validated/bench/worldsense.json")) == 2
    groups = [r["group"] for r in read_json(tmp_path / "validated/bench/videommmu.json")]
    assert groups == ["Adaptation"] * 3 + ["Comprehension", "Perception"]


def test_media_facts_are_cached_by_digest(root, tmp_path, monkeypatch):
    def never(path, time_limit_s):
        raise AssertionError(f"{path} is inspected again")

    index = read_index(root / "raw", root / "media.jsonl")
    monkeypatch.setattr("openo3.validation.media.probe", never)
    index.inspect([f"videos/local/videos/{local_folder.CLIP}", "videos/vstar/v 1.mp4"], threads=1)
    assert index["videos/vstar/v 1.mp4"].duration_s == 4.0


def test_a_file_that_crashes_the_demuxer_costs_only_itself(root, tmp_path, monkeypatch):
    monkeypatch.setattr("openo3.validation.media.probe", probe_that_crashes)
    index = read_index(root / "raw", tmp_path / "none.jsonl")
    index.inspect(["videos/vstar/v 1.mp4"], threads=1)
    facts = index["videos/vstar/v 1.mp4"]
    assert (facts.problem, facts.detail) == (
        "unreadable",
        "videos/vstar/v 1.mp4: decoder crashed: SIGABRT",
    )


def test_only_links_into_the_dvc_cache_are_trusted(root, tmp_path):
    raw, cache = tmp_path / "raw", tmp_path / "cache"
    clip = "videos/vstar/v 1.mp4"
    cache.mkdir()
    (raw / "media/videos/vstar").mkdir(parents=True)
    os.link(root / "raw/media" / clip, cache / "0a1b")
    (raw / "media" / clip).symlink_to(cache / "0a1b")
    for trusted, problem in ((tuple, "unsafe"), (lambda: [cache], None)):
        index = read_index(raw, tmp_path / "media.jsonl", trusted)
        index.inspect([clip], threads=1)
        assert index[clip].problem == problem


def test_missing_and_truncated_annotations_are_errors(tmp_path):
    index = read_index(tmp_path, tmp_path / "media.jsonl")
    with pytest.raises(AnnotationError, match="contains no annotation file"):
        check(tmp_path, index, tmp_path, 0.5)
    (tmp_path / "STGR-RL.json").write_text(json.dumps([RL["ts"]])[:-9])
    with pytest.raises(AnnotationError, match=r"STGR-RL\.json: row 0, byte \d+: the file is cut off"):
        check(tmp_path, index, tmp_path, 0.5)


@pytest.mark.parametrize("content", ["[]", "[1, null, []]"])
def test_a_file_without_any_readable_row_gives_an_empty_output(tmp_path, content):
    (tmp_path / "STGR-SFT.json").write_text(content)
    (tmp_path / "spool").mkdir()
    index = read_index(tmp_path, tmp_path / "media.jsonl")
    validation = check(tmp_path, index, tmp_path / "spool", 0.5)
    validation.write(tmp_path / "validated")
    assert (tmp_path / "validated/sft.jsonl").read_text() == ""
    count = len(json.loads(content))
    assert validation.metrics()["files"]["sft"]["rejected"] == count
    assert validation.metrics()["reasons"] == ({"row is not an object": count} if count else {})


def test_a_wrong_annotated_length_is_a_warning(tmp_path):
    folder = local_folder.write(tmp_path / "mine")
    local_folder.annotate(folder, "V_STaR_test.json", [VSTAR, VSTAR | {"frame_count": 900}])
    sync(local.plan(folder), tmp_path / "raw", tmp_path / "known")
    (tmp_path / "spool").mkdir()
    index = read_index(tmp_path / "raw", tmp_path / "media.jsonl")
    validation = check(tmp_path / "raw/annotations", index, tmp_path / "spool", 0.5)
    assert validation.warnings == {"vstar: annotated frame_count and fps disagree with the file's length": 1}
    assert not validation.rejected["vstar"]
    assert validation.measured["vstar"]["length of the video in seconds"] == (4.0, 4.0, 4.0)


def test_many_key_frames_take_linear_time(tmp_path):
    frames = [key_frame(idx, 1 + idx * 1e-6) for idx in range(50_000)]
    sample = stgr.parse(SFT["ts"] | {"key_frames": frames, "key_items": {}})
    started = time.monotonic()
    assert facts.of_sample(sample, supervised=True)["key_frames.repeated"] is None
    assert time.monotonic() - started < 2


def test_a_scaled_copy_has_the_right_shape_for_its_boxes():
    assert block._mismatch((1280, 720), MediaFacts("video", 4.0, (640, 360))) is None
    assert block._mismatch((1279, 720), MediaFacts("video", 4.0, (426, 240))) is None
    assert "turned by its rotation" in block._mismatch((1280, 720), MediaFacts("video", 4.0, (720, 1280)))


def test_fields_that_a_format_does_not_need_may_be_of_any_type(tmp_path):
    folder = local_folder.write(tmp_path / "mine")
    loose = {"width": "64", "height": [1], "fps": "30", "frame_count": {}, "size": "large"}
    local_folder.annotate(folder, "TVGBench.json", [TVGBENCH | loose])
    sync(local.plan(folder), tmp_path / "raw", tmp_path / "known")
    (tmp_path / "spool").mkdir()
    index = read_index(tmp_path / "raw", tmp_path / "media.jsonl")
    validation = check(tmp_path / "raw/annotations", index, tmp_path / "spool", 0.5)
    assert validation.rejected["tvgbench"] == {}
