"""The flows `refresh-data` and `evaluate`, with stages of those names that only copy files."""

import pytest

from flows.evaluate import evaluate
from flows.refresh_data import refresh_data
from tests.flows.conftest import finished

pytestmark = pytest.mark.slow
PARAMS = "evaluate:\n  decodings:\n    vstar: [greedy]  # the usual\n    tvgbench: [greedy]\n"


@pytest.fixture
def data(pipeline, client):
    pipeline.write_stages(
        {
            "download": {"cmd": "echo x >> count; echo data > raw", "outs": ["raw"]},
            "validate": {"cmd": "cp raw valid", "deps": ["raw"], "outs": ["valid"]},
            "sample_frames": {"cmd": "cp valid frames", "deps": ["valid"], "outs": ["frames"]},
            "evaluate": {
                "matrix": {"model": ["base", "gspo"]},
                "cmd": "cp params.yaml ${item.model}",
                "deps": ["frames"],
                "params": ["evaluate"],
                "outs": ["${item.model}"],
            },
        }
    )
    (pipeline.folder / "params.yaml").write_text(PARAMS)
    pipeline.run("dvc", "repro", "--quiet", "sample_frames")
    return pipeline


def test_refresh_data_reruns_only_what_new_data_requires(data, client):
    run = finished(client, refresh_data(return_state=True))
    assert run.stages == {"download": "Ran", "validate": "Unchanged", "sample_frames": "Unchanged"}
    assert (data.folder / "count").read_text() == "x\nx\n"


def test_one_model_is_evaluated_on_the_chosen_benchmarks(data, client):
    run = finished(client, evaluate("gspo", ["vstar"], reason="a look", return_state=True))
    assert run.name == "edited parameters · gspo · vstar · a look"
    assert run.stages["evaluate@gspo"] == "Ran"
    assert "evaluate@base" not in run.stages
    assert "tvgbench" not in (data.folder / "gspo").read_text()
    assert (data.folder / "params.yaml").read_text() == PARAMS


def test_an_unknown_benchmark_or_model_is_named(data, client):
    state = evaluate("gspo", ["imagenet"], return_state=True)
    assert "no benchmark imagenet, there are vstar, tvgbench" in state.message
    assert "evaluate@none" in evaluate("none", return_state=True).message
    assert (data.folder / "params.yaml").read_text() == PARAMS
