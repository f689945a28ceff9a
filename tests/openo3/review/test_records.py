"""Reading records, why they are rejected, and the picture of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from openo3.annotations.rejections import Reason
from openo3.cli.main import main
from openo3.review.build import write as write_page
from openo3.review.collection import Collection, LookError, media_of, opened
from openo3.review.edits import Draft
from openo3.review.pictures import marked, picture
from openo3.review.rules import outcomes
from openo3.validation import suites
from openo3.validation.check import check
from tests.openo3.review.folder import BROKEN, grounded, items, write
from tests.support.local_folder import annotate, sft_rows

KINDS = {
    Reason.BOX_OUTSIDE: "boxes", Reason.BOX_INVERTED: "boxes", Reason.BOX_EMPTY: "boxes",
    Reason.KEY_TIME: "times", Reason.KEY_ORDER: "times", Reason.SPAN_TIME: "times",
    Reason.SPAN_EMPTY: "times", Reason.EVIDENCE_TIME: "times", Reason.BAD_EVIDENCE: "text",
    Reason.MEDIA_MISSING: "file", Reason.UNSAFE_PATH: "file", Reason.KEY_IMAGE_MISSING: "file",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("records") / "clips")


@pytest.fixture(scope="module")
def collection(folder: Path):
    with opened(folder) as found:
        yield found


def by_reason(collection: Collection, reason: Reason):
    return next(entry for entry in collection.entries if entry.rejection and entry.rejection.reason == reason)


def drawn(collection: Collection, reason: Reason) -> dict:
    entry = by_reason(collection, reason)
    media = media_of(entry.raw)
    return picture(
        entry.raw, Draft.of(entry.raw), entry.rejection, collection.facts(media) if media else None
    )


def test_every_reason_is_found_and_nothing_else_is_rejected(collection: Collection) -> None:
    found = [
        entry.rejection and entry.rejection.reason for entry in collection.entries if entry.split == "sft"
    ]
    good = len(sft_rows())
    assert found[:good] == [None] * good
    assert found[good:-1] == list(BROKEN)
    assert found[-1] is None
    rl = [entry for entry in collection.entries if entry.split == "rl"]
    assert [entry.rejection for entry in rl] == [None] * 6
    assert [entry.number for entry in collection.entries] == list(range(len(collection.entries)))


@pytest.mark.slow
def test_the_rules_say_what_great_expectations_says(collection: Collection, tmp_path: Path) -> None:
    """The stage's own check of the same rows, over the same media."""
    raw = tmp_path / "annotations"
    raw.mkdir()
    for name in collection.files:
        (raw / name).symlink_to(collection.path.resolve() / name)
    (tmp_path / "spool").mkdir()
    rejected = check(raw, collection.index, tmp_path / "spool", 0.5).rejected
    ours = {(entry.file, entry.row): entry.rejection for entry in collection.entries if entry.rejection}
    theirs = {(one.file, row): one for rows in rejected.values() for row, one in rows.items()}
    assert ours == theirs


def test_every_kind_of_expectation_can_be_checked_here(collection: Collection) -> None:
    """A rule of a new kind must be added to `openo3.review.rules`."""
    import pandas as pd

    rules = suites.rules(0.5)
    text = {rule.column for rule in rules if rule.expectation.name.endswith(("Regex", "InSet"))}
    frame = pd.DataFrame({rule.column: ["A" if rule.column in text else 0.5] for rule in rules})
    assert len(outcomes(frame, rules)) == len(rules)


@pytest.mark.parametrize("reason", BROKEN, ids=str)
def test_every_rejection_has_a_picture(collection: Collection, reason: Reason) -> None:
    found = drawn(collection, reason)
    assert found["kind"] == KINDS.get(reason, "fields")
    json.dumps(found, allow_nan=False)


def test_pictures_show_what_is_wrong(collection: Collection) -> None:
    [box] = drawn(collection, Reason.BOX_OUTSIDE)["boxes"]
    assert box == {"name": "wrench", "time_s": 1.0, "box": [0.7, 0.2, 1.4, 0.6], "read_as": None}
    late = drawn(collection, Reason.KEY_TIME)
    assert late["duration_s"] == 4.0
    assert [(mark["time_s"], mark["wrong"]) for mark in late["marks"]] == [(9.5, True), (1.0, False)]
    assert drawn(collection, Reason.SPAN_TIME)["spans"][0]["end_s"] == 40.0
    pieces = drawn(collection, Reason.BAD_EVIDENCE)["pieces"]
    assert [piece for piece, wrong in pieces if wrong] == ["<box>[1,2]</box>", "</t>"]
    assert drawn(collection, Reason.MEDIA_MISSING)["path"] == "not here.mp4"
    assert drawn(collection, Reason.UNSAFE_PATH)["path"] == "../../etc/passwd"
    repeated = drawn(collection, Reason.DUPLICATE_ID)
    assert repeated["other_row"] == 0
    assert [line for line, wrong in repeated["lines"] if wrong] == ['"id": "ts"']
    assert [line for line, wrong in drawn(collection, Reason.NOT_OBJECT)["lines"] if wrong] == ['"no object"']


def test_a_box_in_pixels_is_recognised(tmp_path: Path) -> None:
    write(tmp_path)
    annotate(tmp_path, "STGR-SFT.json", [grounded("px", **items(6, 9, 19, 20))])
    with opened(tmp_path / "STGR-SFT.json") as collection:
        [box] = drawn(collection, Reason.BOX_OUTSIDE)["boxes"]
    assert box["read_as"]["words"] == "pixels of 64 x 48"
    assert box["read_as"]["box"] == [round(6 / 64, 4), round(9 / 48, 4), round(19 / 64, 4), round(20 / 48, 4)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        "<obj>",
        "<box><box>",
        "<t>1</t>",
        "<t>1.0</t>s",
        "<obj></obj>",
        "a</think>b",
        "<obj>a<t>1</t>s",
    ],
)
def test_marking_a_text_keeps_every_letter(text: str) -> None:
    assert "".join(piece for piece, _ in marked(text)) == text


def test_what_validate_wrote_is_shown_with_its_reasons(folder: Path, tmp_path: Path) -> None:
    """A rejection that only the stage knows, over data that lies as the pipeline lays it."""
    with opened(folder) as collection:
        media = {media for media in map(media_of, (entry.raw for entry in collection.entries)) if media}
        for name in media:
            if (source := collection.raw / "media" / name).exists():
                target = tmp_path / "raw/media" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    (tmp_path / "raw/annotations").mkdir()
    annotate(tmp_path / "raw/annotations", "STGR-SFT.json", sft_rows())
    (tmp_path / "raw/manifest.jsonl").write_text("")
    (tmp_path / "validated").mkdir()
    (tmp_path / "validated/sft.jsonl").write_text("")
    rejection = {
        "file": "STGR-SFT.json", "row": 1, "id": "when", "source": "local", "task": "temporal QA",
        "reason": "span outside the video", "field": "answer", "detail": "2 s after the end",
    }  # fmt: skip
    (tmp_path / "validated/rejected.jsonl").write_text(json.dumps(rejection) + "\n")
    with opened(tmp_path / "validated") as collection:
        reasons = [entry.rejection and entry.rejection.detail for entry in collection.entries]
        assert reasons == [None, "2 s after the end", None, None, None]
        summary = write_page(collection, tmp_path / "out")
    assert (summary.records, summary.rejected) == (5, 1)
    assert summary.clips == {"linked": 1, "converted": 1}


def test_rows_that_were_set_aside_say_why(folder: Path, tmp_path: Path) -> None:
    why = {"reason": "the object is not in the box", "field": "key_items", "detail": "asked twice"}
    rows = [{**sft_rows()[0], "rejected": why}, {**sft_rows()[1], "rejected": "blind"}, sft_rows()[3]]
    annotate(tmp_path, "aside.json", rows)
    with opened(tmp_path / "aside.json", folder) as collection:
        found = [entry.rejection for entry in collection.entries]
        assert found[0] is not None
        assert (found[0].reason, found[0].detail) == ("the object is not in the box", "asked twice")
        assert found[1] is not None
        assert found[1].reason == "blind"
        assert found[2] is None
        assert collection.rejection(collection.entries[0], sft_rows()[0]) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: no such file or folder"),
        ("empty", "empty: contains no annotation file"),
        ("bench", "has no STGR-SFT.json and no STGR-RL.json; `openo3 gallery` shows benchmarks"),
        ("none.json", "none.json: has no training records"),
        ("broken.json", "broken.json: row 0, byte 7: the file is cut off"),
    ],
)
def test_what_holds_no_records_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    annotate(tmp_path / "bench", "V_STaR_test.json", [])
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "broken.json").write_text('[{"a": ')
    assert main(["look", name]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not (tmp_path / "reports").exists()


def test_a_place_that_holds_something_else_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with opened(folder) as collection:
        with pytest.raises(LookError, match="did not write"):
            write_page(collection, tmp_path)
        (tmp_path / "page.html").mkdir()
        with pytest.raises(LookError, match="is a folder"):
            write_page(collection, tmp_path / "page.html")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_pages_hold_every_record(folder: Path, tmp_path: Path) -> None:
    with opened(folder) as collection:
        first = write_page(collection, tmp_path / "out")
        second = write_page(collection, tmp_path / "out")
        one = write_page(collection, tmp_path / "one.html")
        assert first == second
        assert first.records == one.records == len(sft_rows()) + len(BROKEN) + 1 + 6
        assert first.clips["linked"] == 1
        (tmp_path / "out/media/mine.mp4").write_text("mine")
        with pytest.raises(LookError, match=r"holds media/mine\.mp4"):
            write_page(collection, tmp_path / "out")
    assert not list(tmp_path.glob(".*"))
