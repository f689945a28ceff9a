"""The measurement of filters: truth as the world has it, key items counted by hand, and data to train on."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import annotate
from openo3.annotating.candidates import Candidate, Item
from openo3.annotations import stgr
from openo3.core.schema import Task
from openo3.files.artifacts import read_json

BOX = (0.1, 0.1, 0.5, 0.5)


def label(clip: str, said: str, *failed: str, name: str = "red disc", time_s: float = 2.0) -> annotate.Label:
    """A question whose truth is a red disc at 2 s, and a label that names and answers something."""
    row = {
        "id": "1", "task": str(Task.TEMPORAL_SPATIAL), "source": "local", "question": "What comes first?",
        "answer": "the red disc", "video_path": f"{clip}.mp4", "key_frames": [{"idx": 1, "time": 2.0}],
        "key_items": {"1": {"red disc": [list(BOX)]}},
        "reasoning_process": "The <obj>red disc</obj><box>[0.1,0.1,0.5,0.5]</box>at<t>2.0</t>s comes first.",
    }  # fmt: skip
    truth = stgr.parse(row)
    item = Item(name, BOX, time_s)
    return annotate.Label(clip, truth, Candidate(replace(truth, answer=said), (item,)), frozenset(failed))


LABELS = [
    label("a", "the red disc"),
    label("a", "the blue ring", "second-look", name="blue ring"),
    label("b", "the red disc", "blind", time_s=2.5),
    label("b", "the red disc", time_s=3.1),
    annotate.Label("c", label("c", "").truth, None, frozenset()),
]


@pytest.mark.parametrize(
    ("keeps", "expected"),
    [
        (lambda label: True, (2 / 4, 2 / 5, 3 / 4)),
        (lambda label: "second-look" not in label.failed, (2 / 3, 2 / 5, 3 / 3)),
        (lambda label: not label.failed, (1 / 2, 1 / 5, 2 / 2)),
        (lambda label: False, (0.0, 0.0, 0.0)),
    ],
)
def test_precision_recall_and_answers(keeps, expected):
    found = annotate.counted(LABELS, keeps, tolerance_s=0.5)
    assert tuple(each.value for each in found) == pytest.approx(expected)


def test_every_true_item_counts_once():
    items = [Item("red disc", BOX, 2.0)] * 3
    assert annotate.matched(items, items[:1], 0.5) == 1
    assert annotate.matched(items[:1], [Item("red disc", (0.6, 0.6, 0.9, 0.9), 2.0)], 0.5) == 0


def test_the_table_shows_filters_in_turn_and_alone():
    lines = annotate.table(LABELS, ["second-look", "blind"], 0.5).splitlines()
    assert [line.split(" | ")[:3] for line in lines[2:]] == [
        ["| before any filter", "4", "4"],
        ["| after second-look", "3", "3"],
        ["| after blind", "2", "2"],
        ["| second-look alone", "3", "3"],
        ["| blind alone", "3", "3"],
    ]


def test_equally_many_records_of_each_kind_are_readable(tmp_path):
    truth = annotate.make_clips(tmp_path, 1)
    rows = [stgr.parse(row) for row in truth.values()]
    assert 2 <= len(rows) <= annotate.ROWS_A_CLIP
    assert all(annotate.true_items(row) for row in rows if row.task is Task.TEMPORAL_SPATIAL)
    found = [annotate.Label("000000.mp4", row, Candidate(row, ()), frozenset()) for row in rows]
    found[0] = replace(found[0], failed=frozenset({"blind"}))
    chosen = {kind: annotate.training_rows(kind, found) for kind in annotate.KINDS}
    assert {len(each) for each in chosen.values()} == {len(rows) - 1}
    (tmp_path / "world/vstar").mkdir(parents=True)
    (tmp_path / "world/V_STaR_test.json").write_text("[]")
    annotate.prepare(tmp_path / "local", chosen["truth"], tmp_path / "clips", tmp_path / "world")
    for name in ("STGR-SFT.json", "STGR-RL.json"):
        for row in read_json(tmp_path / "local" / name):
            assert (tmp_path / "local/videos" / row["video_path"]).is_file()
            assert stgr.parse(row).source == "local"
    assert Path(tmp_path / "local/vstar").is_dir()
