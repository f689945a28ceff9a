"""Stage `evaluate` on a few records: its artifacts, and the same artifacts after an interruption."""

import json
import platform
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from openo3.benchmarks import protocol
from openo3.files.artifacts import write_json, write_jsonl
from openo3.model import engine
from openo3.model.engine import LocalEngine
from openo3.prompt_file import DEFAULT, default_prompts, read_prompts
from stages import evaluate
from tests.openo3.benchmarks.test_asking import FIVE, KINDS
from tests.openo3.training.workplace import LONG, LOST

TVG = [
    {"path": "p", "question": "q", "answer": "1.0-2.0", "media": m, "duration_s": 4.0} for m in (LONG, LOST)
]
MME = [
    {"id": "1", "question": "q", "options": ["a", "b"], "answer": "A", "group": group, "media": media}
    for group, media in (("short", LONG), ("long", LOST))
]
PARAMS = {
    "decodings": {
        "vstar": ["greedy", "sampled", "plain", "blind"],
        "tvgbench": ["greedy"],
        "videomme": ["greedy"],
    },
    "max_new_tokens": 6,
    "records_per_batch": 2,
}


@pytest.fixture
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small model as `sft`, three benchmarks, and the same frames for each."""
    for folder in ("data/frames", "data/models", "data/validated/bench"):
        (tmp_path / folder).mkdir(parents=True)
    for name, records in (("vstar", FIVE), ("tvgbench", TVG), ("videomme", MME)):
        (tmp_path / "data/frames" / name).symlink_to(inputs / "data/frames/train")
        write_json(tmp_path / f"data/validated/bench/{name}.json", records)
    (tmp_path / "data/models/sft").symlink_to(inputs / "data/models/base")
    write_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["evaluate", "sft"])
    return tmp_path


def write_params(folder: Path, **changed: Any) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({"evaluate": PARAMS | changed}))


def artifacts(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("data/predictions/sft/*/*"), *folder.glob("metrics/evaluate/*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_predictions_and_metrics_are_written(place: Path) -> None:
    evaluate.main()
    made = artifacts(place)
    names = [f"{bench}/{decoding}" for bench, of in PARAMS["decodings"].items() for decoding in of]
    files = {f"data/predictions/sft/{name}{end}" for name in names for end in (".jsonl", ".results.json")}
    assert set(made) == files | {"metrics/evaluate/sft.json", "metrics/evaluate/sft.protocol.json"}
    lines = made["data/predictions/sft/vstar/greedy.jsonl"].decode().splitlines()
    assert len(lines) == 20
    plain = map(json.loads, made["data/predictions/sft/vstar/plain.jsonl"].decode().splitlines())
    bare = {line["prompt"] for line in plain}
    told = {json.loads(line)["prompt"] for line in lines}
    assert any("<think>" in text for text in told)
    assert not any("<think>" in text for text in bare)
    assert all(any(text.startswith(start) for text in told) for start in bare)
    metrics = json.loads(made["metrics/evaluate/sft.json"])
    assert {name: list(of) for name, of in metrics.items()} == PARAMS["decodings"]
    assert metrics["vstar"]["greedy"]["n"] == 5
    assert metrics["tvgbench"]["greedy"]["n"] == metrics["videomme"]["greedy"]["n"] == 2
    assert {"acc", "acc/short", "acc/long", "format", "intervals"} <= set(metrics["videomme"]["greedy"])
    assert {"acc", "tIoU_1", "vIoU_1", "mAM", "mLGM", "format", "intervals"} <= set(metrics["vstar"]["blind"])
    assert not list(place.glob(".cache/openo3/*/*"))
    evaluate.main()
    assert artifacts(place) == made


def test_every_number_has_its_protocol(place: Path) -> None:
    """Where the numbers are in the metrics, there the protocol is in the file beside."""
    write_params(place, decodings={"vstar": ["greedy", "plain", "blind"], "tvgbench": ["greedy"]})
    left_out = {"benchmark": "vstar", "reason": "media missing", "rows": 2}
    write_jsonl(place / "data/validated/bench/rejected.jsonl", [left_out])
    evaluate.main()
    metrics = json.loads((place / "metrics/evaluate/sft.json").read_text())
    text = (place / "metrics/evaluate/sft.protocol.json").read_text()
    protocols = json.loads(text)
    assert {bench: list(of) for bench, of in protocols.items()} == {
        bench: list(of) for bench, of in metrics.items()
    }
    found = protocols["vstar"]["greedy"]
    assert found["records"] | {"digest": None} == {
        "digest": None, "n": 5, "videos": 3, "clipped": 0, "rejected": {"media missing": 2},
        "without_frames": 1,
    }  # fmt: skip
    assert found["frames"]["fps"] > 0
    assert found["frames"]["per_record"]["least"] >= 1
    assert found["prompts"] == {"digest": default_prompts().digest, "grammar": True}
    assert found["decoding"] == {
        "temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "max_new_tokens": 6, "n": 1, "seed": 0,
        "vote": None,
    }  # fmt: skip
    assert found["engine"]["name"] == "transformers"
    assert found["engine"]["torch"] == metadata.version("torch")
    assert found["model"]["hub"] is None
    assert found["model"]["name"] == "sft"
    read = found["answers"]["read"]
    assert {kind: sum(counts.values()) for kind, counts in read.items()} == dict.fromkeys(KINDS, 5)
    assert found["answers"]["unanswered"] == sum(counts.get("none", 0) for counts in read.values()) > 0
    assert found["judge"]["kind"] == "rouge"
    assert protocols["tvgbench"]["greedy"]["judge"] is None
    across = {name: set(protocol.differences(found, protocols["vstar"][name])) for name in ("plain", "blind")}
    assert across == {"plain": {"prompts.grammar"}, "blind": {"frames.blank"}}
    assert str(place) not in text
    assert platform.node() not in text


def test_templates_of_ones_own_are_asked_and_named_in_the_protocol(place: Path) -> None:
    templates = DEFAULT.read_text(encoding="utf-8").replace("cite what you see", "say what you see")
    (place / "own.yaml").write_text(templates, encoding="utf-8")
    params = {"evaluate": PARAMS | {"decodings": {"vstar": ["greedy"]}, "max_records": 1}}
    (place / "params.yaml").write_text(yaml.safe_dump(params | {"prompts": "own.yaml"}))
    evaluate.main()
    lines = (place / "data/predictions/sft/vstar/greedy.jsonl").read_text().splitlines()
    assert "say what you see" in json.loads(lines[0])["prompt"]
    found = json.loads((place / "metrics/evaluate/sft.protocol.json").read_text())["vstar"]["greedy"]
    assert found["prompts"]["digest"] == read_prompts(place / "own.yaml").digest


def test_a_wrong_template_fails_with_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    templates = DEFAULT.read_text(encoding="utf-8").replace("{seconds} as JSON", "{second} as JSON")
    (place / "own.yaml").write_text(templates, encoding="utf-8")
    (place / "params.yaml").write_text(yaml.safe_dump({"evaluate": PARAMS, "prompts": "own.yaml"}))
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("own.yaml: questions.where: unknown placeholder {second}; there are {question}")


@pytest.mark.parametrize(
    ("name", "temperature", "seen", "told"),
    [
        ("greedy", 0.0, True, True),
        ("sampled", 1.0, True, True),
        ("plain", 0.0, True, False),
        ("blind", 0.0, False, True),
    ],
)
def test_the_engine_gets_the_sampling_of_each_condition(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, temperature: float, seen: bool, told: bool
) -> None:
    generate, asked = LocalEngine.generate, []

    def remembered(self: LocalEngine, prompts: Any, sampling: Any) -> Any:
        asked.append((prompts, sampling))
        return generate(self, prompts, sampling)

    monkeypatch.setattr(LocalEngine, "generate", remembered)
    write_params(place, max_records=1, decodings={"vstar": [name]})
    evaluate.main()
    ((prompts, sampling),) = asked
    assert sampling.temperature == temperature
    images = [frame.image for frame in prompts[0].frames]
    assert {len(image.getcolors(1 << 20)) > 1 for image in images} == {seen}
    assert ("<think>" in prompts[0].text) == told
    made = json.loads((place / "metrics/evaluate/sft.json").read_text())
    assert list(made["vstar"]) == [name]


def test_an_interrupted_run_resumes_with_the_same_artifacts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt each call of the engine in turn: every run keeps the answers of the runs before it."""
    evaluate.main()
    whole = artifacts(place)
    generate, asked = LocalEngine.generate, []

    def one_more(self: LocalEngine, prompts: Any, *rest: Any) -> Any:
        asked.append([prompt.text for prompt in prompts])
        if len(asked) % 2 == 0:
            raise KeyboardInterrupt
        return generate(self, prompts, *rest)

    monkeypatch.setattr(LocalEngine, "generate", one_more)
    for _ in range(13):  # three batches of four decodings and one of each other benchmark
        with pytest.raises(KeyboardInterrupt):
            evaluate.main()
        assert artifacts(place) == whole  # the earlier run's answers, unchanged
    evaluate.main()
    assert len(asked[::2]) == 14
    assert artifacts(place) == whole


def test_a_batch_size_that_was_found_is_kept_and_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A resumed run goes on with it, though another number would fit by now."""
    write_params(place, decodings={"vstar": ["sampled"]}, tokens_per_batch="auto")
    monkeypatch.setattr(engine, "fitting", lambda *_: 777)
    generate, asked = LocalEngine.generate, []

    def once(self: LocalEngine, *rest: Any) -> Any:
        asked.append(self)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return generate(self, *rest)

    monkeypatch.setattr(LocalEngine, "generate", once)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main()
    monkeypatch.setattr(engine, "fitting", lambda *_: 100)
    evaluate.main()
    resumed = artifacts(place)
    protocols = json.loads(resumed["metrics/evaluate/sft.protocol.json"])
    assert protocols["vstar"]["sampled"]["engine"]["tokens_per_batch"] == 777
    monkeypatch.setattr(engine, "fitting", lambda *_: 777)
    evaluate.main()
    assert artifacts(place) == resumed
    assert capsys.readouterr().out.count("evaluate: decodes up to 777 tokens at once") == 2


def test_a_prompt_that_does_not_fit_into_memory_fails_with_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def decode(*_: Any) -> None:
        torch.empty(2**50)

    monkeypatch.setattr(LocalEngine, "decode", decode)
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("evaluate: sft, ")
    assert ", greedy: a prompt of " in said
    assert not (place / "data/predictions/sft").exists()


def test_votes_share_their_samples_and_resume_batch_by_batch(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    votes = {"n": 3, "temperature": 1.5, "max_records": 3}
    write_params(place, decodings={"vstar": ["voted", "confident"]}, votes=votes)
    generate, asked = LocalEngine.generate, []

    def one_more(self: LocalEngine, prompts: Any, sampling: Any, *rest: Any) -> Any:
        asked.append((sampling.n, len(prompts)))
        if len(asked) % 2 == 0:
            raise KeyboardInterrupt
        return generate(self, prompts, sampling, *rest)

    monkeypatch.setattr(LocalEngine, "generate", one_more)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main()
    evaluate.main()
    assert asked == [(3, 2), (3, 1), (3, 1)]  # of two batches, the second twice
    resumed = artifacts(place)
    monkeypatch.setattr(LocalEngine, "generate", generate)
    evaluate.main()
    assert artifacts(place) == resumed
    metrics = json.loads(resumed["metrics/evaluate/sft.json"])["vstar"]
    assert [metrics[name]["n"] for name in ("voted", "confident")] == [3, 3]
    assert metrics["voted"]["single"] == metrics["confident"]["single"]
    lines = [
        [
            json.loads(line)["samples"]
            for line in resumed[f"data/predictions/sft/vstar/{name}.jsonl"].splitlines()
        ]
        for name in ("voted", "confident")
    ]
    said = [[[sample["completion"] for sample in own] for own in each] for each in lines]
    assert said[0] == said[1]
    assert [len(own) for own in said[0]] == [3, 3, 3]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"decodings": {"tvgbench": ["voted"]}}, "evaluate.decodings.tvgbench: voted needs questions with"),
        ({"votes": {"temperature": 0.0}}, "evaluate.votes: temperature must be above 0"),
    ],
)
def test_impossible_votes_fail_with_one_line(
    place: Path, capsys: pytest.CaptureFixture, changed: dict[str, Any], said: str
) -> None:
    write_params(place, **changed)
    with pytest.raises(SystemExit):
        evaluate.main()
    assert said in capsys.readouterr().err
    assert not (place / "metrics").exists()


def test_answers_of_other_weights_are_discarded(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Interrupt after one batch, then replace the weights by others of the same size."""
    write_params(place, decodings={"vstar": ["greedy"]}, max_new_tokens=2)
    generate, asked = LocalEngine.generate, []

    def once(self: LocalEngine, prompts: Any, *rest: Any) -> Any:
        asked.append(len(prompts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return generate(self, prompts, *rest)

    monkeypatch.setattr(LocalEngine, "generate", once)
    with pytest.raises(KeyboardInterrupt):
        evaluate.main()
    model = place / "data/models/sft"
    own = shutil.copytree(model.resolve(), place / "own")
    weights = load_file(own / "model.safetensors")
    negated = {name: -tensor for name, tensor in weights.items()}
    save_file(negated, own / "model.safetensors", {"format": "pt"})
    model.unlink()
    model.symlink_to(own)
    asked.append(0)
    evaluate.main()
    assert len(asked[3:]) == 3  # every batch is asked again
    said = "evaluate-sft: starts anew: data/models/sft/model.safetensors changed since the unfinished run"
    assert said in capsys.readouterr().out.splitlines()


def test_a_parameter_limits_the_number_of_records(place: Path) -> None:
    write_params(place, max_records=1, decodings={"vstar": ["greedy"]})
    evaluate.main()
    assert json.loads((place / "metrics/evaluate/sft.json").read_text())["vstar"]["greedy"]["n"] == 1


@pytest.mark.parametrize(("excepted", "asked"), [("sft", ["greedy"]), ("gspo", ["greedy", "blind"])])
def test_a_checkpoint_is_not_asked_in_the_conditions_excepted_for_it(
    place: Path, excepted: str, asked: list[str]
) -> None:
    decodings = {"vstar": ["greedy", "blind"]}
    write_params(place, decodings=decodings, except_for={excepted: ["blind"]}, max_records=1)
    evaluate.main()
    metrics = json.loads((place / "metrics/evaluate/sft.json").read_text())["vstar"]
    assert list(metrics) == asked


def test_a_missing_benchmark_is_skipped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "data/validated/bench/tvgbench.json").unlink()
    write_params(place, decodings={"tvgbench": ["greedy"], "vstar": ["greedy"]}, max_records=1)
    evaluate.main()
    assert "no tvgbench among the validated benchmarks" in capsys.readouterr().out
    assert list(json.loads((place / "metrics/evaluate/sft.json").read_text())) == ["vstar"]


def test_skipped_benchmarks_are_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(place / "data/validated/bench/videomme.json", [])
    write_params(place, decodings={"videomme": ["greedy"], "vstar": ["greedy"]}, max_records=1)
    evaluate.main()
    said = capsys.readouterr().out
    assert "tvgbench is not in evaluate.decodings, left out" in said
    assert "no record of videomme is usable, left out" in said
    assert list(json.loads((place / "metrics/evaluate/sft.json").read_text())) == ["vstar"]


def test_an_unknown_benchmark_fails_with_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(place, decodings={"videome": ["greedy"]})
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    said = capsys.readouterr().err
    assert said.startswith("params.yaml: evaluate.decodings: unknown benchmark 'videome'; there are vstar, ")
    assert said.count("\n") == 1


def test_an_unknown_condition_fails_with_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(place, decodings={"vstar": ["gredy"]})
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("params.yaml: evaluate.decodings.vstar.0: ")
    assert "'blind', 'voted' or 'confident', got 'gredy'" in line


def test_a_missing_model_fails_with_one_line(place: Path) -> None:
    (place / "data/models/sft").unlink()
    with pytest.raises(FileNotFoundError, match="data/models/sft: no model here, run the stage"):
        evaluate.main()
    assert not (place / "data/predictions").exists()


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_the_vllm_engine_without_vllm_fails_with_one_line(place: Path, capsys) -> None:
    write_params(place, vllm={})
    with pytest.raises(SystemExit) as stop:
        evaluate.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("params.yaml: evaluate.vllm: not installed here, make install LOCK=")
    assert artifacts(place) == {}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_writes_the_same_artifacts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    decodings = {"vstar": ["greedy"], "tvgbench": ["greedy"]}
    write_params(place, decodings=decodings)
    evaluate.main()
    by_transformers = artifacts(place)
    settings = {"max_model_len": 1024, "enforce_eager": True, "gpu_memory_utilization": 0.2}
    write_params(place, decodings=decodings, vllm=settings)
    evaluate.main()
    assert artifacts(place) == by_transformers
