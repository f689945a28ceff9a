import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from openo3.annotations.rows import AnnotationError
from openo3.fetch import local, near_misses
from openo3.fetch.near_misses import NearMisses
from openo3.fetch.plan import FetchError, Missing
from openo3.fetch.sync import sync
from openo3.files.artifacts import read_jsonl
from openo3.validation.media import read_index
from tests.support import choice_folder, local_folder


def targets(plan):
    return {item.target: item.source for item in plan.items}


def test_annotations_and_exactly_the_media_they_name_are_found(tmp_path):
    folder = local_folder.write(tmp_path)
    (folder / "videos/unused.mp4").write_bytes(b"x")
    plan = local.plan(folder)
    assert targets(plan) == {
        "annotations/STGR-SFT.json": "annotations",
        "annotations/STGR-RL.json": "annotations",
        "annotations/V_STaR_test.json": "annotations",
        "annotations/TVGBench.json": "annotations",
        f"media/videos/local/videos/{local_folder.CLIP}": "local",
        "media/videos/local/kfs/k1.jpg": "local",
        "media/videos/local/images/im:1.jpg": "local",
        "media/videos/vstar/v 1.mp4": "vstar",
        "media/videos/tvgbench/charades/t1.mp4": "tvgbench",
    }
    assert plan.missing == []


def test_multiple_choice_benchmarks_are_found(tmp_path):
    plan = local.plan(choice_folder.write(tmp_path))
    tracks = ("Adaptation", "Comprehension", "Perception")
    assert targets(plan) == {
        "annotations/Video-MME.parquet": "annotations",
        "annotations/worldsense_qa.json": "annotations",
        **{f"annotations/VideoMMMU/{t}-test-00000-of-00001.parquet": "annotations" for t in tracks},
        "media/videos/videomme/m-1_x.mp4": "videomme",
        "media/videos/worldsense/w1.mp4": "worldsense",
        **{f"media/videos/videommmu/validation_Art_{n}.mp4": "videommmu" for n in (1, 2, 3)},
    }
    assert plan.missing == []


def test_a_benchmark_published_in_parts_is_found(tmp_path):
    folder = choice_folder.write(tmp_path)
    for part in list((folder / "VideoMMMU").iterdir()):
        track, _, name = part.name.partition("-")
        (folder / "VideoMMMU" / track).mkdir()
        part.rename(folder / "VideoMMMU" / track / name)
    found = targets(local.plan(folder))
    assert "annotations/VideoMMMU/Perception-test-00000-of-00001.parquet" in found
    assert len([target for target in found if "VideoMMMU" in target]) == 3


def test_an_empty_folder_is_not_an_annotation(tmp_path):
    (tmp_path / "VideoMMMU").mkdir()
    with pytest.raises(FetchError, match="contains no annotation file"):
        local.plan(tmp_path)


def test_any_subset_of_annotation_files_is_accepted(tmp_path):
    local_folder.annotate(tmp_path, "TVGBench.json", [])
    assert targets(local.plan(tmp_path)) == {"annotations/TVGBench.json": "annotations"}


def test_the_published_layout_is_recognised(tmp_path):
    row = local_folder.sft_rows()[0] | {"source": "STR_plm_rdcap"}
    local_folder.annotate(tmp_path / "json_data", "STGR-SFT.json", [row])
    for path in (f"videos/stgr/plm/videos/{local_folder.CLIP}", "videos/stgr/plm/kfs/k1.jpg"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"x")
    plan = local.plan(tmp_path)
    assert plan.missing == []
    assert f"media/videos/stgr/plm/videos/{local_folder.CLIP}" in targets(plan)


def test_a_benchmark_does_not_take_a_training_video_of_the_same_name(tmp_path):
    local_folder.annotate(tmp_path, "V_STaR_test.json", [local_folder.vstar_record()])
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/v 1.mp4").write_bytes(b"x")
    assert local.plan(tmp_path).missing == [
        Missing("videos/vstar/v 1.mp4", "vstar", "missing", f"not in {tmp_path.name}/")
    ]


def test_hostile_paths_and_links_are_not_followed(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    folder = tmp_path / "mine"
    rows = [
        local_folder.sft_rows()[1] | {"id": str(number), "video_path": path}
        for number, path in enumerate(
            ("../../secret.mp4", str(secret), "out.mp4", "gone.mp4", "a\0b", "..\\x")
        )
    ]
    local_folder.annotate(folder, "STGR-SFT.json", [*rows, 3, {"task": 5}])
    (folder / "videos").mkdir()
    (folder / "videos/out.mp4").symlink_to(secret)
    plan = local.plan(folder)
    assert list(targets(plan)) == ["annotations/STGR-SFT.json"]
    assert plan.missing == [
        Missing("videos/local/videos/out.mp4", "local", "unsafe", "videos/out.mp4: a link leads out"),
        Missing("videos/local/videos/gone.mp4", "local", "missing", "not in mine/"),
    ]


def test_a_folder_without_annotations_is_an_error(tmp_path):
    with pytest.raises(FetchError, match="contains no annotation file"):
        local.plan(tmp_path)
    with pytest.raises(FetchError, match="no such folder"):
        local.plan(tmp_path / "none")


def test_a_truncated_file_fails_with_one_line(tmp_path):
    text = json.dumps(local_folder.sft_rows())
    (tmp_path / "STGR-SFT.json").write_text(text[: len(text) // 2])
    with pytest.raises(AnnotationError, match=r"^\S+/STGR-SFT.json: row \d, byte \d+: the file is cut off$"):
        local.plan(tmp_path)


def test_parts_with_similar_paths_get_distinct_names(tmp_path):
    for name in ("Perception/test.parquet", "Perception-test.parquet", "Perception-test (2).parquet"):
        (tmp_path / "clips/VideoMMMU" / name).parent.mkdir(parents=True, exist_ok=True)
        table = pyarrow.table({"id": [name]})
        pyarrow.parquet.write_table(table, tmp_path / "clips/VideoMMMU" / name)
    raw, known = tmp_path / "raw", tmp_path / "known"
    assert sync(local.plan(tmp_path / "clips"), raw, known).copied == 3
    found = [pyarrow.parquet.read_table(path)["id"][0].as_py() for path in raw.rglob("*.parquet")]
    assert sorted(found) == [
        "Perception-test (2).parquet",
        "Perception-test.parquet",
        "Perception/test.parquet",
    ]
    assert sync(local.plan(tmp_path / "clips"), raw, known).copied == 0


@pytest.mark.parametrize(
    ("named", "there", "hint"),
    [
        ("chaplin.mp4", "videos/Chaplin.MP4", "videos/Chaplin.MP4 is there; upper and lower case differ"),
        (
            "a/chaplin.mp4",
            "Videos/A/chaplin.mp4",
            "Videos/A/chaplin.mp4 is there; upper and lower case differ",
        ),
        (
            "caf\u00e9.mp4",
            "videos/cafe\u0301.mp4",
            "videos/cafe\u0301.mp4 is there; its name is in Unicode form NFD, the record's in NFC",
        ),
        (
            "c.mp4",
            "videos/videos/c.mp4",
            "videos/videos/c.mp4 is there; a path in a record starts below videos/",
        ),
        ("videos/c.mp4", "videos/c.mp4", "videos/c.mp4 is there; a path in a record starts below videos/"),
        ("c.mp4", "videos/d.mp4", None),
        ("c.mp4", "videos/c.MOV", "videos/c.MOV is there; the record's name has another ending"),
        ("c", "videos/c.webm", "videos/c.webm is there; the record's name lacks the ending"),
    ],
)
def test_a_missing_file_comes_with_a_hint_at_the_one_that_is_there(tmp_path, named, there, hint):
    folder = tmp_path / "mine"
    local_folder.annotate(folder, "STGR-SFT.json", [local_folder.sft_rows()[1] | {"video_path": named}])
    (folder / there).parent.mkdir(parents=True)
    (folder / there).write_bytes(b"x")
    sync(local.plan(folder), tmp_path / "raw", tmp_path / "known")
    [line] = read_jsonl(tmp_path / "raw/missing.jsonl")
    assert line["detail"] == "not in mine/"
    assert line.get("hint") == hint
    index = read_index(tmp_path / "raw", tmp_path / "media.jsonl")
    index.inspect([line["path"]], threads=1)
    assert index[line["path"]].detail == "; ".join(filter(None, [f"{line['path']}: not in mine/", hint]))


def vstar_clips(folder, *names):
    """A folder with V-STaR's record of the clip `v 1`, and files of these names."""
    local_folder.annotate(folder, "V_STaR_test.json", [local_folder.vstar_record()])
    for name in names:
        (folder / "vstar" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "vstar" / name).write_bytes(name.encode())
    return local.plan(folder)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["v 1.mp4", "v 10.mkv", "v.webm"], "v 1.mp4"),
        (["v 1.webm", "v 1.json", "v 1.jpg"], "v 1.webm"),
        (["deep/v 1.MKV"], "deep/v 1.MKV"),
        (["v 1.mov", "deep/v 1.mp4"], "v 1.mov"),
    ],
)
def test_a_benchmark_s_clip_may_have_any_container(tmp_path, names, found):
    plan = vstar_clips(tmp_path, *names)
    [item] = [item for item in plan.items if item.source == "vstar"]
    assert item.origin.path == tmp_path / "vstar" / found
    assert item.target == "media/videos/vstar/v 1.mp4", "the name that records have, whatever the container"
    assert plan.missing == []


def test_two_files_of_one_clip_are_refused_in_one_line(tmp_path):
    [missing] = vstar_clips(tmp_path, "v 1.mp4", "v 1.webm").missing
    assert (missing.problem, missing.detail) == (
        "unreadable",
        "vstar/: 2 files match v 1: v 1.mp4, v 1.webm; leave one of them there",
    )


def test_a_clip_of_a_similar_name_is_a_hint(tmp_path):
    [missing] = vstar_clips(tmp_path, "V 1.webm").missing
    assert missing.hint == "vstar/V 1.webm is there; upper and lower case differ"


def test_a_link_in_place_of_a_clip_is_not_followed(tmp_path):
    (tmp_path / "secret.mkv").write_bytes(b"secret")
    (tmp_path / "mine/vstar").mkdir(parents=True)
    (tmp_path / "mine/vstar/v 1.mkv").symlink_to(tmp_path / "secret.mkv")
    [missing] = vstar_clips(tmp_path / "mine").missing
    assert missing.problem == "unsafe"


def test_no_hint_names_what_a_link_leads_to(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/Secret.mp4").write_bytes(b"x")
    (tmp_path / "mine/videos").mkdir(parents=True)
    (tmp_path / "mine/videos/link").symlink_to(tmp_path / "outside")
    assert NearMisses(tmp_path / "mine").hint("videos/link/secret.mp4") == ""


def test_hints_list_a_folder_once_and_stop_at_a_number_of_names(tmp_path, monkeypatch):
    (tmp_path / "videos").mkdir()
    for number in range(30):
        (tmp_path / f"videos/Clip{number}.mp4").touch()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda folder: listed.append(folder) or scandir(folder))
    near = NearMisses(tmp_path)
    assert all(near.hint(f"videos/clip{number}.mp4") for number in range(30))
    assert len(listed) == 2, "the folder, and videos/"
    monkeypatch.setattr(near_misses, "MAX_NAMES", 10)
    near = NearMisses(tmp_path)
    assert sum(bool(near.hint(f"videos/clip{number}.mp4")) for number in range(30)) == 9
