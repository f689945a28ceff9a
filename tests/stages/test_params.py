"""A block of parameters is parsed into a dataclass; an error is one line that names file, block and key."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from stages import evaluate, gspo, sft
from stages.params import load_params, settings_of


@dataclass(frozen=True)
class Data:
    count: int
    loss_on: Literal["answer", "everything"] = "answer"
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Params:
    data: Data
    rate: float
    trainer: dict[str, Any]
    names: list[str] = field(default_factory=list)


def load(tmp_path: Path, text: str) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    return load_params("sft", Params, str(path))


def test_a_block_is_parsed_into_nested_dataclasses(tmp_path: Path) -> None:
    text = "other: 3\nsft: {data: {count: 3, size: [4, 5]}, rate: 1, trainer: {learning_rate: 1e-3, x: null}}"
    assert load(tmp_path, text) == Params(Data(3, "answer", (4, 5)), 1.0, {"learning_rate": 1e-3, "x": None})


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ("{data: {count: 3}, trainer: {}}", "sft.rate: missing key"),
        ("{data: {count: 3}, rate: 1, trainer: {}, rat: 2}", "sft.rat: unknown key"),
        ("{data: {count: 3, cuont: 3}, rate: 1, trainer: {}}", "sft.data.cuont: unknown key"),
        ("{data: {count: '3'}, rate: 1, trainer: {}}", "sft.data.count: input should be a valid integer"),
        ("{data: {count: 3.5}, rate: 1, trainer: {}}", "sft.data.count"),
        ("{data: {count: true}, rate: 1, trainer: {}}", "sft.data.count"),
        ("{data: {count: 3, loss_on: prompt}, rate: 1, trainer: {}}", "sft.data.loss_on"),
        ("{data: {count: 3, size: [1]}, rate: 1, trainer: {}}", "sft.data.size.1: missing key"),
        ("{data: {count: 3}, rate: .nan, trainer: {}}", "sft.rate"),
        ("{data: {count: 3}, rate: 1, trainer: {}, names: [1]}", "sft.names.0"),
        ("3", "sft: input should be an object"),
        ("", "sft"),
    ],
)
def test_an_error_is_one_line_that_names_the_key(tmp_path, capsys, block: str, named: str) -> None:
    with pytest.raises(SystemExit) as stop:
        load(tmp_path, f"sft: {block}")
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'params.yaml'}: {named}")


@pytest.mark.parametrize("text", ["", "sft: {", "other: {}", "- 3", "\x00"])
def test_a_broken_file_or_a_missing_block_fails_with_one_line(tmp_path, capsys, text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        load(tmp_path, text)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_file_fails_with_one_line(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        load_params("sft", Params, str(tmp_path / "none.yaml"))
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("error", [TypeError("unexpected\n  keyword 'rank'"), ValueError("must be positive")])
def test_a_value_rejected_by_another_library_fails_with_one_line(capsys, error: Exception) -> None:
    with pytest.raises(SystemExit) as stop, settings_of("sft.lora"):
        raise error
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"params.yaml: sft.lora: {' '.join(str(error).split())}"


@pytest.mark.parametrize(
    ("stage", "key"),
    [
        (evaluate, "max_records"),
        (evaluate, "records_per_batch"),
        (evaluate, "tokens_per_batch"),
        (evaluate, "max_new_tokens"),
        (sft, "data.max_samples"),
        (sft, "data.most_per_pack"),
        (gspo, "data.max_samples"),
        (gspo, "data.tokens_per_batch"),
    ],
)
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_below_one_is_refused(tmp_path, capsys, stage, key: str, value: int) -> None:
    name = stage.__name__.rpartition(".")[2]
    block: dict[str, Any] = {"decodings": {}, "max_new_tokens": 1} if name == "evaluate" else {"trainer": {}}
    outer, _, inner = key.rpartition(".")
    (block.setdefault(outer, {}) if outer else block)[inner] = value
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps({name: block}))
    with pytest.raises(SystemExit) as stop:
        load_params(name, stage.Params, str(path))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{path}: {name}.{key}: input should be greater than or equal to 1, got {value}"
