"""TVGBench: its question, answers of any text, its numbers by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openo3.benchmarks import grounding, registry, tvgbench
from openo3.benchmarks.base import frames_of
from openo3.core.geometry import RELATIVE_1000
from openo3.media.frame_store import FrameStore
from openo3.prompt_file import default_prompts
from stages import download, sample_frames, validate
from tests.support.local_folder import annotate, encode_clip

RECORD = {
    "path": "charades/X1.mp4",
    "question": "person opens the fridge",
    "answer": "2.0-6.0",
    "duration": 30.5,
}


def result(text):
    return tvgbench.TVGBENCH.result(RECORD, {"when": text}, RELATIVE_1000)


def test_question():
    assert list(tvgbench.TVGBENCH.questions(RECORD, RELATIVE_1000, default_prompts())) == ["when"]
    assert tvgbench.TVGBENCH.questions(RECORD, RELATIVE_1000, default_prompts())["when"].startswith(
        "person opens the fridge\n"
    )
    assert registry.get("tvgbench") is tvgbench.TVGBENCH


def test_numbers_by_hand():
    well = "<think>at <t>2</t>s and <t>6</t>s</think><answer>From <t>2.0</t>s to <t>6.0</t>s</answer>"
    results = [
        result(well),
        result("from 4 to 8"),
        result("from 0:02 to 0:04"),
        tvgbench.TVGBENCH.result(RECORD, {}, RELATIVE_1000),
    ]
    scores = tvgbench.TVGBENCH.score(results)
    assert grounding.tious(tvgbench.true_span, results) == pytest.approx([1, 2 / 6, 0.5, 0])
    assert scores["m_tIoU"] == pytest.approx((1 + 1 / 3 + 0.5) / 4)
    assert [scores[name] for name in ("R1@0.3", "R1@0.5", "R1@0.7")] == [0.75, 0.5, 0.25]
    assert (scores["format"], scores["n"]) == (0.25, 4)
    low, high = scores["intervals"]["m_tIoU"]
    assert low < scores["m_tIoU"] < high


@given(st.text())
def test_any_completion_gives_a_score(text):
    assert 0 <= tvgbench.TVGBENCH.score([result(text)])["m_tIoU"] <= 1


PUBLISHED = "./dataset/timer1/videos/tvgbench_data/X.mp4"
ROW = {"path": PUBLISHED, "question": "it falls", "answer": "0.5-1.5", "duration": 4.0}


@pytest.mark.parametrize("segments", [True, False])
def test_a_segment_is_looked_at_and_scored_and_no_record_is_lost(tmp_path, segments):
    own = tmp_path / "own"
    encode_clip(own / "tvgbench/X.mp4")  # 4 s at 2 fps
    segment = {"start": 1.0, "end": 3.0, "duration": 2.0}
    rows = [ROW, ROW | segment, ROW | {"answer": "3.0-9.0"}, ROW | {"answer": "2-2"}]
    annotate(own, "TVGBench.json", rows)
    download.run(download.Params(source="local", path=str(own)), tmp_path)
    assert validate.run(validate.Params(max_rejected_share=0), tmp_path) is None
    records = tvgbench.TVGBENCH.load(tmp_path / "data/validated/bench/tvgbench.json")
    assert [record["answer"] for record in records] == ["0.5-1.5", "0.5-1.5", "3.0-4.0", "2.0-2.0"]
    assert [record["duration_s"] for record in records] == [4.0, 2.0, 4.0, 4.0]
    for name in ("sft", "rl"):
        (tmp_path / f"data/validated/{name}.jsonl").touch()
    even = sample_frames.FrameSampling(fps=2.0, min_frames=2, max_frames=64, segments=segments)
    params = {"max_pixels": 4096, "side_multiple": 16, "shards": 1, "workers": 1}
    sample_frames.run(sample_frames.Params(train=even, tvgbench=even, **params), tmp_path)
    store = FrameStore.open(tmp_path / "data/frames/tvgbench")
    assert len(store) == 2
    whole, part = (store.frames(frames_of(record)) for record in records[:2])
    assert [frame.time_s for frame in whole] == [0.5 * k for k in range(8)]
    if segments:
        assert [frame.time_s for frame in part] == pytest.approx([0, 2 / 3, 4 / 3, 2], abs=0.5)
        assert (part[0].image.getpixel((0, 0)), len(part)) == (whole[2].image.getpixel((0, 0)), 4)
        assert store.duration_s(frames_of(records[1])) == 2.0
    else:
        assert [frame.image.tobytes() for frame in part] == [frame.image.tobytes() for frame in whole]


def test_rows_in_the_published_form_are_records():
    """Every row has `start` and `end`, null or not; times have up to 16 digits; 168 rows name no dataset."""
    whole = ROW | {
        "start": None,
        "end": None,
        "question_type": "video temporal grounding",
        "bins": {"qlen": 7},
    }
    cut = whole | {
        "answer": "9.944375536211354-45.94437553621135",
        "start": 53.05562446378865,
        "end": 152.42562446378867,
        "duration": 99.37,
        "dataset_name": "hirest",
    }
    first, second = map(tvgbench.parse, (whole, cut))
    assert "segment" not in first
    assert second["segment"] == [53.05562446378865, 152.42562446378867]
    assert tvgbench.true_span(second) == (9.944375536211354, 45.94437553621135)
    fitted, notes = tvgbench.fit({**second, "duration_s": 200.0}, None, 0.5)
    assert (fitted["duration_s"], notes) == (pytest.approx(99.37), [])
