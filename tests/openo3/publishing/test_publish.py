"""`openo3 publish`: the folder, what it says, what it leaves alone, and the same on a hub."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from openo3.cli.main import main
from openo3.configuration import ConfigurationError
from openo3.files.artifacts import write_json
from openo3.inference.checkout import checkout_prompts, frame_sampling
from openo3.prompt_file import DEFAULT, read_prompts
from openo3.publishing import licences
from openo3.publishing.run import Dataset, PublishError, read_run
from tests.support.checkout import ROOT
from tests.support.mutations import mutants
from tools.hub_server import HubServer, Status

NUMBERS = {"acc": 0.5, "mAM": 0.46543, "mLGM": None, "format": 0.9, "n": 8}
NUMBERS["intervals"] = {"acc": [0.25, 0.75], "mAM": [0.4, 0.5], "format": [0.8, 1.0]}
PARAMETERS = {
    "base_model": {"source": "shipped"},
    "download": {"source": "shapes", "path": "/home/me/private"},
    "sample_frames": {"train": {"fps": 2.0}, "vstar": {"fps": 1.5}, "executor": "dask://10.0.0.7:8786"},
    "sft": {"trainer": {"learning_rate": 1e-4, "hub_token": "hf_secret"}},
    "gspo": {"trainer": {"beta": 0.06}},
    "evaluate": {"judge": {"kind": "served", "url": "http://judge.internal/v1", "model": "big"}, "seed": 3},
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose three checkpoints were evaluated."""
    root = tmp_path / "checkout"
    (root / "openo3").mkdir(parents=True)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    for model in ("base", "sft", "gspo"):
        conditions = ("greedy", "plain") if model != "base" else ("plain",)
        write_json(root / f"metrics/evaluate/{model}.json", {"vstar": dict.fromkeys(conditions, NUMBERS)})
    tasks = {"temporal QA": {"rows": 5, "usable": 4}}
    sources = {"sft": {"shapes": tasks}, "rl": {"shapes": tasks}}
    write_json(root / "metrics/validation.json", {"sources": sources})
    write_json(root / "metrics/gspo.json", {"steps": 7})
    model = root / "data/models/gspo"
    model.mkdir(parents=True)
    for name in ("config.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "data/tiny-qwen3-vl" / name, model)
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "training_args.bin").write_bytes(b"pickle")
    monkeypatch.chdir(root)
    return root


def publish(*arguments: str) -> int:
    return main(["publish", "data/models/gspo", *arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line with which the command ends; before it come at most progress bars."""
    assert publish(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err.splitlines()[-1]


def test_the_folder_is_a_model_with_card_picture_and_record(checkout):
    assert publish("--to", "out/mine") == 0
    folder = checkout / "out/mine"
    assert sorted(file.name for file in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "openo3-run.json",
        "prompts.yaml",
        "results.svg",
        "tokenizer_config.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    record = json.loads((folder / "openo3-run.json").read_text())
    assert record["metrics"]["vstar"]["greedy"]["acc"] == 0.5
    assert record["training"] == {"gspo": {"steps": 7}}
    picture = (folder / "results.svg").read_text()
    assert picture.count("46.5") == 3, "mAM of all three checkpoints"


def test_the_metadata_of_the_card_is_what_the_hub_reads(checkout):
    publish("--to", "out/mine")
    data = ModelCard.load(checkout / "out/mine/README.md").data
    assert (data.license, data.library_name, data.pipeline_tag) == (
        "apache-2.0",
        "transformers",
        "video-text-to-text",
    )
    found = {each.metric_type: each for each in data.eval_results}
    assert set(found) == {"acc", "mAM", "format"}, "an infinite number has no entry"
    assert found["mAM"].metric_value == 46.54
    assert found["acc"].metric_args == {"condition": "greedy", "records": 8, "interval_95": [25.0, 75.0]}
    assert found["acc"].dataset_name == "V-STaR's format, shapes world", "it is not the published V-STaR"


def test_the_page_says_how_the_numbers_and_the_weights_came_about(checkout):
    publish("--to", "out/mine")
    page = (checkout / "out/mine/README.md").read_text()
    assert "| mAM, mean of all | 46.5 [40.0, 50.0] | 46.5 [40.0, 50.0] |" in page
    assert "| frames.fps | 1.5 |" in page
    assert "| judge.model | big |" in page
    assert "beta: 0.06" in page
    assert "| rl | shapes | temporal QA | 5 | 4 |" in page
    assert (
        "| base model | a Qwen3-VL of a few million parameters that openo3 ships | apache-2.0 | yes |" in page
    )


def test_what_a_file_says_is_shown_and_not_obeyed(checkout):
    tasks = {"temporal QA": {"rows": 5, "usable": 4}}
    write_json(checkout / "metrics/validation.json", {"sources": {"rl": {"a|b <img src=x>\n# c": tasks}}})
    publish("--to", "out/mine")
    card = ModelCard.load(checkout / "out/mine/README.md")
    assert r"| a\|b \<img src=x\> \# c |" in card.text
    assert card.data.license == "other", "the licence of an unknown source is unknown"


def test_a_published_model_is_asked_as_in_training(checkout, tmp_path):
    even = {"fps": 1.5, "min_frames": 2, "max_frames": 6}
    parameters = PARAMETERS | {"sample_frames": {"train": even, "max_pixels": 12288}}
    (checkout / "params.yaml").write_text(yaml.safe_dump(parameters))
    publish("--to", str(tmp_path / "elsewhere"))
    sampling = frame_sampling(tmp_path / "elsewhere", 32)
    assert (sampling.fps, sampling.min_frames, sampling.max_frames, sampling.max_pixels) == (1.5, 2, 6, 12288)
    assert sampling == frame_sampling(checkout / "data/models/gspo", 32)
    own = checkout / "own.yaml"
    own.write_text(DEFAULT.read_text().replace("The video lasts", "Its length is"))
    (checkout / "params.yaml").write_text(yaml.safe_dump(parameters | {"prompts": "own.yaml"}))
    publish("--to", str(tmp_path / "elsewhere"))
    assert checkout_prompts(tmp_path / "elsewhere") == read_prompts(own)
    (tmp_path / "elsewhere/openo3-run.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"openo3-run\.json: parameters"):
        frame_sampling(tmp_path / "elsewhere", 32)


@pytest.mark.parametrize("beside", [True, False])
def test_the_protocol_of_a_number_is_what_the_card_shows(checkout, beside):
    protocol = {"engine": {"name": "vllm", "version": "1"}, "missing": 2}
    if beside:
        write_json(checkout / "metrics/evaluate/gspo.protocol.json", {"vstar": {"greedy": protocol}})
    else:
        numbers = {"vstar": {"greedy": NUMBERS | {"protocol": protocol}}}
        write_json(checkout / "metrics/evaluate/gspo.json", numbers)
    publish("--to", "out/mine")
    page = (checkout / "out/mine/README.md").read_text()
    assert "| engine.name | vllm |\n| engine.version | 1 |\n| missing | 2 |" in page
    assert "frames.fps" not in page


def test_nothing_private_is_published(checkout):
    publish("--to", "out/mine")
    for file in ("README.md", "openo3-run.json"):
        text = (checkout / "out/mine" / file).read_text()
        for secret in ("hf_secret", "judge.internal", "10.0.0.7", "/home/me", str(checkout)):
            assert secret not in text


SECRETS = {
    "hfToken": "hunter2", "api_base": "http://10.1.2.3/v1", "passwd": "hunter2",
    "logging_dir": "/home/me/runs", "cache": "~/cache", "report_to": ["wandb", "/home/me/log"],
    "note": "see /home/me/notes", "run": "hf_abcdefgh12", "node": "10.1.2.3:80", "/home/me": 1,
}  # fmt: skip


def test_secrets_and_places_are_left_out_whatever_they_are_called(checkout):
    trainer = SECRETS | {"learning_rate": 1e-4, "max_tokens": 5, "base": "Qwen/Qwen3"}
    (checkout / "params.yaml").write_text(yaml.safe_dump(PARAMETERS | {"sft": {"trainer": trainer}}))
    missing = {"own": {"not in /home/me/clips": {"files": 1, "example": "videos/me at home.mp4"}}}
    write_json(checkout / "metrics/validation.json", {"rows": 5, "missing": missing, "sources": {}})
    write_json(checkout / "metrics/gspo.json", {"steps": 7, "from": "/home/me/old"})
    write_json(
        checkout / "metrics/evaluate/gspo.json",
        {"vstar": {"greedy": NUMBERS | {"protocol": {"model": "/home/me/m", "judge": "http://10.1.2.3"}}}},
    )
    publish("--to", "out/mine")
    for file in ("README.md", "openo3-run.json"):
        text = (checkout / "out/mine" / file).read_text()
        for secret in ("hunter2", "10.1.2.3", "/home/me", "~/", "hf_abc", "me at home"):
            assert secret not in text
        assert "max_tokens" in text
        assert "Qwen/Qwen3" in text


@pytest.mark.parametrize("file", ["own.yaml", "data/models/gspo/generation_config.json"])
def test_a_token_in_a_text_is_not_published(checkout, capsys, file):
    (checkout / "own.yaml").write_text(DEFAULT.read_text())
    (checkout / "params.yaml").write_text(yaml.safe_dump(PARAMETERS | {"prompts": "own.yaml"}))
    with (checkout / file).open("a") as written:
        written.write("# hf_abcdefgh12\n")
    said = refused(capsys, "--to", "out/mine")
    assert said.endswith(f"{file}: holds what looks like an access token; remove it")
    assert "hf_abc" not in said
    assert not (checkout / "out/mine").exists()


@pytest.mark.parametrize(
    "name", ["a` <img src=x> `b", "<script>x", "[a](javascript:x)", "a|b", "---", "é\u202e"]
)
def test_a_models_name_and_its_parameters_are_no_markup(checkout, name):
    (checkout / "data/models/gspo").rename(checkout / "data/models" / name)
    (checkout / "metrics/evaluate/gspo.json").rename(checkout / f"metrics/evaluate/{name}.json")
    note = f"{'x ' * 60}``` <img src=x>"
    changed = {"base_model": PARAMETERS["base_model"] | {"note": note}}
    (checkout / "params.yaml").write_text(yaml.safe_dump(PARAMETERS | changed))
    assert main(["publish", f"data/models/{name}", "--to", "out/mine"]) == 0
    page = (checkout / "out/mine/README.md").read_text()
    before, fence, rest = page.partition("````yaml\n")
    parameters, end, after = rest.partition("\n````\n")
    assert fence
    assert end
    assert "```" in parameters
    for text in (before, after):
        assert "<img" not in text.replace("\\<img", "")
        assert "<script" not in text.replace("\\<script", "")
        assert "[a](" not in text.replace("\\[a\\](", "")


def test_leaderboards_get_a_number_only_of_a_data_set_of_the_hub(checkout):
    publish("--to", "out/mine")
    assert not (checkout / "out/mine/.eval_results").exists()
    publish("--to", "out/mine", "--dataset", "vstar=me/shapes-vstar@abc")
    [entry] = parse_eval_result_entries(
        yaml.safe_load((checkout / "out/mine/.eval_results/vstar.yaml").read_text())
    )
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("me/shapes-vstar", "default", "abc")
    assert (entry.value, entry.notes) == (46.54, "mAM, asked in the grammar")


def test_the_published_benchmarks_are_known_from_the_catalogue(checkout):
    parameters = PARAMETERS | {
        "download": {"source": "published"},
        "base_model": {"source": "Qwen/X", "revision": "1"},
    }
    run = read_run(checkout, checkout / "data/models/gspo", parameters)
    assert run.datasets["vstar"] == Dataset("V-STaR-Bench/V-STaR", "d938778037a2c39001039dd54bebdef72fedb2db")
    assert "tvgbench" not in run.datasets
    (checkout / "params.yaml").write_text(yaml.safe_dump(parameters))
    publish("--to", "out/mine")
    card = ModelCard.load(checkout / "out/mine/README.md")
    assert (card.data.license, card.data.base_model) == ("other", "Qwen/X"), "its licence is not known here"
    assert card.data.datasets == ["marinero4972/Open-o3-Video"]
    assert "| base model | Qwen/X@1 | unknown | yes |" in card.text


@pytest.mark.parametrize("content", [{"mine.txt": "x"}, {"openo3-run.json": "{}"}, {"openo3-run.json": "x"}])
def test_a_folder_of_somebody_else_is_left_alone(checkout, capsys, content):
    folder = checkout / "out/mine"
    folder.mkdir(parents=True)
    for name, text in content.items():
        (folder / name).write_text(text)
    assert "was not written by openo3 publish" in refused(capsys, "--to", "out/mine")
    assert {file.name: file.read_text() for file in folder.iterdir()} == content


def test_a_published_folder_is_replaced_as_a_whole(checkout):
    extra = checkout / "data/models/gspo/vocab.txt"
    extra.touch()
    publish("--to", "out/mine")
    assert (checkout / "out/mine/vocab.txt").exists()
    extra.unlink()
    assert publish("--to", "out/mine") == 0
    assert not (checkout / "out/mine/vocab.txt").exists()


@pytest.mark.parametrize("name", ["LICENSE", ".git/config"])
def test_files_that_somebody_put_into_a_published_folder_are_left_alone(checkout, capsys, name):
    publish("--to", "out/mine")
    file = checkout / "out/mine" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    capsys.readouterr()
    assert f"holds {name}, which openo3 publish did not write" in refused(capsys, "--to", "out/mine")
    assert file.read_text() == "mine"


def test_a_link_out_of_the_model_is_not_published(checkout, capsys, tmp_path):
    (tmp_path / "secret.json").write_text('{"key": "private"}')
    link = checkout / "data/models/gspo/generation_config.json"
    link.symlink_to(tmp_path / "secret.json")
    assert f"{link.relative_to(checkout)}: a link leads out" in refused(capsys, "--to", "out/mine")
    link.unlink()
    link.symlink_to("config.json")
    assert publish("--to", "out/mine") == 0


@pytest.mark.parametrize("target", ["params.yaml/x", "x" * 300, "a\0b", "/proc/mine"])
def test_a_target_that_cannot_be_written_is_one_line(checkout, capsys, target):
    assert refused(capsys, "--to", target).startswith("openo3: ")


@pytest.mark.parametrize(
    "card",
    [
        "---\nlicense: &a [*a]\n---\n",
        "---\nlicense: [mit, {a: b}]\n---\n",
        "---\nlicense: 2001-99-99\n---\n",
        "---\nlicense: !!python/object/apply:os.system ['true']\n---\n",
        "---\n- mit\n---\n",
        "---\nlicense: \x07\n---\n",
        "---\nlicense: {mit: }}\n---\n",
        "---\nbase_model: 3\nmodel-index: 3\nlicense: 5\n---\n",
    ],
)
def test_a_base_models_card_of_another_form_states_no_licence(checkout, monkeypatch, tmp_path, card):
    (tmp_path / "README.md").write_text(card)
    monkeypatch.setattr(licences, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "README.md"))
    (checkout / "params.yaml").write_text(
        yaml.safe_dump(PARAMETERS | {"base_model": {"source": "Qwen/X", "revision": "1"}})
    )
    assert publish("--to", "out/mine") == 0
    assert ModelCard.load(checkout / "out/mine/README.md").data.license == "other"


@pytest.mark.parametrize(
    "file", ["metrics/evaluate/gspo.json", "metrics/validation.json", "metrics/gspo.json"]
)
def test_mutants_of_the_metrics_are_published_or_refused_in_one_line(checkout, capsys, file):
    for text in mutants(json.loads((checkout / file).read_text()), 15):
        (checkout / file).write_text(text)
        if publish("--to", "out/mine"):
            assert len(capsys.readouterr().err.splitlines()) == 1, text[:300]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "data/models/gspo"], "holds the model itself"),
        (["--to", "data"], "holds the model itself"),
        (["--to", "out/x", "--push"], "for hub:NAME alone"),
        (["--to", "hub:name"], "not the name of a repository"),
        (["--to", "hub:../x/y", "--push"], "not the name of a repository"),
        (["--to", "out/x", "--dataset", "vstar"], "expected BENCHMARK=OWNER/NAME"),
        (["--to", "out/x", "--dataset", "nope=a/b"], "unknown benchmark"),
        (["--to", "out/x", "--dataset", "vstar=../b"], "not the name of a hub dataset"),
    ],
)
def test_wrong_arguments_are_one_line(checkout, capsys, arguments, message):
    assert message in refused(capsys, *arguments)
    assert not (checkout / "out/x").exists()


def test_what_is_no_evaluated_model_is_refused(checkout, capsys):
    (checkout / "metrics/evaluate/gspo.json").unlink()
    assert "dvc repro evaluate@gspo" in refused(capsys, "--to", "out/x")
    (checkout / "data/models/gspo/model.safetensors").unlink()
    assert "no model here" in refused(capsys, "--to", "out/x")
    write_json(checkout / "data/models/gspo/pointer.json", {"repo_id": "a/b"})
    assert "only points to a model" in refused(capsys, "--to", "out/x")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with HubServer() as server:
        server.token = "hf_mine"
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_nothing_is_uploaded_without_push(checkout, hub, capsys):
    assert publish("--to", "hub:me/mine") == 0
    assert hub.requests == []
    assert "would upload README.md, config.json" in capsys.readouterr().out


def test_push_uploads_the_folder_in_one_commit_of_a_private_repository(checkout, hub, capsys):
    assert publish("--to", "hub:me/mine", "--push", "--dataset", "vstar=me/shapes") == 0
    files = hub.models["me/mine"]
    assert files["model.safetensors"] == b"weights"
    assert {"README.md", "results.svg", "openo3-run.json", ".eval_results/vstar.yaml"} < set(files)
    assert "training_args.bin" not in files
    assert hub.commits == ["Checkpoint gspo, by openo3 publish"]
    [settings] = hub.made
    assert settings.get("private") is True or settings.get("visibility") == "private"
    assert publish("--to", "hub:me/mine", "--push") == 0, "one of its own is updated"
    assert len(hub.commits) == 2
    assert "hf_mine" not in "".join(capsys.readouterr())


def test_a_repository_of_somebody_else_is_left_alone(checkout, hub, capsys):
    hub.models["me/mine"] = {"model.safetensors": b"other"}
    assert "was not written by openo3 publish" in refused(capsys, "--to", "hub:me/mine", "--push")
    assert hub.models["me/mine"] == {"model.safetensors": b"other"}


def test_a_hub_that_refuses_is_one_line_without_the_token(checkout, hub, capsys, monkeypatch):
    hub.spoil("/api/models/me/mine/commit/main", Status(403))
    line = refused(capsys, "--to", "hub:me/mine", "--push")
    assert "status 403; log in with `hf auth login`" in line
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    line = refused(capsys, "--to", "hub:me/other", "--push")
    assert "hf_" not in line.replace("hf auth", "")


def test_a_folder_that_is_not_there_is_no_model(checkout):
    with pytest.raises(PublishError, match="no model here"):
        read_run(checkout, checkout / "nowhere", PARAMETERS)
