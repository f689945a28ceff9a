"""Records with options: three published forms become one, and each defect has its reason."""

import json
import re
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openo3.annotations import choice_records
from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks import videomme, videommmu, worldsense
from openo3.benchmarks.registry import ANNOTATION_FILES
from tests.support import choice_folder

FILES = {file.name: file for file in ANNOTATION_FILES}
VIDEOMME = choice_folder.videomme_record()
VIDEOMMMU = choice_folder.videommmu_records()


def read(folder, name):
    return list(FILES[name].rows(folder / FILES[name].filename))


def test_video_mme(tmp_path):
    [row] = read(choice_folder.write(tmp_path), "videomme")
    assert "domain" not in row, "nothing is read that is not needed"
    assert videomme.parse(row) == {
        "id": "001-1",
        "question": "What does she open?",
        "options": ["A fridge.", "A door.", "A box.", "A book."],
        "answer": "A",
        "group": "short",
        "media": "videos/videomme/m-1_x.mp4",
    }


def test_every_task_of_a_video_of_worldsense_is_a_record(tmp_path):
    first, second = map(worldsense.parse, read(choice_folder.write(tmp_path), "worldsense"))
    assert (first["id"], first["group"], first["answer"]) == ("w1/task0", "Recognition", "B")
    assert (second["id"], second["group"], second["question"]) == ("w1/task1", "Reasoning", "Why?")
    assert first["media"] == second["media"] == "videos/worldsense/w1.mp4"
    assert first["options"] == ["A door.", "A fridge."]


def test_the_tracks_of_videommmu_are_one_file_and_name_their_pictures(tmp_path):
    rows = read(choice_folder.write(tmp_path), "videommmu")
    assert [row["track"] for row in rows] == ["Adaptation"] * 3 + ["Comprehension", "Perception"]
    assert not any(isinstance(value, bytes | dict) for row in rows for value in row.values())
    names = [f"pictures/videommmu/Adaptation/validation_Art_{n}" for n in (1, 2)]
    assert [videommmu.parse(row).get("picture") for row in rows] == [*names, None, None, None]
    pictures = dict(videommmu.pictures(tmp_path / "VideoMMMU"))
    assert pictures == dict.fromkeys(names, choice_folder.png())
    choice, open_, odd, *_ = map(videommmu.parse, rows)
    assert (choice["options"], choice["answer"]) == (["a fridge", "a door", "a box"], "A")
    assert (open_["options"], open_["answer"]) == ([], "3.43")
    assert odd["options"] == choice["options"]
    ids = [videommmu.parse(row)["id"] for row in rows]
    assert ids[::3] == ["Adaptation/validation_Art_1", "Comprehension/validation_Art_1"]
    assert len(set(ids)) == 5


def test_a_track_is_known_by_where_its_file_is(tmp_path):
    part = tmp_path / "mine/Comprehension/test.parquet"
    part.parent.mkdir(parents=True)
    rows = [row | {"track": "Perception"} for row in VIDEOMMMU["Comprehension"]]
    pq.write_table(pa.Table.from_pylist(rows), part)
    [row] = videommmu.rows(tmp_path / "mine")
    assert row["track"] == "Comprehension"
    other = part.rename(tmp_path / "other.parquet")
    [row] = videommmu.rows(other)
    with pytest.raises(RowError, match=r"track: wrong type \(expected one of Perception"):
        videommmu.parse(row)


def test_an_open_question_has_no_options_even_where_some_are_listed():
    row = VIDEOMMMU["Adaptation"][0] | {"track": "Adaptation", "name": "1", "question_type": "open"}
    assert videommmu.parse(row)["options"] == []


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"videoID": "../m"}, Reason.UNSAFE_PATH, "videoID"),
        ({"videoID": None}, Reason.FIELD_MISSING, "videoID"),
        ({"question_id": None}, Reason.FIELD_MISSING, "question_id"),
        ({"question": 3}, Reason.WRONG_TYPE, "question"),
        ({"options": "A. a"}, Reason.WRONG_TYPE, "options"),
        ({"options": None}, Reason.FIELD_MISSING, "options"),
        ({"options": []}, Reason.FIELD_MISSING, "options"),
        ({"options": ["a", None]}, Reason.WRONG_TYPE, "options"),
        ({"options": ["a"] * 27}, Reason.WRONG_TYPE, "options"),
        ({"options": ["a", "b\0"]}, Reason.NOT_TEXT, "options"),
        ({"answer": None}, Reason.FIELD_MISSING, "answer"),
        ({"duration": None}, Reason.FIELD_MISSING, "duration"),
    ],
)
def test_each_defect_has_its_reason(fields, reason, field):
    with pytest.raises(RowError) as error:
        videomme.parse(VIDEOMME | fields)
    assert (error.value.reason, error.value.field) == (reason, field)


@pytest.mark.parametrize("style", ["{}.{}", "({}) {}", "{}\u3001{}", "{}. {}", "{}) {}", "{}: {}"])
def test_letters_of_every_style_are_removed(style):
    assert choice_records.without_letters([style.format("A", "cat"), style.format("B", "dog")]) == [
        "cat",
        "dog",
    ]


@pytest.mark.parametrize("options", [["A.M. only", "B.C. only"], ["A. a", "C. b"], ["a", "b"]])
def test_letters_that_are_not_those_of_the_options_stay(options):
    assert choice_records.without_letters(options) == options


@pytest.mark.parametrize("raw", [None, 3, [], "text"])
def test_what_is_no_record(raw):
    for parse in (
        videomme.parse,
        worldsense.parse,
        videommmu.parse,
    ):
        with pytest.raises(RowError):
            parse(raw)


def test_a_damaged_parquet_file_is_one_line(tmp_path):
    path = tmp_path / "Video-MME.parquet"
    pq.write_table(pa.Table.from_pylist([VIDEOMME] * 50), path)
    whole = path.read_bytes()
    for content in (b"", b"<html>404</html>", whole[:-20], whole[:200] + b"\xff" * 40 + whole[240:]):
        path.write_bytes(content)
        with pytest.raises(AnnotationError, match=f"^{re.escape(str(path))}: [^\n]+$"):
            list(videomme.rows(path))


@pytest.mark.parametrize("value", [b"\xff", 0.5, {"a": 1}, [{"a": 1}], datetime(2026, 1, 1)])
def test_a_column_that_holds_no_text_is_one_line(tmp_path, value):
    path = tmp_path / "Video-MME.parquet"
    pq.write_table(pa.Table.from_pylist([VIDEOMME | {"question": value, "unused": value}]), path)
    with pytest.raises(AnnotationError, match=f"^{re.escape(str(path))}: column question holds .*, no text$"):
        list(videomme.rows(path))


def test_a_small_parquet_file_that_holds_gigabytes_of_text_is_one_line(tmp_path):
    path = tmp_path / "Video-MME.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), pa.array(["x" * (8 << 20)]))
    pq.write_table(pa.table({"question": texts}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 5000
    with pytest.raises(AnnotationError, match=f"^{re.escape(str(path))}: 256 rows hold more than 256 MiB"):
        list(videomme.rows(path))
    options = pa.ListArray.from_arrays(pa.array([0, 256], pa.int32()), texts)
    pq.write_table(pa.table({"options": options}), path, compression="zstd", store_schema=False)
    with pytest.raises(AnnotationError, match="256 rows hold more than 256 MiB"):
        list(videomme.rows(path))


def test_a_small_parquet_file_that_holds_gigabytes_of_pictures_is_one_line(tmp_path):
    path = tmp_path / "Adaptation.parquet"
    content = pa.DictionaryArray.from_arrays(pa.array([0] * 16, pa.int32()), pa.array([bytes(20 << 20)]))
    pictures = pa.StructArray.from_arrays([content], names=["bytes"])
    pq.write_table(pa.table({"image 1": pictures}), path, compression="zstd", store_schema=False)
    with pytest.raises(AnnotationError, match=f"^{re.escape(str(path))}: 16 rows hold more than 256 MiB"):
        list(choice_records.parquet_pictures(path, ["image 1"]))


def test_a_parquet_file_with_too_many_values_in_one_row_is_one_line(tmp_path):
    path = tmp_path / "Video-MME.parquet"
    count = choice_records.MAX_PIECE_VALUES + 1
    letters = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["A. a"]))
    options = pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), letters)
    pq.write_table(pa.table({"options": options}), path, compression="zstd", store_schema=False)
    with pytest.raises(
        AnnotationError, match=r"column options\.list\.element, row group 0: 10,000,001 values"
    ):
        list(videomme.rows(path))


def test_texts_and_numbers_of_parquet_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "t.parquet"
    written = [
        {"id": n, "question": "same" if n % 2 else f"q{n}", "options": [f"A. {n}", "B. b", None][: n % 4]}
        for n in range(600)
    ]
    written[7] |= {"id": None, "question": None, "options": None}
    pq.write_table(pa.Table.from_pylist(written), path, row_group_size=256)
    assert list(choice_records.parquet_rows(path, ("id", "question", "options"))) == written


def test_a_column_of_pictures_that_holds_something_else_is_one_line(tmp_path):
    path = tmp_path / "Adaptation.parquet"
    rows = [VIDEOMMMU["Perception"][0] | {"image 1": "1.png"}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(AnnotationError, match=f"^{re.escape(str(path))}: column image 1 holds string"):
        list(videommmu.rows(path))


@pytest.mark.parametrize("content", ["[]", "3", '{"w1": {"task0"', ""])
def test_worldsense_that_is_no_object_of_videos_is_one_line(tmp_path, content):
    path = tmp_path / "worldsense_qa.json"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=f"^{re.escape(str(path))}: [^\n]+$"):
        list(worldsense.rows(path))


def test_a_bad_text_of_worldsense_is_one_bad_row(tmp_path):
    path = tmp_path / "worldsense_qa.json"
    task = choice_folder.worldsense_videos()["w1"]["task0"]
    tasks = {"task0": task, "task1": task | {"question": "\ud800"}, "task2": task | {"answer": float("nan")}}
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"w1": tasks}).encode())
    good, *bad = worldsense.rows(path)
    assert worldsense.parse(good)["answer"] == "B"
    for row in bad:
        with pytest.raises(RowError):
            worldsense.parse(row)


def test_a_video_of_worldsense_without_tasks_is_one_bad_row(tmp_path):
    path = tmp_path / "worldsense_qa.json"
    path.write_text(json.dumps({"w1": None, "w2": {"task0": [1]}, "w3": {"domain": "Music"}}))
    rows = list(worldsense.rows(path))
    assert [row["video"] for row in rows] == ["w1", "w2"]
    for row in rows:
        with pytest.raises(RowError, match="candidates: field missing"):
            worldsense.parse(row)
