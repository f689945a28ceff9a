"""Every key of `params.yaml` with values that make no sense: one line that names the key, before any work.

`test_params.py` has the cases that were thought of; this one turns every key, whatever is added to the file.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from trl import GRPOConfig, SFTConfig

from openo3.configuration import ConfigurationError, parse_block
from openo3.training.settings import trainer_config
from stages import check
from tests.support.checkout import ROOT

BLOCKS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
STAGES = tuple(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])
TRAINERS = {"sft": SFTConfig, "gspo": GRPOConfig}
FREE = {
    "download.path", "base_model.source", "report.about",  # any text
    "sft.trainer.max_steps", "gspo.trainer.max_steps",  # -1 is transformers' word for no limit
}  # fmt: skip
OF_ANOTHER_TYPE: dict[type, tuple[Any, ...]] = {
    bool: ("yes", 1, [True], {}),
    int: ("8", 1.5, True, [8], {"n": 8}, float("nan")),
    float: ("0.5", True, [0.5], {"x": 1}, float("nan"), float("inf")),
    str: (5, True, ["x"], {"x": "y"}),
    type(None): ("x", [1], {"x": 1}),
    list: (5, "x", {"x": 1}, [[5]]),
    dict: (5, "x", [1]),
}


def keys(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, value
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from keys(inner, (*path, name))


KEYS = [(stage, path, value) for stage in STAGES for path, value in keys(BLOCKS[stage])]


def changed(stage: str, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    block = copy.deepcopy(BLOCKS[stage])
    at = block
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return block


def read(stage: str, block: Any) -> None:
    """What a stage makes of its block before it reads anything else."""
    params = parse_block("params.yaml", stage, block, import_module(f"stages.{stage}").Params)
    if stage in TRAINERS:
        try:
            trainer_config(TRAINERS[stage], params.trainer)
        except (TypeError, ValueError) as error:  # one line in `stages.params.settings_of`
            raise ConfigurationError(f"params.yaml: {stage}.trainer: {error}") from None


def refusal(stage: str, path: tuple[str, ...], value: Any) -> str:
    try:
        read(stage, changed(stage, path, value))
    except ConfigurationError as error:
        return str(error)
    pytest.fail(f"{'.'.join((stage, *path))}: {value!r} was accepted")


def test_the_blocks_are_read_as_they_are() -> None:
    for stage in STAGES:
        read(stage, BLOCKS[stage])


@pytest.mark.parametrize(
    ("stage", "path", "value"), KEYS, ids=[".".join((stage, *path)) for stage, path, _ in KEYS]
)
def test_a_value_of_another_type_is_refused(stage: str, path: tuple[str, ...], value: Any) -> None:
    name = path[-1] if path else stage
    for other in OF_ANOTHER_TYPE[type(value)]:
        if (name, other) == ("warmup_steps", 1.5):
            continue  # transformers takes shares of all steps too
        said = refusal(stage, path, other)
        assert said.startswith(f"params.yaml: {stage}")
        assert name in said
        assert len(said.splitlines()) == 1
        assert len(said) < 1000


NUMBERS = [
    key
    for key in KEYS
    if isinstance(key[2], int | float)
    and not isinstance(key[2], bool)
    and ".".join((key[0], *key[1])) not in FREE
]


@pytest.mark.parametrize(
    ("stage", "path", "value"), NUMBERS, ids=[".".join((stage, *path)) for stage, path, _ in NUMBERS]
)
def test_a_number_below_its_range_is_refused(stage: str, path: tuple[str, ...], value: float) -> None:
    for low in (-1, type(value)(-1), type(value)(-(10**9))):
        said = refusal(stage, path, low)
        assert path[-1] in said
        assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "path", ["evaluate.seed", "sft.trainer.seed", "gspo.trainer.seed", "download.shapes.seed"]
)
def test_a_seed_that_no_generator_takes_is_refused(path: str) -> None:
    stage, *inner = path.split(".")
    assert "seed" in refusal(stage, tuple(inner), 2**32)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gspo.trainer.loss_type", "gspo"),
        ("gspo.trainer.importance_sampling_level", "batch"),
        ("gspo.trainer.report_to", "nowhere"),
        ("gspo.trainer.top_p", 1.5),
        ("gspo.trainer.no_such_setting", 1),
        ("sft.trainer.lr_scheduler_type", "sideways"),
        ("sft.trainer.max_steps", 0),
        ("gspo.rewards.gate_s", 0),
        ("gspo.rewards.weights", {"ans_acc": -1.0}),
        ("evaluate.judge", {"kind": "served", "url": "u", "model": "m", "concurrency": 0}),
        ("evaluate.judge", {"kind": "served", "url": "u", "model": "m", "timeout_s": 0}),
        ("evaluate.votes", {"n": 0}),
        ("download.shapes.label_noise", {"box_sigma": -0.1}),
        ("download.limits", {"threads": 0}),
    ],
)  # fmt: skip
def test_a_word_or_number_that_would_fail_hours_later_is_refused(path: str, value: Any) -> None:
    stage, *inner = path.split(".")
    assert len(refusal(stage, tuple(inner), value).splitlines()) == 1


@pytest.mark.parametrize("stage", ["sft", "gspo"])
def test_a_mistyped_setting_keeps_the_unfinished_work(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A workspace of other settings is removed, but not for settings that cannot be run."""
    monkeypatch.chdir(tmp_path)
    module = import_module(f"stages.{stage}")
    kept = tmp_path / f".cache/openo3/{stage}/0123456789abcdef/checkpoint-80"
    kept.mkdir(parents=True)
    module.ROWS.parent.mkdir(parents=True)
    module.ROWS.write_text("{}\n")
    wrong = changed(stage, ("trainer", "learning_rate"), "1e-4x")
    with (tmp_path / "params.yaml").open("w") as file:
        YAML(typ="safe").dump({stage: wrong}, file)
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"params.yaml: {stage}.trainer: learning_rate: ")
    assert kept.is_dir()


def test_all_blocks_are_checked_before_any_stage_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with `evaluate` is not said after hours of training."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openo3").symlink_to(ROOT / "openo3")
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    assert check.STAGES == STAGES
    check.main()
    assert check.CHECKED.is_file()
    good = YAML(typ="safe").load(file)
    for changes, said in (
        (
            {"evaluate": {"judge": {"kind": "served"}}},
            "evaluate.judge: judge: a served judge needs url and model",
        ),
        ({"evaluate": {"decodings": {"none": ["greedy"]}}}, "evaluate.decodings: "),
        ({"gspo": {"lora": {"rank": 8}}}, "gspo.lora: "),
        ({"reports": {}}, "reports: no stage of this name"),
    ):
        blocks = good | {name: good.get(name, {}) | block for name, block in changes.items()}
        with file.open("w") as open_file:
            YAML(typ="safe").dump(blocks, open_file)
        with pytest.raises(SystemExit) as stop:
            check.main()
        assert stop.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"params.yaml: {said}")
    shutil.copy(ROOT / "params.yaml", file)
    monkeypatch.setattr(check, "load_params", lambda *_: pytest.fail("a good file is checked once"))
    check.main()
