"""Harder clips are twice as long with twice as many shapes, and the tables match the results."""

from pathlib import Path

from bench import harder
from bench.ablation import parameters
from openo3.benchmarks.registry import BENCHMARKS
from openo3.files.artifacts import read_json
from tests.bench.test_ablation import settings


def test_the_scale_doubles_the_clips_and_their_frames() -> None:
    params = parameters(settings(videos=160), harder.changes(2))
    assert params["download"]["shapes"]["benchmark_scale"] == 2
    assert params["download"]["shapes"]["benchmark_videos"] == 160
    usual = parameters(settings(videos=160), {})["sample_frames"]
    for bench in ("vstar", "tvgbench"):
        assert params["sample_frames"][bench]["max_frames"] == 2 * usual[bench]["max_frames"]
        assert params["sample_frames"][bench]["fps"] == usual[bench]["fps"]
        assert params["evaluate"]["decodings"][bench] == ["greedy", "plain"]
    assert params["sample_frames"]["train"] == usual["train"]


def test_levels_and_paired_differences_match_the_results(evaluated: Path) -> None:
    lines = [line.split("|")[1:-1] for line in harder.tables(evaluated).splitlines() if line.startswith("| ")]
    table = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}
    assert list(table) == ["", "Base", "SFT", "GSPO", "difference", "SFT - Base", "GSPO - Base", "GSPO - SFT"]
    at = table["difference"].index("mAM")
    base = read_json(evaluated / "metrics/evaluate/base.json")["vstar"]["plain"]["mAM"]
    assert table["Base"][at] == f"{100 * base:.1f}"
    gspo, sft = (harder.results(evaluated, model, "vstar") for model in ("gspo", "sft"))
    gain = BENCHMARKS["vstar"].scoring.difference(gspo, sft)["mAM"]
    assert table["GSPO - SFT"][at].strip("*").startswith(f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f},")
