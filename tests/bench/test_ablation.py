"""The ablation's tables say what the metrics say, and its stages run as they are called."""

import shutil
from pathlib import Path

import pytest

from bench import ablation
from tests.finished_run import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two seeds: one that is what GSPO made, one that is what SFT made."""
    write_run(tmp_path)
    for seed, model in ((0, "gspo"), (1, "sft")):
        shutil.copytree(tmp_path / f"data/predictions/{model}", tmp_path / f"data/predictions/gspo-{seed}")
        shutil.copy(
            tmp_path / f"metrics/evaluate/{model}.json", tmp_path / f"metrics/evaluate/gspo-{seed}.json"
        )
    return tmp_path


def test_differences_are_over_the_same_records(run: Path, capsys: pytest.CaptureFixture) -> None:
    ablation.tables(run, [0, 1], ["greedy"])
    printed = capsys.readouterr().out.splitlines()
    lines = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in printed if line.startswith("| ")}
    assert list(lines) == ["", "base", "sft", "gspo-0", "gspo-1", "gspo-0 - sft", "gspo-1 - sft"]
    assert lines["gspo-1"] == lines["sft"]
    assert {cell.strip() for cell in lines["gspo-1 - sft"][:6]} == {"0.0 [0.0, 0.0]"}
    gained, sft, gspo = (float(lines[name][5].split()[0]) for name in ("gspo-0 - sft", "sft", "gspo-0"))
    assert gained == pytest.approx(gspo - sft, abs=0.11)
    assert gained > 0


def test_what_was_made_is_not_made_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def made(folder: Path, result: str, *names: str) -> None:
        if not (folder / result).exists():
            called.append(names[0])
            (folder / result).parent.mkdir(parents=True, exist_ok=True)
            (folder / result).touch()
            if names == ("stages.gspo",):
                (folder / "data/models/gspo").mkdir(parents=True)

    monkeypatch.setattr(ablation, "stage", made)
    ablation.run(run, 2, [0, 1, 2], ["greedy"], 1)
    assert called.count("stages.gspo") == 3
    assert (run / "data/models/gspo-2").is_dir()
    called.clear()
    ablation.run(run, 2, [0, 1, 2], ["greedy"], 1)
    assert called == []
    assert "seed: 2" not in (run / "params.yaml").read_text()


def test_an_unknown_stage_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ablation.subprocess.CalledProcessError):
        ablation.stage(tmp_path, "nothing", "stages.nothing")
