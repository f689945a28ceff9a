import json
from pathlib import Path

import pytest

from openo3.files.artifacts import read_json, read_jsonl
from openo3.media.probe import probe
from stages import download, validate
from tests.support import local_folder
from tests.support.clips import copied


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five good SFT rows and one bad one, downloaded."""
    folder = local_folder.write(tmp_path / "mine")
    rows = local_folder.sft_rows()
    bad = rows[0] | {"id": "<script>alert(1)</script>", "question": ""}
    local_folder.annotate(folder, "STGR-SFT.json", [*rows, bad])
    download.run(download.Params("local", "mine"), tmp_path)
    return tmp_path


def test_every_artifact_is_written(root, capsys):
    assert validate.run(validate.Params(max_rejected_share=0.2), root) is None
    assert len(list(read_jsonl(root / "data/validated/sft.jsonl"))) == 5
    assert len(list(read_jsonl(root / "data/validated/rl.jsonl"))) == 6
    assert len(read_json(root / "data/validated/bench/vstar.json")) == 1
    assert len(read_json(root / "data/validated/bench/tvgbench.json")) == 1
    [rejected] = read_jsonl(root / "data/validated/rejected.jsonl")
    assert (rejected["row"], rejected["reason"]) == (5, "question empty")
    assert read_json(root / "metrics/validation.json")["reasons"] == {"question empty": 1}
    page = (root / "reports/validation/index.html").read_text()
    assert "question empty" in page
    assert "<script>alert(1)" not in page
    assert "sft: 5 of 6 rows usable" in capsys.readouterr().out


TRAINING, BENCHMARKS = ("STGR-SFT.json", "STGR-RL.json"), ("V_STaR_test.json", "TVGBench.json")


@pytest.mark.parametrize("kept", [TRAINING[:1], TRAINING[1:], TRAINING, BENCHMARKS, BENCHMARKS[:1]])
def test_any_subset_of_annotations_gives_outputs_for_all_later_stages(root, kept, capsys):
    for name in {*TRAINING, *BENCHMARKS} - {*kept}:
        (root / "data/raw/annotations" / name).unlink()
    assert validate.run(validate.Params(max_rejected_share=0.2), root) is None
    validated = root / "data/validated"
    for name, output in zip(TRAINING, ("sft", "rl"), strict=True):
        assert bool(list(read_jsonl(validated / f"{output}.jsonl"))) == (name in kept)
    said = capsys.readouterr().out
    assert ("sft: no annotation file" in said) == (TRAINING[0] not in kept)
    found = {file.stem: len(read_json(file)) for file in (validated / "bench").glob("*.json")}
    if kept == BENCHMARKS:
        assert found == {"vstar": 1, "tvgbench": 1}
    elif kept == BENCHMARKS[:1]:
        assert found == {"vstar": 1}
    else:
        assert found
        assert not any(found.values())


def test_a_clip_of_a_benchmark_may_have_any_container(root):
    folder = root / "mine/vstar"
    copied(folder / "v 1.mp4", folder / "v 1.mkv")
    (folder / "v 1.mp4").unlink()
    download.run(download.Params("local", "mine"), root)
    assert validate.run(validate.Params(max_rejected_share=0.2), root) is None
    [record] = read_json(root / "data/validated/bench/vstar.json")
    assert (record["media"], record["duration_s"]) == ("videos/vstar/v 1.mp4", 4.0)
    assert probe(root / "data/raw/media" / record["media"]).container.startswith("matroska")
    page = (root / "reports/validation/index.html").read_text()
    accepted = page[page.index('<section id="accepted">') : page.index('<section id="coverage">')]
    assert accepted.count("data:image/jpeg;base64,") == 5, (
        "a clip and an image of two files, and V-STaR's clip"
    )
    assert ">wrench</text>" in accepted
    assert ">fridge</text>" in accepted
    assert 'href="../frames/index.html"' in page


def test_a_second_run_writes_the_same_bytes(root):
    artifacts = ("data/validated", "metrics", "reports")

    def content():
        return {p: p.read_bytes() for name in artifacts for p in (root / name).rglob("*") if p.is_file()}

    validate.run(validate.Params(1.0), root)
    first = content()
    validate.run(validate.Params(1.0), root)
    assert content() == first


def test_too_many_rejections_fail_after_the_reports_are_written(root):
    problem = validate.run(validate.Params(max_rejected_share=0.16), root)
    assert problem.startswith("more than 16.0 % of sft is rejected, see reports/validation/index.html")
    assert problem.endswith("raise validate.max_rejected_share")
    assert "Stopped: more than 16.0 %" in (root / "reports/validation/index.html").read_text()
    assert len(list(read_jsonl(root / "data/validated/rejected.jsonl"))) == 1
    assert read_json(root / "metrics/validation.json")["rejected"] == 1


def test_the_command_fails_with_one_line(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    Path("params.yaml").write_text("validate: {max_rejected_share: 0.0}")
    with pytest.raises(SystemExit) as stop:
        validate.main()
    assert str(stop.value).startswith("validate: more than 0 % of sft is rejected, see reports/validation")
    assert "\n" not in str(stop.value)
    cut = json.dumps(local_folder.sft_rows())[:-20]
    Path("data/raw/annotations/STGR-SFT.json").write_text(cut)
    with pytest.raises(SystemExit) as stop:
        validate.main()
    assert str(stop.value).endswith("STGR-SFT.json: row 4, byte " + f"{len(cut)}: the file is cut off")
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_rejected_share: 5", "max_rejected_share must be at most 1, got 5"),
        ("max_rejected_share: 0.1, max_missing_share: -1", "max_missing_share must be at least 0, got -1"),
        ("max_rejected_share: 0.1, time_tolerance_s: -1", "time_tolerance_s must be at least 0, got -1"),
        ("max_rejected_share: 0.1, time_limit_s: 0", "time_limit_s must be greater than 0, got 0"),
        ("max_rejected_share: 0.1, listed_rows: -1", "listed_rows must be at least 0, got -1"),
    ],
)
def test_invalid_parameters_fail_with_one_line(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(f"validate: {{{line}}}")
    with pytest.raises(SystemExit):
        validate.main()
    assert capsys.readouterr().err == f"params.yaml: validate: {message}\n"


@pytest.mark.parametrize("content", [b"garbage", b"", bytes(300), b"[1]\n", b'{"sha256": "0"}\n'])
def test_damaged_media_notes_are_rebuilt(root, content):
    validate.run(validate.Params(1.0), root)
    known = root / ".cache/openo3/media.jsonl"
    before = known.read_bytes()
    known.write_bytes(content)
    assert validate.run(validate.Params(1.0), root) is None
    assert known.read_bytes() == before


def test_reasoning_without_evidence_is_a_warning(root, capsys):
    rows = json.loads((root / "data/raw/annotations/STGR-SFT.json").read_text())
    rows[0]["reasoning_process"] = "He picks up a wrench, as everybody can see."
    (root / "data/raw/annotations/STGR-SFT.json").write_text(json.dumps(rows))
    validate.run(validate.Params(1.0), root)
    warning = "sft: reasoning without any <t> or <box>"
    assert f"warning: {warning}: 1 rows" in capsys.readouterr().out
    assert read_json(root / "metrics/validation.json")["warnings"] == {warning: 1}
    assert len(list(read_jsonl(root / "data/validated/sft.jsonl"))) == 5
    assert "reasoning without any &lt;t&gt;" in (root / "reports/validation/index.html").read_text()


def test_an_unreadable_file_keeps_the_previous_results(root):
    validate.run(validate.Params(1.0), root)
    before = (root / "data/validated/sft.jsonl").read_bytes()
    (root / "data/raw/annotations/STGR-RL.json").write_text("<html>")
    with pytest.raises(validate.AnnotationError):
        validate.run(validate.Params(1.0), root)
    assert (root / "data/validated/sft.jsonl").read_bytes() == before
