"""Real clips with annotations of every tool: what is read, what comes back, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from openo3.annotations import stgr
from openo3.cli.main import main
from openo3.conversion import FORMATS, MediaFolder, via
from openo3.conversion import media as media_module
from openo3.conversion.records import Wanted, place_in_words, rows
from openo3.conversion.tracks import Key
from openo3.core.geometry import box_iou
from openo3.core.schema import Task
from openo3.media.isolated import Processes
from tests.support.clips import clip, ffmpeg
from tests.support.mutations import mutants
from tools import my_videos

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples/annotations"
MEDIA = ROOT / "examples/my-videos"
SCENES = {scene.name: scene for scene in (my_videos.KITCHEN, my_videos.STREET, my_videos.DESK)}


@pytest.fixture(scope="module", autouse=True)
def _one_process() -> Iterator[None]:
    """All folders open their files in one process, as starting it takes most of a test's time."""
    shared = Processes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media_module, "Processes", lambda: shared)
        patch.setattr(MediaFolder, "__exit__", lambda *_: None)
        yield
    shared.stop()


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "v.mp4")


def convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def converted(tmp_path: Path, file: Path, source: str, *more: object) -> list[dict]:
    """The records of an example, each of which the reader of STGR files accepts."""
    out = tmp_path / "records.json"
    assert convert(file, "--from", source, "--media", MEDIA, "-o", out, *more) == 0
    found = json.loads(out.read_text())
    for row in found:
        if row["question"] and row["answer"]:
            stgr.parse(row)
    return found


def assert_true(row: dict, least: float = 0.85) -> None:
    """The boxes of a record's key frames are where the objects are."""
    scene, counted = SCENES[Path(row["video_path"]).stem], 0
    times = {str(frame["idx"]): frame["time"] for frame in row["key_frames"]}
    for idx, objects in row["key_items"].items():
        for name, boxes in objects.items():
            thing = next(thing for thing in scene.things if thing.name == name)
            for box in boxes:
                assert box_iou(tuple(box), tuple(thing.normalised(times[idx]))) > least, (name, times[idx])
                counted += 1
    assert counted


def cvat_box(frame: object = 0, box: tuple[object, ...] = (0, 0, 9, 9), **more: object) -> str:
    sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True))
    attributes = {"frame": frame, "outside": 0, "keyframe": 1, **more, **sides}
    written = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<box {written}/>"


def cvat(*boxes: str, label: str = "cup", video: str = "v.mp4") -> str:
    meta = f"<meta><task><source>{video}</source></task></meta>"
    return f'<annotations>{meta}<track id="3" label="{label}">{"".join(boxes)}</track></annotations>'


QUESTION = ("--question", "Where is the {object}?")


def test_cvat_tracks_become_records(tmp_path, capsys):
    found = converted(tmp_path, EXAMPLES / "cvat.xml", "cvat", *QUESTION)
    assert [row["id"] for row in found] == ["street-yellow-car", "street-red-bus"]
    assert [row["question"] for row in found] == ["Where is the yellow car?", "Where is the red bus?"]
    assert found[0]["answer"] == "from the lower right to the lower left"
    assert [frame["time"] for frame in found[0]["key_frames"]] == [1.2, 1.8, 2.4, 3.0]
    assert [frame["time"] for frame in found[1]["key_frames"]] == [3.4, 4.0, 4.6]
    for row in found:
        assert_true(row, 0.97)
    said = capsys.readouterr().out
    assert "wrote" in said
    assert "2 records of 1 files (2 temporal-spatial free-form QA)" in said
    assert "note: 2 records without reasoning" in said


def test_moments_in_between_are_those_of_the_tool(tmp_path):
    """The export has every fifth frame; the others are on the straight line that CVAT draws."""
    [row, _] = converted(tmp_path, EXAMPLES / "cvat.xml", "cvat", *QUESTION, "--every", 0.12, "--most", 99)
    times = [frame["time"] for frame in row["key_frames"]]
    assert times[:4] == [1.2, 1.32, 1.44, 1.56]
    box = {time: row["key_items"][str(n)]["yellow car"][0] for n, time in enumerate(times, start=1)}
    halfway = [(a + b) / 2 for a, b in zip(box[1.2], box[1.8], strict=True)]
    assert box[1.56] == pytest.approx(
        [a + (b - a) * 9 / 15 for a, b in zip(box[1.2], box[1.8], strict=True)], abs=1e-4
    )
    assert halfway[0] < box[1.2][0]


def test_an_object_that_left_has_no_box(tmp_path):
    [row, _] = converted(tmp_path, EXAMPLES / "cvat.xml", "cvat", *QUESTION, "--every", 1, "--most", 99)
    assert max(frame["time"] for frame in row["key_frames"]) <= 3.0  # it is outside from frame 76 on


def test_spans_of_tracks_become_temporal_records(tmp_path):
    found = converted(tmp_path, EXAMPLES / "cvat.xml", "cvat", "--task", "temporal", "--reasoning")
    assert found[0]["question"] == "When is the yellow car in view?"
    assert found[0]["answer"] == "From <t>1.2</t>s to <t>3.04</t>s"
    assert "<t>3.04</t>s" in found[0]["reasoning_process"]
    assert found[0]["key_frames"] == []


def test_coco_videos_become_records(tmp_path):
    found = converted(tmp_path, EXAMPLES / "coco-video.json", "coco-video", *QUESTION, "--reasoning")
    assert [row["id"] for row in found] == ["kitchen-orange", "kitchen-blue-jug", "street-yellow-car"]
    for row in found:
        assert_true(row, 0.98)
    orange = found[0]
    assert [frame["time"] for frame in orange["key_frames"]] == [2.0, 3.0, 4.0, 5.0]
    assert orange["reasoning_process"].startswith("The <obj>orange</obj><box>[")
    assert found[1]["answer"] == "in the middle right"


def test_label_studio_tasks_become_records(tmp_path):
    found = converted(tmp_path, EXAMPLES / "label-studio.json", "label-studio")
    rolling, mug = found
    assert (rolling["question"], rolling["answer"]) == ("What rolls onto the table?", "an orange")
    assert (rolling["video_path"], rolling["task"]) == ("kitchen.mp4", "temporal-spatial free-form QA")
    assert [frame["time"] for frame in rolling["key_frames"]] == [1.52, 2.0, 3.0, 4.0, 5.96]
    assert_true(rolling, 0.98)
    assert (mug["task"], mug["question"], mug["image_size"]) == ("visual QA", "Where is the mug?", [320, 180])
    assert mug["image_path"] == "desk.jpg"
    assert mug["answer"] == "<obj>mug</obj><box>[212,42,264,86]</box>"


def test_via_2_images_become_records(tmp_path):
    found = converted(tmp_path, EXAMPLES / "via-2.json", "via")
    assert {row["id"]: row["answer"] for row in found} == {
        "desk-mug": "<obj>mug</obj><box>[212,42,264,86]</box>",
        "desk-notebook": "<obj>notebook</obj><box>[36,26,146,160]</box>",
        "desk-phone": "<obj>phone</obj><box>[208,102,242,166]</box>",
    }


def test_via_3_regions_and_segments_become_records(tmp_path, capsys):
    found = converted(tmp_path, EXAMPLES / "via-3.json", "via", *QUESTION)
    assert {row["id"]: [frame["time"] for frame in row["key_frames"]] for row in found} == {
        "desk-mug": [1.6, 2.4, 4.0],
        "desk-phone": [4.0, 5.2],
    }
    for row in found:
        assert_true(row, 0.98)
    assert "note: 1 parts of videos without a box: --task temporal" in capsys.readouterr().out
    (tmp_path / "records.json").unlink()
    asked = converted(
        tmp_path, EXAMPLES / "via-3.json", "via", "--task", "temporal", "--question", "When is the {object}?"
    )
    assert ("When is the phone pushed in?", "From <t>3.2</t>s to <t>4.6</t>s") in {
        (row["question"], row["answer"]) for row in asked
    }


def test_tracks_without_questions_are_written_and_said_to_be_without(tmp_path, capsys):
    found = converted(tmp_path, EXAMPLES / "cvat.xml", "cvat")
    assert [(row["question"], row["answer"]) for row in found] == [("", ""), ("", "")]
    assert (
        "note: 2 records without a question or an answer, which `validate` rejects" in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["STGR-SFT.json", "STGR-RL.json"])
def test_label_studio_gives_back_every_record_as_it_was(tmp_path, name):
    """Word for word, with the videos and the images, which are in a file of their own."""
    before = json.loads((MEDIA / name).read_text())
    tasks = tmp_path / "tasks.json"
    assert convert(MEDIA / name, "--from", "stgr", "--to", "label-studio", "-o", tasks) == 0
    back = []
    for file in (tasks, tmp_path / "tasks-images.json"):
        (tmp_path / "records.json").unlink(missing_ok=True)
        back += converted(tmp_path, file, "label-studio")
    assert sorted(back, key=lambda row: row["id"]) == sorted(before, key=lambda row: row["id"])


def edited(tmp_path: Path, edit) -> dict:
    """The first record of the example after somebody edited its task in Label Studio."""
    tasks = tmp_path / "tasks.json"
    assert convert(MEDIA / "STGR-SFT.json", "--from", "stgr", "--to", "label-studio", "-o", tasks) == 0
    [task, *_] = json.loads(tasks.read_text())
    results = {result["from_name"]: result for result in task["annotations"][0]["result"]}
    edit(results, task)
    tasks.write_text(json.dumps([task]))
    [row] = converted(tmp_path, tasks, "label-studio")
    return row


def test_what_people_edit_in_label_studio_comes_back(tmp_path):
    before = json.loads((MEDIA / "STGR-SFT.json").read_text())[0]

    def edit(results, task):
        first, second = results["box"]["value"]["sequence"]
        first |= {"x": 50.0, "width": 10.0}
        results["box"]["value"]["sequence"] = [first, second | {"frame": 76, "time": 76 / 25}, second]
        results["question"]["value"]["text"] = ["What comes rolling?"]

    row = edited(tmp_path, edit)
    assert row["question"] == "What comes rolling?"
    assert row["reasoning_process"] == before["reasoning_process"]
    assert [frame["time"] for frame in row["key_frames"]] == [2.0, 3.0, 4.0]
    assert [frame["idx"] for frame in row["key_frames"]] == [1, 3, 2]  # what was there keeps its idx
    assert row["key_items"]["1"]["orange"][0][::2] == [0.5, 0.6]
    assert row["key_items"]["2"] == before["key_items"]["2"]


def test_a_deleted_box_takes_its_key_frame_with_it(tmp_path):
    def edit(results, task):
        results["box"]["value"]["sequence"].pop()

    row = edited(tmp_path, edit)
    assert [frame["time"] for frame in row["key_frames"]] == [2.0]
    assert list(row["key_items"]) == ["1"]


def test_frames_that_label_studio_counted_at_another_rate_are_times(tmp_path):
    """At the 24 frames a second that it assumes, its frame 61 is at 2.5 s."""

    def edit(results, task):
        value = results["box"]["value"]
        value["framesCount"] = 144
        value["sequence"] = [value["sequence"][0] | {"frame": 61, "time": 61 / 24}]

    row = edited(tmp_path, edit)
    assert [frame["time"] for frame in row["key_frames"]] == [2.48]  # the frame on the screen at 2.5 s


@pytest.mark.parametrize(("format", "suffix"), [("coco-video", "json"), ("cvat", "xml")])
def test_boxes_and_times_survive_the_way_there_and_back(tmp_path, capsys, format, suffix):
    before = [row for row in json.loads((MEDIA / "STGR-SFT.json").read_text()) if row["key_items"]]
    (tmp_path / "STGR-SFT.json").write_text(json.dumps(before))
    out = tmp_path / f"out.{suffix}" if format == "coco-video" else tmp_path / "out"
    source = tmp_path / "STGR-SFT.json"
    assert convert(source, "--from", "stgr", "--to", format, "--media", MEDIA, "-o", out) == 0
    assert "2 records whose question, answer, reasoning_process" in capsys.readouterr().out
    back: dict[tuple[str, str], dict[float, list]] = {}
    for file in [out] if out.is_file() else sorted(out.iterdir()):
        (tmp_path / "records.json").unlink(missing_ok=True)
        for row in converted(tmp_path, file, format):
            for frame in row["key_frames"]:
                for name, boxes in row["key_items"][str(frame["idx"])].items():
                    back.setdefault((Path(row["video_path"]).stem, name), {})[frame["time"]] = boxes
    expected: dict[tuple[str, str], dict[float, list]] = {}
    for row in before:
        for frame in row["key_frames"]:
            for name, boxes in row["key_items"][str(frame["idx"])].items():
                expected.setdefault((Path(row["video_path"]).stem, name), {})[frame["time"]] = boxes
    assert back.keys() == expected.keys()
    for one, times in expected.items():
        assert back[one].keys() == times.keys()
        for time_s, boxes in times.items():
            assert back[one][time_s] == [pytest.approx(box, abs=2e-6) for box in boxes]


def test_frames_are_timed_by_the_video_and_not_by_its_rate(tmp_path):
    """The second half of this clip runs at half the speed."""
    steady = clip(tmp_path / "steady.mp4", count=20, fps=10)
    ffmpeg(
        "-i",
        steady,
        "-vf",
        "setpts='if(lt(N,10),N/10,1+(N-10)/5)/TB'",
        "-fps_mode",
        "vfr",
        tmp_path / "v.mp4",
    )
    (tmp_path / "a.xml").write_text(cvat(*(cvat_box(frame, (0, 0, 32, 24)) for frame in (5, 15))))
    with MediaFolder(tmp_path) as media:
        [found] = FORMATS["cvat"].read(tmp_path / "a.xml", media, Counter())
    assert [key.time_s for key in found.tracks[0].keys] == pytest.approx([0.5, 2.0], abs=1e-3)
    assert found.tracks[0].keys[0].box == (0, 0, 0.5, 0.5)


def test_youtube_vis_lists_of_boxes_are_read(tmp_path):
    shutil.copyfile(MEDIA / "videos/kitchen.mp4", tmp_path / "k1.mp4")
    data = {
        "videos": [
            {"id": 1, "width": 640, "height": 360, "file_names": [f"k1/{n:05d}.jpg" for n in (0, 5, 10, 15)]}
        ],
        "annotations": [
            {
                "id": 9,
                "video_id": 1,
                "category_id": 4,
                "bboxes": [None, [64, 36, 64, 36], [96, 36, 64, 36], None],
            }
        ],
        "categories": [{"id": 4, "name": "dog"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    with MediaFolder(tmp_path) as media:
        [found] = FORMATS["coco-video"].read(tmp_path / "a.json", media, Counter())
    [track] = found.tracks
    assert [(key.frame, key.time_s, key.continues) for key in track.keys] == [
        (5, 0.2, True),
        (10, 0.4, False),
    ]
    assert track.keys[0].box == (0.1, 0.1, 0.2, 0.2)  # pixels of the size that the file states
    assert track.at(7) == pytest.approx((0.12, 0.1, 0.22, 0.2))
    assert track.at(11) is None


def test_a_rate_stands_in_for_a_video_that_is_not_there(tmp_path):
    out = tmp_path / "records.json"
    shutil.copyfile(EXAMPLES / "cvat.xml", tmp_path / "cvat.xml")
    assert convert(tmp_path / "cvat.xml", "--from", "cvat", "--fps", 50, "-o", out) == 0
    [car, _] = json.loads(out.read_text())
    assert [frame["time"] for frame in car["key_frames"]] == [0.6, 0.9, 1.2, 1.5]
    assert car["video_path"] == "street.mp4"


def test_turned_boxes_become_the_upright_ones_around_them(tmp_path, short_clip):
    shutil.copyfile(short_clip, tmp_path / "v.mp4")
    (tmp_path / "a.xml").write_text(cvat(cvat_box(0, (20, 20, 40, 28), rotation=90)))
    with MediaFolder(tmp_path) as media:
        [found] = FORMATS["cvat"].read(tmp_path / "a.xml", media, Counter())
    x1, y1, x2, y2 = found.tracks[0].keys[0].box
    assert (x1 * 64, y1 * 48, x2 * 64, y2 * 48) == pytest.approx((26, 14, 34, 34), abs=1e-3)


def test_boxes_outside_the_frame_are_clipped_or_left_out_and_counted(tmp_path, capsys, short_clip):
    shutil.copyfile(short_clip, tmp_path / "v.mp4")
    boxes = [(-10, 0, 32, 24), (70, 0, 90, 24), (0, 0, 8, 8)]
    (tmp_path / "a.xml").write_text(cvat(*(cvat_box(frame, box) for frame, box in enumerate(boxes))))
    assert convert(tmp_path / "a.xml", "--from", "cvat", "-o", tmp_path / "out.json") == 0
    said = capsys.readouterr().out
    assert "note: 1 boxes clipped to the frame" in said
    assert "note: 1 boxes without area in the frame, left out" in said
    [row] = json.loads((tmp_path / "out.json").read_text())
    assert len(row["key_frames"]) == 2


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>
<annotations><track label="&y;"/></annotations>"""


def coco(**parts: object) -> str:
    return json.dumps({"annotations": [], "categories": [], **parts})


def studio(*values: dict, **data: object) -> str:
    results = [{"type": "videorectangle", "value": value} for value in values]
    return json.dumps([{"data": {"video": "v.mp4", **data}, "annotations": [{"result": results}]}])


@pytest.mark.parametrize(
    ("format", "text", "said"),
    [
        ("cvat", BOMB, "a: has a DTD or entities, which CVAT never writes; it is not read"),
        ("cvat", "<annotations>", "a: not well-formed XML: no element found: line 1, column 13"),
        ("cvat", "<svg/>", "a: not CVAT's XML, it begins with <svg>"),
        ("cvat", '<annotations><image id="0"/></annotations>', "a: is CVAT for images; export the task as"),
        ("cvat", "<annotations>" + "<b>" * 99, "a: elements are nested 61 deep"),
        ("cvat", cvat(cvat_box(60)), "a: track 3: box 0: frame: key frame outside the video (frame 60 of 60"),
        ("cvat", cvat(cvat_box(-1)), "a: track 3: box 0: frame: key frame outside the video (frame -1 of 60"),
        ("cvat", cvat(cvat_box(0, ("nan", 0, 9, 9))),
         'a: track 3: box 0: xtl: wrong type (expected a number, found "nan")'),
        ("cvat", cvat(label="a&lt;b"), "a: track 3: label: wrong type"),
        ("cvat", cvat(cvat_box(), video="w.mp4"), "w.mp4: not in . so the times of its frames cannot be"),
        ("coco-video", '{"sequences": []}', "a: BURST's form has masks and no boxes"),
        ("coco-video", "[]", "a: not COCO, which is an object with annotations and categories"),
        ("coco-video", coco(annotations=[{"image_id": 1, "category_id": 2}]),
         "a: annotations[0]: category_id: wrong type (no category 2)"),
        ("coco-video", coco(annotations=5), "a: annotations: wrong type (expected a list, found 5)"),
        ("coco-video", coco(images=[{"id": 1, "video_id": []}]), "a: image 1: video_id: wrong type"),
        ("label-studio", "{", "a: not JSON: "),
        ("label-studio", '[{"video": "v.mp4"}]', "a: task 0: data: field missing (export as JSON, not as"),
        ("label-studio", studio({"labels": ["a"], "sequence": [{"frame": 0}]}),
         "a: task 0: result[0].frame: wrong type (frames are counted from 1)"),
        ("label-studio", studio(stgr={"key_frames": [{"idx": ""}]}), "a: task 0: key_frames[0].idx: wrong"),
        ("via", "{\"a\": 5}", "a: neither a VIA 2 project or export in JSON nor a VIA 3 project"),
        ("via", '{"file": {}, "view": {}, "metadata": {"1_a": {"vid": "1"}}}', "a: view 1: "),
        ("stgr", "{}", "a: row 0, byte 0: not a JSON list of rows"),
        ("stgr", '[{"task": "?"}]', "a: row 0: task: unknown task"),
        ("stgr", '[{"task": "a\\u202e\\u009b"}]', 'a: row 0: task: unknown task ("a\\u202e\\x9b")'),
        ("cvat", "<annotations/>", "a: nothing is annotated"),
    ],
)  # fmt: skip
def test_bad_files_end_with_one_line(tmp_path, capsys, monkeypatch, short_clip, format, text, said):
    monkeypatch.chdir(tmp_path)
    Path("v.mp4").symlink_to(short_clip)
    Path("a").write_text(text)
    assert convert("a", "--from", format, "-o", "out.json") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.replace(".,", ".").startswith(f"openo3: {said}")
    assert not Path("out.json").exists()


@pytest.mark.parametrize("end", [59, 60])
def test_moments_in_between_end_with_the_video(tmp_path, monkeypatch, short_clip, end):
    """No frame is after the last one, so none ends the search."""
    monkeypatch.chdir(tmp_path)
    Path("v.mp4").symlink_to(short_clip)
    Path("a").write_text(cvat(cvat_box(30), cvat_box(end, outside=int(end == 60))))
    assert convert("a", "--from", "cvat", "-o", "out.json", *QUESTION, "--every", 0.4, "--most", 99) == 0
    [row] = json.loads(Path("out.json").read_text())
    times = [frame["time"] for frame in row["key_frames"]]
    assert times == pytest.approx([1.0, 1.4, 1.8] + [59 / 30] * (end == 59), abs=0.04)


def test_absurd_numbers_of_frames_end_with_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meta = "<meta><task><original_size><width>9</width><height>9</height></original_size></task></meta>"
    for frame, more, said in (
        (
            10**14,
            (),
            "a: track 3: box 1: frame: key frame outside the video (frame 100000000000000, each 0.04",
        ),
        (20_000_000, ("--every", 0.001), "--every 0.001: 800,000,001 moments of one clip are too many"),
    ):
        text = cvat(cvat_box(), cvat_box(frame))
        Path("a").write_text(re.sub("<meta>.*</meta>", meta, text))
        assert convert("a", "--from", "cvat", "--fps", 25, "-o", "out.json", *more) == 2
        assert capsys.readouterr().err.startswith(f"openo3: {said}")


def test_many_boxes_of_one_name_take_time_in_proportion(tmp_path, monkeypatch):
    """Each was compared with all before it: an hour for half a million."""
    count = 20_000
    pictures = coco(
        categories=[{"id": 1, "name": "cup"}],
        images=[{"id": n, "file_name": "a.jpg", "width": 9, "height": 9} for n in range(count)],
        annotations=[{"image_id": n, "category_id": 1, "bbox": [1, 1, 3, 3]} for n in range(count)],
        videos=[],
    )
    monkeypatch.chdir(tmp_path)
    Path("a").write_text(pictures)
    started = time.process_time()
    assert convert("a", "--from", "coco-video", "-o", "out.json") == 0
    rows_ = json.loads(Path("out.json").read_text())
    assert rows_[0]["id"] == "a-cup"
    assert rows_[-1]["id"] == f"a-cup-{count}"
    tracks: list[dict] = []
    for number in range(count):
        via._put(tracks, [Key(number, float(number), (0.0, 0.0, 1.0, 1.0))])
    assert len(tracks) == 1
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--question", "{who}?"),
            "--question: {who} is unknown; there are {object}, {place}, {first}, {last}",
        ),
        (("--answer", "{object"), "--answer '{object': expected '}' before end of string"),
        (
            ("--answer", "{object:>999999999}"),
            "--answer: {object:>999999999} is unknown; there are {object}, {place}, {first}, {last}",
        ),
        (
            ("--question", "{object!r}"),
            "--question: {object!r} is unknown; there are {object}, {place}, {first}, {last}",
        ),
        (("--most", 0), "--most 0: expected 1 or more"),
        (("--every", 0), "--every 0: expected 0.001 to 10,000"),
        (("--media", "nowhere"), "--media nowhere: no such folder"),
        (("-o", "no/out.json"), "-o no/out.json: no folder no"),
        (("-o", "there.json"), "-o there.json: exists; name another file"),
    ],
)
def test_bad_options_end_with_one_line(tmp_path, capsys, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("[]")
    assert convert(EXAMPLES / "cvat.xml", "--from", "cvat", "-o", "out.json", *options) == 2
    assert capsys.readouterr().err == f"openo3: {said}\n"


def test_names_of_files_are_found_as_tools_write_them(tmp_path, short_clip):
    for name in ("a/clip one.mp4", "b/clip one.mp4", "c.webm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(short_clip, tmp_path / name)
    with MediaFolder(tmp_path) as media:
        for name in (
            "/data/local-files/?d=x/a/clip%20one.mp4",
            "s3://bucket/a/clip%20one.mp4",
            "a\\clip one.mp4",
        ):
            assert media.find(name).path == "a/clip one.mp4"
        assert media.find("/data/upload/7/0a1b2c3d-c.webm").path == "c.webm"
        assert media.find("train/c").path == "c.webm"  # TAO leaves out the suffix
        assert media.find("nowhere.mp4") is None
        with pytest.raises(ValueError, match=r"clip one\.mp4: may be a/clip one\.mp4 or b/clip one\.mp4"):
            media.find("clip one.mp4")


def test_places_in_words():
    parts = {(0.1, 0.1): "the upper left", (0.5, 0.5): "the centre", (0.9, 0.5): "the middle right"}
    parts |= {(0.5, 0.9): "the lower middle", (0.1, 0.9): "the lower left"}
    for (x, y), words in parts.items():
        box = (x - 0.05, y - 0.05, x + 0.05, y + 0.05)
        assert place_in_words(box, box) == f"in {words}"


def test_the_questions_of_a_file_win_over_templates(tmp_path):
    notes: Counter[str] = Counter()
    with MediaFolder(MEDIA) as media:
        clips = FORMATS["label-studio"].read(EXAMPLES / "label-studio.json", media, notes)
    found = rows(clips, Wanted(Task.TEMPORAL, question="When is the {object}?"), notes)
    assert found[0]["question"] == "What rolls onto the table?"
    assert found[1]["question"] == "When is the mug?"  # the image has none of its own


@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("coco-video", "coco-video.json"),
        ("label-studio", "label-studio.json"),
        ("via", "via-2.json"),
        ("via", "via-3.json"),
        ("stgr", "../my-videos/STGR-SFT.json"),
    ],
)
def test_mutants_give_records_or_one_line(tmp_path, capsys, format, name):
    """Other types, huge numbers, deep nesting, half characters: in any place of a file."""
    good, file, out = json.loads((EXAMPLES / name).read_text()), tmp_path / "a.json", tmp_path / "out.json"
    for number, text in enumerate(mutants(good, 25, seed=3)):
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        more = (("--every", 0.7), ("--task", "temporal", "--reasoning"), QUESTION)[number % 3]
        status = convert(file, "--from", format, "--media", MEDIA, "-o", out, *more)
        said = capsys.readouterr()
        assert status in (0, 2), text[:500]
        if status:
            assert said.err.strip("\n").isprintable(), text[:500]
            assert not out.exists()
        else:
            json.loads(out.read_text(), parse_constant=pytest.fail)
            out.unlink()
