"""An audit of a finished run: its numbers, its page, and going on after a kill."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openo3.audit import run, summary
from openo3.audit.build import write
from openo3.audit.run import Limits, Settings
from openo3.cli.main import main
from openo3.files.artifacts import read_json, read_jsonl, write_jsonl
from openo3.files.import_closure import ROOT, closure, counts, imports
from openo3.files.import_closure import _file as path_of
from openo3.model.necessity import CHAIN, FRAMES, READINGS, REASONED, Hiding
from openo3.prompt_file import default_prompts
from tests.support.browser import BROWSER, Browser
from tests.support.finished_run import write_run

SHIPPED = Path("data/tiny-qwen3-vl").resolve()
SETTINGS = Settings(max_records=4, hiding=Hiding(draws=2))
EVIL = "<img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six records whose checkpoints are the shipped model; every reasoning is hostile, and
    one answer is too."""
    root = tmp_path_factory.mktemp("run")
    write_run(root, videos=2)
    shutil.rmtree(root / "data/models", ignore_errors=True)
    for name in ("base", "gspo"):
        shutil.copytree(SHIPPED, root / "data/models" / name)
    path = root / "data/predictions/gspo/vstar/greedy.jsonl"
    lines = list(read_jsonl(path))
    for line in lines:
        line["completion"] = line["completion"].replace("<think>", f"<think>{EVIL} ")
        if (line["record"], line["question"]) == (1, "what"):
            claim = "<obj>red circle</obj><box>[100,100,400,400]</box>at<t>1.0</t>s"
            nowhere = "<obj>it</obj><box>[100,100,400,400]</box>at<t>99.0</t>s"
            line["completion"] = f"<think>{EVIL} {claim} {nowhere}</think><answer>{EVIL}</answer>"
    write_jsonl(path, lines)
    return root


@pytest.fixture(scope="module")
def written(root: Path):
    return write(root, "gspo", SETTINGS, root / "audit")


def test_the_report_has_every_claim_and_means_by_hand(written) -> None:
    report = read_json(written.numbers)
    assert report["counts"]["records"] == report["counts"]["answers"] == 4
    assert report["counts"]["videos"] == 2
    assert report["counts"]["claims_left_out"]["after the end"] == 1
    claims = report["claims"]
    assert {claim["record"] for claim in claims} == set(range(4))
    for reading in READINGS:
        numbers = report["numbers"][reading]
        ones = [claim["readings"][reading] for claim in claims]
        assert numbers["necessity"]["value"] == pytest.approx(np.mean([one["necessity"] for one in ones]))
        assert numbers["cited"]["value"] == pytest.approx(
            np.mean([one["given"] - one["hidden"] for one in ones])
        )
        assert numbers["decorative"]["value"] == pytest.approx(np.mean([one["decorative"] for one in ones]))
        for one in ones:
            assert one["necessity"] == pytest.approx(one["elsewhere"] - one["hidden"])
            assert one["interval"][0] <= one["necessity"] <= one["interval"][1]
            assert one["decorative"] == (one["interval"][0] <= 0)
        difference = numbers["random"]["value"] + numbers["necessity"]["value"]
        assert difference == pytest.approx(numbers["cited"]["value"])


def test_precision_is_of_claims_whose_truth_is_known(written, root: Path) -> None:
    report = read_json(written.numbers)
    known = [claim["iou"] for claim in report["claims"] if claim["iou"] is not None]
    assert report["numbers"]["precision"]["claims"] == len(known) > 2
    assert report["numbers"]["precision"]["right"]["value"] == pytest.approx(np.mean(np.array(known) >= 0.5))
    answers = run.Answers.open(root, "gspo", SETTINGS)
    record = answers.run.results[0]
    [answer] = answers.of_record(0)
    placed = answer.claims[0]
    if placed.claim.name == record["object"]:
        assert run.true_iou(answers.run, record, placed) is not None
    other = {**record, "object": "green triangle"}
    assert run.true_iou(answers.run, other, placed) is None


def test_sufficiency_is_the_share_of_what_the_frames_add() -> None:
    def answer(video: str, given: float, blank: float, only: float) -> dict:
        whole = {"given": {FRAMES: given}, "blank": {FRAMES: blank}, "only": {FRAMES: only}}
        return {"video": video, "whole": whole | {"elsewhere": {FRAMES: [blank, blank + 1.0]}}}

    answers = [answer("a", -1.0, -5.0, -2.0), answer("b", -1.0, -3.0, -3.0)]
    found = summary.of_answers(answers, FRAMES)
    assert found["sufficiency"]["value"] == pytest.approx((-2.5 + 4.0) / (-1.0 + 4.0))
    assert found["by_chance"]["value"] == pytest.approx(0.5 / 3.0)
    nothing = summary.of_answers([answer("a", -1.0, -1.0, -2.0), answer("b", -1.0, -3.0, -1.0)], FRAMES)
    assert nothing["sufficiency"] is None  # the frames of one answer add nothing


def test_a_killed_audit_goes_on_and_gives_the_same(
    written, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first batch, only the rest is measured again."""
    effects, measured = run._effects, []

    def until_the_second(engine, answers, *rest):
        measured.append([answer.record for answer in answers])
        if len(measured) == 2:
            raise KeyboardInterrupt
        return effects(engine, answers, *rest)

    monkeypatch.setattr(run, "_effects", until_the_second)
    limits = Limits(records_per_batch=2)
    with pytest.raises(KeyboardInterrupt):
        write(root, "gspo", SETTINGS, root / "again", limits)
    assert not (root / "again").exists()
    again = write(root, "gspo", SETTINGS, root / "again", limits)
    assert measured == [[0, 1], [2, 3], [2, 3]]
    before, after = (read_json(one.numbers)["numbers"] for one in (written, again))
    for reading in READINGS:
        assert after[reading]["necessity"]["value"] == pytest.approx(
            before[reading]["necessity"]["value"], abs=1e-3
        )
    assert not list((root / ".cache/openo3/audit-gspo").glob("*"))


def test_measurements_of_anything_else_are_not_continued(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, answers, frames, prompts, settings, device: of each, the unfinished work is another one's."""
    for name in ("data/models/gspo", "data/predictions/gspo", "data/frames/vstar"):
        shutil.copytree(root / name, tmp_path / name)
    prompts = default_prompts()

    def workspace(**changes: Any) -> Path:
        at = {"model": "gspo", "settings": SETTINGS, "prompts": prompts} | changes
        return run._workspace(tmp_path, at["model"], at["settings"], at["prompts"])

    seen = [workspace()]
    assert workspace() == seen[0]
    for file in (
        "models/gspo/model.safetensors",
        "predictions/gspo/vstar/greedy.results.json",
        "predictions/gspo/vstar/greedy.jsonl",
        "frames/vstar/index.json",
        next(str(shard.relative_to(tmp_path / "data")) for shard in (tmp_path / "data").rglob("*.parquet")),
    ):
        with (tmp_path / "data" / file).open("r+b") as changed:
            changed.seek(-1, 2)
            changed.write(b" ")
        seen.append(workspace())
    seen.append(workspace(settings=replace(SETTINGS, max_records=3)))
    seen.append(workspace(prompts=prompts.plainly()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # another precision
    seen.append(workspace())
    assert len(set(seen)) == len(seen)


def test_the_code_of_an_audit_is_all_that_it_imports() -> None:
    """Else a changed file would go on with what the old one measured."""
    modules, waiting = set(), ["openo3.audit.run"]
    while waiting:
        if (name := waiting.pop()) not in modules:
            modules.add(name)
            waiting += imports(name)
    made_of = {file for name in modules if counts(file := path_of(name))}
    known = closure("evaluate") | set(run._CODE)
    assert {str(file.relative_to(ROOT)) for file in made_of} <= known


def test_another_seed_hides_other_random_places(written, root: Path, tmp_path: Path) -> None:
    other = Settings(max_records=2, hiding=Hiding(draws=2, seed=1))
    report = read_json(write(root, "gspo", other, tmp_path).numbers)
    same = [claim for claim in read_json(written.numbers)["claims"] if claim["record"] < 2]
    assert len(report["claims"]) == len(same)
    for one, first in zip(report["claims"], same, strict=True):
        for reading in (FRAMES, REASONED):
            a, b = one["readings"][reading], first["readings"][reading]
            assert a["hidden"] == pytest.approx(b["hidden"], abs=1e-3)
        assert one["readings"][CHAIN]["elsewhere"] != first["readings"][CHAIN]["elsewhere"]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_page_shows_claims_and_no_markup_of_theirs(written) -> None:
    with Browser() as browser:
        page = browser.open(written.page.resolve().as_uri())
        assert page.run("document.title") == "Does the evidence matter? gspo"
        assert page.run("document.querySelectorAll('.four').length") >= 2
        assert page.run("[...document.querySelectorAll('.four')].every(e => e.children.length === 4)")
        claims = len(json.loads(written.numbers.read_text())["claims"])
        assert page.run("document.querySelectorAll('.dots circle').length") == claims
        assert page.run("document.querySelectorAll('main img').length") == 0
        assert EVIL in page.run("document.body.textContent")
        assert page.complaints() == []
        assert page.requests() == [written.page.resolve().as_uri()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "openo3: nobody: no such checkpoint in data/models; there are base, gspo"),
        (["../gspo"], "openo3: ../gspo: no such checkpoint in data/models; there are base, gspo"),
        (["gspo", "--benchmark", "x"], "openo3: --benchmark x: unknown; there are vstar, "),
        (["gspo", "--condition", "odd"], "data/predictions/gspo/vstar/odd.results.json: no answers of gspo"),
        (["gspo", "--condition", "plain"], "openo3: --condition plain: its answers cite no evidence"),
        (["base"], "openo3: base: none of the 6 records' answers cites a box"),
    ],
)  # fmt: skip
def test_what_cannot_be_audited_is_one_line(
    root: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(root)
    assert main(["audit", *arguments, "--out", "nowhere"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert said in last
    assert not (root / "nowhere").exists()


def test_the_command_prints_its_numbers(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(root)
    arguments = ["gspo", "--max-records", "1", "--draws", "2", "--fill", "grey", "--out", str(tmp_path)]
    assert main(["audit", *arguments]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/gspo.html: " in said
    assert "1 answers: necessity " in said
    assert read_json(tmp_path / "gspo.json")["settings"]["hiding"]["fill"] == "grey"


@pytest.mark.parametrize(
    "wrong", [["--draws", "0"], ["--around", "-1"], ["--margin", "nan"], ["--max-records", "x"]]
)
def test_a_wrong_number_is_refused(wrong: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["audit", "gspo", *wrong])
    assert stop.value.code == 2
    assert "expected" in capsys.readouterr().err
