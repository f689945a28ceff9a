"""ActivityNet Captions: sentences and spans of a video are records; its numbers by hand."""

import json

import pytest

from openo3.annotations.rejections import Reason, RowError
from openo3.annotations.rows import AnnotationError
from openo3.benchmarks.activitynet import ACTIVITYNET
from openo3.core.geometry import RELATIVE_1000

VIDEOS = {
    "v_1": {
        "duration": 9.0,
        "timestamps": [[0.5, 2.5], [1, 12]],
        "sentences": [" A man runs. ", "He stops."],
    },
    "v_2": {"duration": 9.0, "timestamps": [[0, 1]], "sentences": ["One.", "A sentence without a span."]},
}


def read(folder, videos):
    file = folder / "ActivityNet-Captions.json"
    file.write_text(json.dumps(videos))
    return list(ACTIVITYNET.rows(file))


def test_each_sentence_is_a_record(tmp_path):
    first, second, third, fourth = read(tmp_path, VIDEOS)
    assert ACTIVITYNET.parse(first) == {
        "id": "v_1/0",
        "video": "v_1",
        "span": [0.5, 2.5],
        "question": "A man runs.",
        "media": "videos/activitynet/v_1.mp4",
    }
    fitted, [note] = ACTIVITYNET.fit(ACTIVITYNET.parse(second) | {"duration_s": 9.0}, None, 0.5)
    assert (fitted["span"], note.field) == ([1.0, 9.0], "span")
    assert ACTIVITYNET.parse(third)["id"] == "v_2/0"
    with pytest.raises(RowError) as error:
        ACTIVITYNET.parse(fourth)
    assert (error.value.reason, error.value.field) == (Reason.WRONG_TYPE, "span")


@pytest.mark.parametrize("videos", [[], {"v_1": [1, 2]}, "x"])
def test_a_file_of_another_form_is_one_error(videos, tmp_path):
    with pytest.raises(AnnotationError, match="not a JSON object of videos"):
        read(tmp_path, videos)


def test_numbers_by_hand(tmp_path):
    record = ACTIVITYNET.parse(read(tmp_path, VIDEOS)[0])
    texts = ("from 0.5 to 2.5", "from 1.5 to 3.5", "never")
    scores = ACTIVITYNET.score([ACTIVITYNET.result(record, {"when": t}, RELATIVE_1000) for t in texts])
    assert scores["mIoU"] == pytest.approx((1 + 1 / 3) / 3)
    assert [scores[f"R1@{least}"] for least in (0.3, 0.5, 0.7)] == pytest.approx([2 / 3, 1 / 3, 1 / 3])
