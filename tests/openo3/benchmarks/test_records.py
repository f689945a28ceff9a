import pytest

from openo3.annotations.rejections import Reason, RowError
from openo3.benchmarks import tvgbench, vstar
from tests.support import local_folder

VSTAR, TVGBENCH = local_folder.vstar_record(), local_folder.tvgbench_record()
BOX = VSTAR["bboxes"][0]


def test_a_record_is_kept_and_given_its_media():
    assert vstar.parse(VSTAR) == VSTAR | {"media": "videos/vstar/v 1.mp4"}
    assert tvgbench.parse(TVGBENCH) == TVGBENCH | {"media": "videos/tvgbench/charades/t1.mp4"}


def test_boxes_of_vstar_are_normalised_by_the_frame():
    assert vstar.normalised_boxes(VSTAR)[0] == (1.0, (0.0625, 0.125, 0.5, 24.5 / 48))


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"vid": None}, Reason.FIELD_MISSING, "vid"),
        ({"vid": "../v"}, Reason.UNSAFE_PATH, "vid"),
        ({"spatial_question_2": 3}, Reason.WRONG_TYPE, "spatial_question_2"),
        ({"domain": 3}, Reason.WRONG_TYPE, "domain"),
        ({"width": 0}, Reason.WRONG_TYPE, "width"),
        ({"fps": float("nan")}, Reason.NOT_FINITE, "fps"),
        ({"timestamps": [1.0]}, Reason.WRONG_TYPE, "timestamps"),
        ({"bboxes": "none"}, Reason.WRONG_TYPE, "bboxes"),
        ({"bboxes": [BOX | {"xmax": None}]}, Reason.FIELD_MISSING, "bboxes[0].xmax"),
        ({"bboxes": [BOX | {"timestamp": "1"}]}, Reason.WRONG_TYPE, "bboxes[0].timestamp"),
    ],
)
def test_each_defect_of_a_vstar_record_has_its_reason(fields, reason, field):
    with pytest.raises(RowError) as error:
        vstar.parse(VSTAR | fields)
    assert (error.value.reason, error.value.field) == (reason, field)


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"path": "/t.mp4"}, Reason.UNSAFE_PATH, "path"),
        ({"question": None}, Reason.FIELD_MISSING, "question"),
        ({"answer": "soon"}, Reason.BAD_ANSWER, "answer"),
        ({"answer": "1-2-3"}, Reason.BAD_ANSWER, "answer"),
        ({"answer": [1, 2]}, Reason.WRONG_TYPE, "answer"),
    ],
)
def test_each_defect_of_a_tvgbench_record_has_its_reason(fields, reason, field):
    with pytest.raises(RowError) as error:
        tvgbench.parse(TVGBENCH | fields)
    assert (error.value.reason, error.value.field) == (reason, field)
