"""Charades-STA: its lines, what is wrong with some, its numbers by hand, and its way through the stages."""

from pathlib import Path

import pytest

from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks.charades import CHARADES
from openo3.core.geometry import RELATIVE_1000
from openo3.fetch import local
from openo3.files.artifacts import read_json, read_jsonl
from openo3.media.frame_store import FrameStore
from stages import download, sample_frames, validate
from tests.support.local_folder import encode_clip

LINES = "V1 0.5 2.5##person opens the fridge.\n\nV1 1 3##a person eats##then drinks\nbroken line\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    encode_clip(own / "charades/V1.mp4")
    (own / "charades_sta_test.txt").write_text(LINES)
    return own


def test_each_line_is_a_record(folder):
    first, second, third = CHARADES.rows(folder / "charades_sta_test.txt")
    assert CHARADES.parse(first) == {
        "id": "1",
        "video": "V1",
        "start": 0.5,
        "end": 2.5,
        "question": "person opens the fridge.",
        "media": "videos/charades/V1.mp4",
    }
    assert (second["id"], second["question"]) == ("3", "a person eats##then drinks")
    with pytest.raises(RowError) as error:
        CHARADES.parse(third)
    assert error.value.reason is Reason.NOT_OBJECT


@pytest.mark.parametrize("text", ["", "[]", "V1 0 1 no mark\n", "V1 nan 2##x"])
def test_a_file_of_another_form_is_one_error(text, tmp_path):
    file = tmp_path / "charades_sta_test.txt"
    file.write_text(text)
    with pytest.raises(AnnotationError, match="VIDEO START END##SENTENCE"):
        list(CHARADES.rows(file))


def test_a_name_that_leaves_its_folder_is_refused():
    with pytest.raises(RowError) as error:
        CHARADES.parse({"id": "1", "video": "../V1", "start": 0, "end": 1, "question": "x"})
    assert error.value.reason is Reason.UNSAFE_PATH


def test_numbers_by_hand(folder):
    record = CHARADES.parse(next(CHARADES.rows(folder / "charades_sta_test.txt")))
    texts = ("from 0.5 to 2.5", "from 1.5 to 3.5", "never")
    results = [CHARADES.result(record, {"when": text}, RELATIVE_1000) for text in texts]
    scores = CHARADES.score(results)
    assert scores["mIoU"] == pytest.approx((1 + 1 / 3) / 3)
    assert [scores[f"R1@{least}"] for least in (0.3, 0.5, 0.7)] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
    assert scores["n"] == 3


def test_it_goes_through_the_stages_without_code_of_their_own(folder, tmp_path):
    assert {item.target for item in local.plan(folder).items} == {
        "annotations/charades_sta_test.txt",
        "media/videos/charades/V1.mp4",
    }
    download.run(download.Params(source="local", path=str(folder)), tmp_path)
    assert "more than" in validate.run(validate.Params(max_rejected_share=0.05), tmp_path)
    assert [r["question"] for r in read_json(tmp_path / "data/validated/bench/charades.json")] == [
        "person opens the fridge.",
        "a person eats##then drinks",
    ]
    [rejected] = read_jsonl(tmp_path / "data/validated/rejected.jsonl")
    assert (rejected["file"], rejected["row"]) == ("charades_sta_test.txt", 2)
    for name in ("sft", "rl"):
        (tmp_path / f"data/validated/{name}.jsonl").touch()
    train = sample_frames.FrameSampling(1.0, 2, 4)
    params = sample_frames.Params(train=train, max_pixels=4096, side_multiple=16, shards=1, workers=1)
    sample_frames.run(params, tmp_path)
    assert len(FrameStore.open(tmp_path / "data/frames/charades").frames("videos/charades/V1.mp4")) == 8
