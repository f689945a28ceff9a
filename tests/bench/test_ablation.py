"""The ablation trains each variant once, as its row says, and its tables match the results."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from bench import ablation
from bench.ablation import BY_NAME, VARIANTS, Run
from openo3.benchmarks.registry import BENCHMARKS
from openo3.core.metrics import Interval, paired_difference
from openo3.files.artifacts import read_json, write_json
from stages import evaluate, gspo, sft
from stages.params import load_params

PROFILE = ablation.ROOT / "profiles/shapes.yaml"
# the answers used for a variant: the model and the condition, by seed
ANSWERS = {
    "base": [("base", "plain")],
    "sft": [("sft", "greedy"), ("sft", "sampled")],
    "gspo": [("gspo", "greedy"), ("gspo", "sampled")],
    "no-gate": [("gspo", "sampled"), ("gspo", "greedy")],
    "no-where": [("gspo", "greedy"), ("gspo", "sampled")],
}


@pytest.fixture
def finished(evaluated: Path) -> Path:
    return evaluated


def settings(**changed: Any) -> Any:
    return SimpleNamespace(**{"videos": 8, "steps": None, "jobs": 1, "gpus": 0} | changed)


def flat(block: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Values by dotted name."""
    found: dict[str, Any] = {}
    for key, value in block.items():
        name = f"{above}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def changes(folder: Path) -> dict[str, Any]:
    """The parameters of a folder that are missing from the default profile or differ from it."""
    usual, chosen = (flat(YAML(typ="safe").load(path)) for path in (PROFILE, folder / "params.yaml"))
    assert usual.keys() <= chosen.keys()
    return {name: value for name, value in chosen.items() if name not in usual or usual[name] != value}


class Stages:
    """Replaces `subprocess.run`: records each stage and writes its outputs, with the answers
    of a finished run. The stage `broken` fails."""

    MADE: Mapping[str, tuple[str, ...]] = {
        "stages.base_model": ("data/models/base/config.json",),
        "stages.download": ("data/raw/manifest.jsonl",),
        "stages.validate": ("data/validated/sft.jsonl",),
        "stages.sample_frames": ("data/frames/vstar/index.json", "metrics/frames.json"),
        "stages.sft": ("data/models/sft/config.json", "metrics/sft.json"),
        "stages.gspo": ("data/models/gspo/config.json", "metrics/gspo.json"),
    }

    def __init__(self, finished: Path) -> None:
        self.finished, self.broken = finished, ""
        self.called: list[tuple[str, ...]] = []
        self.environments: list[Mapping[str, str]] = []

    def __call__(self, command: list[str], cwd: Path, env: Mapping[str, str], **_: Any) -> Any:
        python, flag, *names = command
        assert (python, flag) == (sys.executable, "-m")
        self.called.append((cwd.name, *names))
        self.environments.append(env)
        if self.broken in (names[0], " ".join((cwd.name, *names))):
            return SimpleNamespace(returncode=1)
        if names[0] == "stages.evaluate":
            self.evaluate(cwd, names[1])
        for made in self.MADE.get(names[0], ()):
            (cwd / made).parent.mkdir(parents=True, exist_ok=True)
            (cwd / made).write_text("{}")
        return SimpleNamespace(returncode=0)

    def evaluate(self, folder: Path, name: str) -> None:
        variant, _, seed = folder.name.rpartition("-")
        of = ANSWERS.get(variant, [("sft", "greedy")])
        model, condition = of[int(seed) % len(of)]
        [asked] = load(folder, "evaluate", evaluate.Params).decodings["vstar"]
        for bench in ablation.AXES:
            to = folder / f"data/predictions/{name}/{bench}/{asked}.results.json"
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.finished / f"data/predictions/{model}/{bench}/{condition}.results.json", to)
        metrics = folder / f"metrics/evaluate/{name}.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text("{}")


def load(folder: Path, block: str, cls: type) -> Any:
    return load_params(block, cls, str(folder / "params.yaml"))


@pytest.fixture
def stages(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages(finished)
    monkeypatch.setattr(ablation.subprocess, "run", made)
    return made


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the command with two seeds in its own folder; return the tables that it writes."""

    def run(*arguments: str) -> str:
        usual = ["--folder", str(tmp_path / "ablation"), "--videos", "8", "--seeds", "0", "1"]
        monkeypatch.setattr(sys, "argv", ["ablation", *usual, *arguments])
        ablation.main()
        return (tmp_path / "ablation/tables.md").read_text()

    return run


COMMON = {
    "download.shapes.benchmark_videos": 8,
    "prompts": str(ablation.ROOT / "openo3/prompts/default.yaml"),  # whatever folder the stages run in
} | {
    f"{name}.trainer.{key}": value
    for name in ("sft", "gspo")
    for key, value in (("report_to", "none"), ("save_strategy", "no"))
}
GREEDY = {"evaluate.decodings.vstar": ["greedy"], "evaluate.decodings.tvgbench": ["greedy"]}
PLAIN = {"evaluate.decodings.vstar": ["plain"], "evaluate.decodings.tvgbench": ["plain"]}
REINFORCED = {"gspo.trainer.seed": 3, **GREEDY}
EXPECTED: dict[str, dict[str, Any]] = {
    "base": PLAIN,
    "sft": {"sft.trainer.seed": 3, **GREEDY},
    "sft-answers": {"sft.trainer.seed": 3, "sft.data.reasoning": False, **PLAIN},
    "gspo-cold": REINFORCED,
    "grpo": {
        "gspo.trainer.importance_sampling_level": "token",
        "gspo.trainer.epsilon": 0.2,
        "gspo.trainer.epsilon_high": 0.2,
        **REINFORCED,
    },
    "gspo": REINFORCED,
    "no-gate": {"gspo.rewards.gate_s": 1.0e9, **REINFORCED},
    "no-adaptive": {"gspo.rewards.adaptive": False, **REINFORCED},
    "no-spatial": {"gspo.rewards.weights.thk_spatial": 0.0, **REINFORCED},
    "no-objects": {"gspo.rewards.weights.thk_objects": 0.0, **REINFORCED},
    "no-where": {"gspo.data.direct": False, **REINFORCED},
    "no-average": {"gspo.average_from": None, **REINFORCED},
}


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_variant_differs_from_the_default_only_as_its_row_says(
    variant: ablation.Variant, tmp_path: Path, stages: Stages
) -> None:
    run = Run(tmp_path, variant, 3)
    ablation.train_and_evaluate(run, settings(), None)
    assert changes(run.folder) == COMMON | EXPECTED[variant.name]
    # The stages parse the parameters too: a misspelt name is refused
    load(run.folder, "sft", sft.Params)
    load(run.folder, "gspo", gspo.Params)
    load(run.folder, "evaluate", evaluate.Params)
    assert len({v.label for v in VARIANTS}) == len({v.name for v in VARIANTS}) == len(EXPECTED)


def test_a_row_without_a_reward_keeps_the_others_weights(tmp_path: Path, stages: Stages) -> None:
    run = Run(tmp_path, BY_NAME["no-spatial"], 0)
    ablation.train_and_evaluate(run, settings(), None)
    usual = YAML(typ="safe").load(PROFILE)["gspo"]["rewards"]["weights"]
    assert load(run.folder, "gspo", gspo.Params).rewards.weights == {**usual, "thk_spatial": 0.0}


def test_the_number_of_steps_applies_to_both_trainings(tmp_path: Path, stages: Stages) -> None:
    run = Run(tmp_path, BY_NAME["gspo"], 3)
    ablation.train_and_evaluate(run, settings(steps=2), None)
    steps = {"sft.trainer.max_steps": 2, "gspo.trainer.max_steps": 2}
    assert changes(run.folder) == COMMON | REINFORCED | steps


@pytest.mark.parametrize(
    ("name", "link", "start"),
    [
        ("sft", "base", "data/models/base"),
        ("sft-answers", "base", "data/models/base"),
        ("gspo-cold", "sft", "data/models/base"),
        ("gspo", "sft", "runs/sft-3/data/models/sft"),
        ("no-gate", "sft", "runs/sft-3/data/models/sft"),
    ],
)
def test_training_starts_from_the_model_with_its_seed(
    name: str, link: str, start: str, tmp_path: Path, stages: Stages
) -> None:
    run = Run(tmp_path, BY_NAME[name], 3)
    ablation.train_and_evaluate(run, settings(), None)
    (tmp_path / start).mkdir(parents=True, exist_ok=True)
    assert (run.folder / "data/models" / link).resolve() == (tmp_path / start).resolve()
    for shared in ("validated", "frames"):
        assert os.path.realpath(run.folder / "data" / shared) == str(tmp_path / "data" / shared)
    stage = BY_NAME[name].stage
    assert stages.called == [
        (run.folder.name, f"stages.{stage}"),
        (run.folder.name, "stages.evaluate", stage),
    ]


def test_the_base_is_evaluated_without_training(tmp_path: Path, stages: Stages) -> None:
    run = Run(tmp_path, BY_NAME["base"], 0)
    ablation.train_and_evaluate(run, settings(), None)
    assert stages.called == [("base-0", "stages.evaluate", "base")]
    assert os.path.realpath(run.model) == str(tmp_path / "data/models/base")


def test_finished_work_is_not_repeated(main: Callable[..., str], stages: Stages, tmp_path: Path) -> None:
    chosen = ("--variants", "base", "sft", "gspo")
    first = main(*chosen)
    names = [call[1:] for call in stages.called]
    data = ["base_model", "download", "validate", "sample_frames"]
    assert names[:4] == [(f"stages.{name}",) for name in data]
    trained = [call[0] for call in stages.called if call[1] in ("stages.sft", "stages.gspo")]
    assert trained == ["sft-0", "sft-1", "gspo-0", "gspo-1"]  # starting points first
    assert sum(name[0] == "stages.evaluate" for name in names) == 5
    stages.called.clear()
    assert main(*chosen) == first
    assert stages.called == []
    runs = tmp_path / "ablation/runs"
    (runs / "gspo-1/metrics/evaluate/gspo.json").unlink()
    (runs / "sft-0/metrics/sft.json").unlink()
    main(*chosen)
    assert stages.called == [("sft-0", "stages.sft"), ("gspo-1", "stages.evaluate", "gspo")]
    stages.called.clear()
    main(*chosen, "no-where")
    assert stages.called == [
        (f"no-where-{seed}", *names)
        for seed in (0, 1)
        for names in (("stages.gspo",), ("stages.evaluate", "gspo"))
    ]


def test_data_interrupted_between_two_benchmarks_is_completed(
    main: Callable[..., str], stages: Stages, tmp_path: Path
) -> None:
    """The stage writes its metrics last."""
    main("--variants", "base", "sft")
    (tmp_path / "ablation/metrics/frames.json").unlink()
    stages.called.clear()
    main("--variants", "base", "sft")
    assert stages.called == [("ablation", "stages.sample_frames")]


def test_jobs_are_spread_over_the_gpus(main: Callable[..., str], stages: Stages) -> None:
    main("--variants", "base", "sft", "gspo", "--jobs", "4", "--gpus", "2")
    seen = [environment.get("CUDA_VISIBLE_DEVICES") for environment in stages.environments[4:]]
    assert set(seen) == {"0", "1"}


def test_other_parameters_are_refused(main: Callable[..., str], stages: Stages, tmp_path: Path) -> None:
    chosen = ("--variants", "base", "sft")
    main(*chosen)
    stages.called.clear()
    before = (tmp_path / "ablation/params.yaml").read_bytes()
    for others in (("--videos", "9"), ("--steps", "5")):
        with pytest.raises(
            SystemExit, match=r"ablation: begun with other parameters; remove it or name"
        ) as stop:
            main(*chosen, *others)
        assert "\n" not in str(stop.value)
    assert stages.called == []
    assert (tmp_path / "ablation/params.yaml").read_bytes() == before
    run = Run(tmp_path / "ablation", BY_NAME["sft"], 0)
    with pytest.raises(SystemExit, match="sft-0: begun with other parameters"):
        ablation.train_and_evaluate(run, settings(steps=7), None)
    main(*chosen)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_failing_stage_ends_with_one_line_and_the_next_run_continues(
    jobs: str, main: Callable[..., str], stages: Stages, tmp_path: Path
) -> None:
    chosen = ("--variants", "base", "sft", "gspo", "--jobs", jobs)
    stages.broken = "gspo-1 stages.gspo"
    with pytest.raises(SystemExit) as stop:
        main(*chosen)
    assert stop.value.code == f"{tmp_path / 'ablation/runs/gspo-1'}: stages.gspo failed, see log.txt"
    assert not (tmp_path / "ablation/tables.md").exists()
    assert ("gspo-1", "stages.evaluate", "gspo") not in stages.called
    stages.broken = ""
    stages.called.clear()
    assert "| SFT + GSPO |" in main(*chosen)
    assert stages.called == [("gspo-1", "stages.gspo"), ("gspo-1", "stages.evaluate", "gspo")]


def test_a_broken_data_stage_prints_one_line_on_standard_error(tmp_path: Path) -> None:
    """In a real process, the output of the stage goes only to the log."""
    code = "from pathlib import Path; from bench import ablation; "
    code += f"ablation.stage(Path({str(tmp_path)!r}), 'nothing', 'stages.nothing', 'much')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ablation.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}: stages.nothing much failed, see log.txt\n"
    assert "No module named stages.nothing" in (tmp_path / "log.txt").read_text()


def rows_of(text: str) -> list[dict[str, list[str]]]:
    """The cells of each table, keyed by the first cell of their row."""
    found = []
    for table in text.strip().split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("| ")]
        if lines:
            parts = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
            found.append({first: cells for first, *cells in parts})
    return found


def number(cell: str) -> float:
    return float(cell.strip("*").split()[0])


@pytest.fixture
def told(main: Callable[..., str], stages: Stages) -> list[dict[str, list[str]]]:
    return rows_of(main("--variants", "base", "sft", "gspo", "no-gate", "no-where"))


def test_levels_are_means_over_the_seeds(told: list[dict[str, list[str]]], finished: Path) -> None:
    heads, *rows = told[0].items()
    assert heads[1][:2] + heads[1][-2:] == ["what", "when 1", "TVG tIoU", "TVG R1@0.7"]
    assert [label for label, _ in rows] == [BY_NAME[name].label for name in ANSWERS]
    places = {"tIoU_1": 1, "vIoU_2": 4, "mAM": 5}
    for name, of in ANSWERS.items():
        for metric, place in places.items():
            values = [read_json(finished / f"metrics/evaluate/{m}.json")["vstar"][c][metric] for m, c in of]
            assert float(told[0][BY_NAME[name].label][place]) == pytest.approx(
                100 * np.mean(values), abs=0.0501
            )
        values = [read_json(finished / f"metrics/evaluate/{m}.json")["tvgbench"][c]["m_tIoU"] for m, c in of]
        assert float(told[0][BY_NAME[name].label][7]) == pytest.approx(100 * np.mean(values), abs=0.0501)
    assert told[0]["SFT"] != told[0]["SFT + GSPO"]


def results(finished: Path, name: str, benchmark: str) -> np.ndarray:
    """[seeds, records, columns]"""
    paths = [finished / f"data/predictions/{m}/{benchmark}/{c}.results.json" for m, c in ANSWERS[name]]
    return np.array([BENCHMARKS[benchmark].scoring.rows(read_json(path)) for path in paths])


def test_differences_are_paired_by_record_and_averaged_over_the_seeds(
    told: list[dict[str, list[str]]], finished: Path
) -> None:
    labels = {name: BY_NAME[name].label for name in ANSWERS}
    pairs = [("sft", "base"), ("gspo", "base"), ("gspo", "sft"), ("no-gate", "sft"), ("no-gate", "gspo"),
             ("no-where", "sft"), ("no-where", "gspo")]  # fmt: skip
    assert list(told[1]) == ["difference", *(f"{labels[a]} - {labels[b]}" for a, b in pairs)]
    bold = []
    for a, b in pairs:
        cells = told[1][f"{labels[a]} - {labels[b]}"]
        intervals = []
        for benchmark, axes in ablation.AXES.items():
            later, earlier = (results(finished, name, benchmark).mean(0) for name in (a, b))
            scoring = BENCHMARKS[benchmark].scoring
            records = read_json(finished / f"data/validated/bench/{benchmark}.json")
            found = paired_difference(later, earlier, scoring.statistic, videos=scoring.videos(records))
            by_name = dict(zip(BENCHMARKS[benchmark].scoring.metrics, found, strict=True))
            intervals += [by_name[key] for key in axes]
        for cell, interval in zip(cells, intervals, strict=True):
            value, low, high = 100 * interval.value, 100 * interval.low, 100 * interval.high
            assert cell.strip("*") == f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
            assert cell.startswith("**") == cell.endswith("**") == (interval.low > 0 or interval.high < 0)
            bold.append(cell.startswith("**"))
    assert 0 < sum(bold) < len(bold)
    # The same answers with the seeds in another order give no difference
    same = told[1][f"{labels['no-gate']} - {labels['gspo']}"]
    assert {cell for cell in same if "nan" not in cell} == {"+0.0 [+0.0, +0.0]"}


def test_runs_are_compared_seed_by_seed(told: list[dict[str, list[str]]], finished: Path) -> None:
    assert told[2].pop("mAM, difference by seed") == ["seed 0", "seed 1"]
    assert list(told[2]) == list(told[1])[1:]
    labels = {name: BY_NAME[name].label for name in ANSWERS}
    am = {
        name: [
            BENCHMARKS["vstar"].scoring.statistic(rows.mean(0))[5]
            for rows in results(finished, name, "vstar")
        ]
        for name in ANSWERS
    }
    for a, b in (("sft", "base"), ("gspo", "sft"), ("no-gate", "gspo"), ("no-where", "gspo")):
        values = [number(cell) for cell in told[2][f"{labels[a]} - {labels[b]}"]]
        others = am[b] * (2 if b == "base" else 1)
        expected = [100 * (one - other) for one, other in zip(am[a], others, strict=True)]
        assert values == pytest.approx(expected, abs=0.0501)
    turned = [number(cell) for cell in told[2][f"{labels['no-gate']} - {labels['gspo']}"]]
    assert turned[0] == -turned[1] != 0


@pytest.mark.parametrize(
    ("gain", "written"),
    [
        (Interval(0.02, 0.001, 0.04), "**+2.0 [+0.1, +4.0]**"),
        (Interval(-0.02, -0.04, -0.001), "**-2.0 [-4.0, -0.1]**"),
        (Interval(0.02, -0.001, 0.04), "+2.0 [-0.1, +4.0]"),
        (Interval(0.02, 0.0, 0.04), "+2.0 [+0.0, +4.0]"),
        (Interval(0.0, 0.0, 0.0), "+0.0 [+0.0, +0.0]"),
        (Interval(float("nan"), float("nan"), float("nan")), "+nan [+nan, +nan]"),
    ],
)
def test_intervals_that_exclude_zero_are_bold(gain: Interval, written: str) -> None:
    assert ablation.cell(gain) == written


def test_results_of_different_records_are_not_paired(
    main: Callable[..., str], stages: Stages, tmp_path: Path
) -> None:
    main("--variants", "base", "sft")
    path = tmp_path / "ablation/runs/base-0/data/predictions/base/vstar/plain.results.json"
    write_json(path, read_json(path)[1:])
    with pytest.raises(ValueError, match="paired scores of different records"):
        main("--variants", "base", "sft")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_stages_produce_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: Callable[..., str]
) -> None:
    """Uses the sizes of the smoke profile and two steps of each training.

    `download` runs in a process of its own, as all stages do outside of this test. The others run in this
    one: every process takes seconds to import torch and transformers.
    """
    start = subprocess.run

    def in_this_process(command: list[str], cwd: Path, **options: Any) -> Any:
        _, _, module, *arguments = command
        if module == "stages.download":
            return start(command, cwd=cwd, **options)
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", [module, *arguments])
            import_module(module).main()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(ablation.subprocess, "run", in_this_process)
    smoke = YAML(typ="safe").load(ablation.ROOT / "profiles/smoke.yaml")
    small = {name: smoke[name] for name in ("download", "sample_frames", "evaluate")}
    for name in ("sft", "gspo"):
        chosen = smoke[name]["trainer"] | {"max_steps": 2, "report_to": "none"}
        small |= {f"{name}.trainer": chosen}
    original = ablation.parameters
    monkeypatch.setattr(ablation, "parameters", lambda given, changed: original(given, {**small, **changed}))
    tables = rows_of(main("--variants", "base", "sft", "gspo", "--seeds", "0"))
    assert [len(table) for table in tables] == [4, 4, 4]
    for run, steps in (("sft-0", "sft"), ("gspo-0", "gspo")):
        folder = tmp_path / "ablation/runs" / run
        assert read_json(folder / f"metrics/{steps}.json")["steps"] == 2
        assert list(read_json(folder / f"metrics/evaluate/{steps}.json")["vstar"]) == ["greedy"]
    assert all(0 <= float(cell) <= 100 for cell in tables[0]["base"][:6])
