"""The stage graph as read from DVC."""

import pytest

from flows import graph
from flows.graph import Needs, PipelineError
from tests.support.checkout import ROOT


def read(*targets: str) -> dict[str, graph.Stage]:
    with graph.repository() as repo:
        return {stage.name: stage for stage in graph.read(repo, targets).stages}


def test_the_matrix_is_expanded_and_each_stage_lists_its_upstream_stages(pipeline):
    stages = read()
    assert list(stages) == ["source", "side@left", "side@right", "join"]
    assert {name: stage.after for name, stage in stages.items()} == {
        "source": (),
        "side@left": ("source",),
        "side@right": ("source",),
        "join": ("side@left", "side@right"),
    }
    assert stages["source"].needs == Needs(network=True)
    assert not any(stage.changed for stage in stages.values())


def test_a_target_includes_its_upstream_stages(pipeline):
    assert list(read("side@left")) == ["source", "side@left"]
    assert list(read("side")) == ["source", "side@left", "side@right"]


def test_a_change_is_detected_in_its_own_stage(pipeline):
    pipeline.set_params(seed=0, sides=5)
    changed = {name: stage.changed for name, stage in read().items()}
    assert changed == {"source": False, "side@left": True, "side@right": True, "join": False}


def test_changed_resource_needs_do_not_rerun_a_stage(pipeline):
    pipeline.set_meta("side", gpu="all", cpu=2, hours=0.5)
    side = read()["side@left"]
    assert side.needs == Needs(gpu="all", cpu=2, hours=0.5)
    assert not side.changed


@pytest.mark.parametrize(
    "meta",
    [{"gpus": 1}, {"gpu": -1}, {"gpu": True}, {"cpu": "2"}, {"network": 1}, {"hours": 0}, {"hours": "1h"}],
)
def test_an_invalid_resource_need_is_named(meta):
    (key,) = meta
    with pytest.raises(PipelineError, match=rf"^dvc.yaml: sft: meta.{key}: "):
        Needs.read("sft", meta)


def test_the_stages_of_this_repository_declare_their_resource_needs(monkeypatch):
    monkeypatch.chdir(ROOT)
    stages = read()
    assert stages["sft"].needs.gpu == stages["gspo"].needs.gpu == "all"
    assert [name for name, stage in stages.items() if stage.needs.network] == [
        "annotate",
        "base_model",
        "download",
    ]
    assert all(stage.needs.hours for stage in stages.values())
    assert set(stages["report"].after) >= {"evaluate@base", "evaluate@sft", "evaluate@gspo"}


def test_starting_outside_the_repository_root_is_an_error(pipeline, monkeypatch):
    below = pipeline.folder / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    with pytest.raises(PipelineError, match="start it from the root"), graph.repository():
        pass
    monkeypatch.chdir("/")
    with pytest.raises(PipelineError), graph.repository():
        pass
