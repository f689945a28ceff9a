"""Training stages without records copy their input model, so that any subset of annotations can run."""

from pathlib import Path

import pytest

from openo3.files.artifacts import read_csv, read_json
from stages import gspo, sft
from tests.stages.training_stage import copy_workplace


@pytest.mark.parametrize("rows", [None, ""])
def test_training_without_records_copies_the_model(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, rows
):
    folder = copy_workplace(inputs, tmp_path)
    (folder / "data/validated").unlink()
    (folder / "data/validated").mkdir()
    for name in ("sft", "rl"):
        if rows is not None:
            (folder / f"data/validated/{name}.jsonl").write_text(rows)
    monkeypatch.chdir(folder)
    sft.main()
    gspo.main()
    models = [folder / f"data/models/{name}/model.safetensors" for name in ("base", "sft", "gspo")]
    assert len({model.read_bytes() for model in models}) == 1
    for name in ("sft", "gspo"):
        assert read_json(folder / f"metrics/{name}.json")["steps"] == 0
        assert read_csv(folder / f"plots/{name}.csv") == []
    said = capsys.readouterr().out
    assert "sft: data/validated/sft.jsonl holds no records" in said
    assert "gspo: data/validated/rl.jsonl holds no records" in said
