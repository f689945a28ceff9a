"""Pictures of accepted records, rejected rows and bad files, from real clips."""

import re
from pathlib import Path

import pytest

from openo3.fetch import local
from openo3.fetch.sync import sync
from openo3.media.thumbnail import thumbnails
from openo3.validation import pictures
from openo3.validation.check import Validation, check
from openo3.validation.media import read_index
from openo3.validation.pictures import ACCEPTED, FILES, REJECTED, draw
from tests.support import local_folder
from tests.support.clips import clip, copied
from tests.support.local_folder import key_frame

ROWS = {row["id"]: row for row in local_folder.sft_rows()}
GOOD = [[0.1, 0.2, 0.3, 0.4]]


def items(*box: float) -> dict:
    """The first key frame is fine, the wrong box is in the second one."""
    return {"key_items": {"1": {"cup": GOOD}, "2": {"cup": GOOD, "mug": [list(box)]}}}


BROKEN = [
    ROWS["ts"] | {"id": "outside"} | items(10, 20, 30, 40),
    ROWS["ts"] | {"id": "inverted"} | items(0.5, 0.2, 0.3, 0.4),
    ROWS["ts"] | {"id": "late", "key_frames": [key_frame(1, 1), key_frame(2, 9)]},
    ROWS["free"] | {"id": "no question", "question": ""},
    ROWS["free"] | {"id": "gone", "video_path": "gone.mp4"},
    ROWS["free"] | {"id": "damaged", "video_path": "damaged.mkv"},
    ROWS["image"] | {"id": "cut", "image_path": "cut.jpg"},
    ROWS["image"] | {"id": "noise", "image_path": "noise.jpg"},
]


def checked(root: Path, rows: list[dict]) -> Validation:
    folder = local_folder.write(root / "mine")
    local_folder.annotate(folder, "STGR-SFT.json", rows)
    damaged = copied(clip(folder / "videos/whole.mp4", 60, 15), folder / "videos/damaged.mkv")
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size * 3 // 4])
    still = (folder / "images/im:1.jpg").read_bytes()
    (folder / "images/cut.jpg").write_bytes(still[: len(still) - 40])
    (folder / "images/noise.jpg").write_bytes(b"noise" * 99)
    sync(local.plan(folder), root / "raw", root / "known")
    (root / "spool").mkdir()
    index = read_index(root / "raw", root / "media.jsonl")
    validation = check(root / "raw/annotations", index, root / "spool", time_tolerance_s=0.5)
    validation.write(root / "validated")
    return validation


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def validation(root) -> Validation:
    return checked(root, [*ROWS.values(), *BROKEN])


@pytest.fixture(scope="module")
def drawn(root, validation) -> pictures.Pictures:
    return draw(validation, root / "validated", root / "raw/media")


def texts(figure: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", figure)


def test_accepted_records_are_shown_with_their_boxes(drawn):
    captions = [re.sub(r"<[^>]*>", "", figure[figure.index("<figcaption") :]) for figure in drawn.accepted]
    assert "What does the man pick up? (temporal-spatial free-form QA, at 1 s)" in captions
    assert "What is in the corner? (visual QA)" in captions
    assert "What does she open? (V-STaR, at 1 s)" in captions
    assert {text for figure in drawn.accepted for text in texts(figure)} == {"wrench", "cup", "fridge"}
    assert all('class="mark true"' in figure and "data:image/jpeg" in figure for figure in drawn.accepted)


def test_rejected_rows_are_shown_at_their_moment_with_what_is_wrong(drawn):
    found = {re.search(r"<figcaption>(.*?)</figcaption>", figure)[1]: figure for figure in drawn.rejected}
    assert [caption.partition(",")[0] for caption in found] == [
        "box outside the frame: highest coordinate 40 of 0-1 (STGR-SFT.json",
        "box inverted: shortest side -0.2 (STGR-SFT.json",
        "key frame outside the video: 5 s after the end (STGR-SFT.json",
        "question empty: 0 characters (STGR-SFT.json",
    ]
    outside, inverted, late, _ = found.values()
    assert texts(outside) == ["cup", "mug (outside)"]
    assert outside.count('class="mark predicted"') == 1
    assert texts(inverted) == ["cup", "mug (inverted)"]
    assert "row 5, at 2.5 s)" in next(iter(found))
    assert "at 9 s)" in list(found)[2]
    assert texts(late) == [], "no box on a frame that is not meant"


def test_bad_files_are_shown_as_far_as_they_can_be_decoded(drawn):
    found = {re.search(r"/([\w.]+):", detail)[1]: figure for detail, figure in drawn.files.items()}
    assert found.keys() == {"damaged.mkv", "cut.jpg"}, "noise has no picture"
    assert "<figcaption>Shown: the first frame</figcaption>" in found["damaged.mkv"]


def test_no_more_than_a_bounded_number_is_decoded(tmp_path, monkeypatch):
    asked = []

    def counted(moments):
        asked.extend(set(moments))
        return thumbnails([])

    monkeypatch.setattr(pictures, "thumbnails", counted)
    boxes = {"good": GOOD, "inverted": [[1, 0, 0, 1]]}
    rows = [
        ROWS["ts"]
        | {"id": f"{k} {name}", "key_frames": [key_frame(1, k / 100)], "key_items": {"1": {"cup": box}}}
        for k in range(300)
        for name, box in boxes.items()
    ]
    drawn = draw(checked(tmp_path, rows), tmp_path / "validated", tmp_path / "raw/media")
    assert 0 < len(asked) <= FILES + REJECTED + ACCEPTED == 24
    assert (drawn.accepted, drawn.rejected, drawn.files) == ([], [], {}), (
        "a file without a picture is passed over"
    )
