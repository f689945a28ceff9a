"""Decisions: what is written, what a later run finds, and who was faster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from openo3.annotations import stgr
from openo3.fetch import local
from openo3.review.collection import Collection, LookError, opened
from openo3.review.decisions import Review, Stale, Unusable
from openo3.review.edits import Draft, change
from tests.openo3.review.folder import BROKEN, write
from tests.support.local_folder import annotate, sft_rows

MOVED = {"do": "move_box", "at": {"in": "key_items", "idx": 1, "name": "wrench", "box": 0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("decisions") / "clips")


@pytest.fixture(scope="module")
def collection(folder: Path):
    with opened(folder) as found:
        yield found


def read(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def number_of(collection: Collection, id: str, file: str = "STGR-SFT.json") -> int:
    return next(
        entry.number
        for entry in collection.entries
        if entry.file == file and isinstance(entry.raw, dict) and entry.raw["id"] == id
    )


def decide(
    review: Review, number: int, decision: str, *changes: dict, version: int | None = None, by: str = ""
):
    draft = review.draft(number)
    for one in changes:
        draft = change(draft, one)
    now = review.state(number).version if version is None else version
    return review.decide(number, now, decision, "", by, draft)  # type: ignore[arg-type]


def test_decisions_go_to_a_new_file_and_the_original_stays(
    collection: Collection, folder: Path, tmp_path: Path
) -> None:
    before = {name: (folder / name).read_bytes() for name in collection.files}
    out = tmp_path / "out"
    with Review.opened(collection, out) as review:
        repaired = number_of(collection, "outside")
        decide(review, number_of(collection, "free"), "rejected")
        decide(review, repaired, "accepted", {**MOVED, "to": [0.7, 0.2, 1.0, 0.6]})
        decide(review, number_of(collection, "when"), "accepted")
    assert {name: (folder / name).read_bytes() for name in before} == before
    usable, rest = read(out / "STGR-SFT.json"), read(out / "STGR-SFT.rejected.json")
    ids = [row["id"] for row in usable]
    assert ids[:4] == ["ts", "when", "image", "choice"]
    assert "outside" in ids
    assert next(row for row in usable if row["id"] == "outside")["key_items"]["1"]["wrench"] == [
        [0.7, 0.2, 1.0, 0.6]
    ]
    assert all(stgr.parse(row) for row in usable)
    why = {row["id"]: row["rejected"]["reason"] for row in rest if isinstance(row, dict)}
    assert why["free"] == "rejected in review"
    assert why["late"] == "key frame outside the video"
    assert len(usable) + len(rest) == len(sft_rows()) + len(BROKEN) + 1
    assert len(read(out / "STGR-RL.json")) == 6


def test_the_new_folder_is_one_that_download_reads(collection: Collection, tmp_path: Path) -> None:
    with Review.opened(collection, tmp_path / "out"):
        pass
    plan = local.plan(tmp_path / "out")
    assert {item.target for item in plan.items} >= {"annotations/STGR-SFT.json", "annotations/STGR-RL.json"}
    assert plan.missing == []
    with opened(tmp_path / "out") as again:
        assert [entry.rejection for entry in again.entries] == [None] * len(again.entries)


def test_a_later_run_goes_on_even_after_a_kill(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with opened(folder) as collection, Review.opened(collection, out) as review:
        number = number_of(collection, "ts")
        decide(review, number, "accepted", {**MOVED, "to": [0.1, 0.2, 0.35, 0.4]}, by="Ana")
        written = (out / "STGR-SFT.json").read_bytes()
    journal = out / "decisions.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:-20])  # a line that was being written
    (out / "STGR-SFT.json").unlink()  # killed before it had its name
    with opened(folder) as collection, Review.opened(collection, out) as review:
        state = review.state(number)
        assert (state.version, state.decision, state.by) == (1, "accepted", "Ana")
        assert (out / "STGR-SFT.json").read_bytes() == written
        decide(review, number, "undecided", version=1)
    assert journal.read_bytes().startswith(whole)
    assert len(journal.read_bytes().splitlines()) == 2


def test_who_is_slower_is_told_what_changed(collection: Collection, tmp_path: Path) -> None:
    with Review.opened(collection, tmp_path / "out") as review:
        number = number_of(collection, "ts")
        decide(review, number, "accepted", {**MOVED, "to": [0.1, 0.2, 0.35, 0.4]}, by="Ana")
        with pytest.raises(Stale) as stale:
            decide(review, number, "rejected", version=0, by="Bo")
        assert stale.value.now.by == "Ana"
        assert stale.value.changes[0] == "the record is accepted now; it was undecided"
        assert "the box of 'wrench' at key frame 1 changed" in stale.value.changes
        assert review.state(number).version == 1
        decide(review, number, "rejected", version=1, by="Bo")
    assert len((tmp_path / "out/decisions.jsonl").read_bytes().splitlines()) == 2


def test_what_the_rules_reject_is_accepted_only_when_repaired(collection: Collection, tmp_path: Path) -> None:
    with Review.opened(collection, tmp_path / "out") as review:
        for id, message in (
            ("gone", "media missing"),
            ("answer", "answer does not parse"),
            ("tags", "malformed"),
        ):
            with pytest.raises(Unusable, match=message):
                decide(review, number_of(collection, id), "accepted")
        decide(
            review, number_of(collection, "answer"), "accepted", {"do": "set_span", "start_s": 1, "end_s": 2}
        )
        with pytest.raises(Unusable, match="box outside the frame"):
            decide(review, number_of(collection, "ts"), "accepted", {**MOVED, "to": [0.5, 0.5, 1.5, 0.9]})
        assert review.counts()["accepted"] == 1
    assert (tmp_path / "out/decisions.jsonl").read_bytes().count(b"\n") == 1


def test_a_person_may_overrule_a_filter_but_not_the_rules(folder: Path, tmp_path: Path) -> None:
    rows = [{**row, "rejected": "answered blind"} for row in (sft_rows()[0], BROKEN["box outside the frame"])]  # type: ignore[index]
    annotate(tmp_path, "aside.json", rows)
    with opened(tmp_path / "aside.json", folder) as collection:
        out = tmp_path / "again.json"
        with Review.opened(collection, out) as review:
            assert read(out) == []
            decide(review, 0, "accepted")
            with pytest.raises(Unusable, match="box outside the frame"):
                decide(review, 1, "accepted")
    assert read(out) == [sft_rows()[0]]
    assert [row["rejected"]["reason"] for row in read(tmp_path / "again.rejected.json")] == ["answered blind"]
    assert sorted(path.name for path in tmp_path.glob("again*")) == [
        "again.decisions.jsonl", "again.json", "again.rejected.json",
    ]  # fmt: skip


def test_what_an_annotator_set_aside_can_be_taken_back(folder: Path, tmp_path: Path) -> None:
    """As `aside.jsonl` has it: a filter's word about a record, and a reply that was no record."""
    folder = Path(shutil.copytree(folder, tmp_path / "clips"))
    why = {"clip": "a.mp4", "reason": "answered without frames", "detail": "3 of 4 times", "filter": "blind"}
    row = {**sft_rows()[0], "id": "taken back"}
    lines = [{**why, "record": row}, {**why, "reason": "no JSON", "record": None, "text": "I see a cup"}]
    (folder / "aside.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with opened(folder) as collection, Review.opened(collection, tmp_path / "out") as review:
        *_, first, second = collection.entries
        reasons = [str(entry.rejection and entry.rejection.reason) for entry in (first, second)]
        assert reasons == ["answered without frames", "no JSON"]
        assert first.file == "aside.jsonl"
        decide(review, first.number, "accepted")
        with pytest.raises(Unusable):
            decide(review, second.number, "accepted")
    assert read(tmp_path / "out/STGR-SFT.json")[-1] == row
    rest = read(tmp_path / "out/STGR-SFT.rejected.json")
    assert rest[-1]["rejected"] == {"reason": "no JSON", "field": "blind", "detail": "3 of 4 times"}


def test_undecided_records_can_be_left_out(collection: Collection, tmp_path: Path) -> None:
    with Review.opened(collection, tmp_path / "out", only_accepted=True) as review:
        decide(review, number_of(collection, "ts"), "accepted")
    assert [row["id"] for row in read(tmp_path / "out/STGR-SFT.json")] == ["ts"]


def test_a_decision_stays_with_its_row(folder: Path, tmp_path: Path) -> None:
    """The file has a new row in front, and one that was decided about has changed."""
    folder = Path(shutil.copytree(folder, tmp_path / "clips"))
    with opened(folder) as collection, Review.opened(collection, tmp_path / "out") as review:
        decide(review, number_of(collection, "free"), "rejected")
        decide(review, number_of(collection, "choice"), "rejected")
    rows = read(folder / "STGR-SFT.json")
    rows[3]["question"] = f"{rows[3]['question']}\nC. green"
    annotate(folder, "STGR-SFT.json", [{**sft_rows()[4], "id": "new"}, *rows])
    with opened(folder) as collection, Review.opened(collection, tmp_path / "out") as review:
        assert review.state(number_of(collection, "free")).decision == "rejected"
        assert review.state(number_of(collection, "choice")).version == 0
        assert review.set_aside == 1


def test_nothing_of_anybody_is_overwritten(collection: Collection, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out, message in (
        (tmp_path / "other", "no review wrote"),
        (folder, "is the original"),
        (tmp_path / "file", "is a file"),
    ):
        with pytest.raises(LookError, match=message), Review.opened(collection, out):
            pass
    with (
        Review.opened(collection, tmp_path / "out"),
        pytest.raises(LookError, match="another `openo3 look --serve`"),
        Review.opened(collection, tmp_path / "out"),
    ):
        pass
    with opened(folder / "STGR-SFT.json") as one:
        for out, message in (
            (tmp_path / "file", "no review wrote"),
            (folder / "STGR-SFT.json", "is the original"),
            (tmp_path, "is a folder"),
        ):
            with pytest.raises(LookError, match=message), Review.opened(one, out):
                pass
    assert (tmp_path / "file").read_text() == (tmp_path / "other/notes.txt").read_text() == "mine"


def test_drafts_are_kept_whole(collection: Collection, tmp_path: Path) -> None:
    with Review.opened(collection, tmp_path / "out") as review:
        number = number_of(collection, "ts")
        decide(review, number, "undecided", {"do": "set_text", "in": "question", "to": "What is “it”?"})
        assert review.draft(number) == Draft.from_json(review.draft(number).to_json())
    assert read(tmp_path / "out/STGR-SFT.json")[0]["question"] == "What is “it”?"
