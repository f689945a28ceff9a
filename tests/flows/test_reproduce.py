"""The flow `reproduce` on a real server and a real DVC repository."""

import json
import re
import subprocess

import pytest

from flows import graph, resources, run_stage
from flows import reproduce as flow_module
from flows.resources import Gpu
from tests.flows.small_pipeline import NAMES, until

pytestmark = pytest.mark.slow


def together(pipeline, one, other):
    (begin, end, _), (other_begin, other_end, _) = pipeline.times(one), pipeline.times(other)
    return max(begin, other_begin) < min(end, other_end)


def test_an_unchanged_pipeline_starts_no_stage(reproduce, pipeline):
    (pipeline.folder / "times/source").unlink()
    run = reproduce()
    assert run.state.name == "Unchanged"
    assert run.stages == dict.fromkeys(NAMES, "Unchanged")
    assert not (pipeline.folder / "times/source").exists()


def test_independent_stages_run_side_by_side_and_dvc_keeps_both_results(reproduce, pipeline, monkeypatch):
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: {0, 1})
    pipeline.behave("side@left", "sleep 2")
    pipeline.behave("side@right", "sleep 2")
    pipeline.set_params(seed=0, sides=1)
    run = reproduce()
    assert run.stages == {"source": "Unchanged", "side@left": "Ran", "side@right": "Ran", "join": "Unchanged"}
    assert together(pipeline, "side@left", "side@right")
    assert json.loads(pipeline.run("dvc", "status", "--json")) == {}


def test_the_run_page_shows_graph_table_metrics_and_progress(reproduce, pipeline):
    pipeline.behave("side@left", "bars")
    pipeline.set_meta("source", network=True)
    work = pipeline.folder / "work.py"
    text = work.read_text().replace('"score": 0.5', '"score": 0.75')
    work.write_text(text.replace('"length": ', '"length": 1 + '))
    (pipeline.folder / "reports").mkdir()
    (pipeline.folder / "reports/index.html").write_text("<h1>Report</h1>")
    run = reproduce(force=True, reason="new score")
    assert run.stages == dict.fromkeys(NAMES, "Ran")
    before = {str(each.id) for each in run.tasks["join"].task_inputs["wait_for"]}
    assert before == {str(run.tasks[side].id) for side in ("side@left", "side@right")}
    assert run.name == "edited parameters · forced · new score"
    page = run.artifacts["stages"].data
    assert "**4 ran**, at `" in page
    assert "on main, with uncommitted changes" in page
    assert "| `join` | Ran | " in page
    assert page.index("| metrics | length | ") < page.index("| metrics | score | 0.5 | 0.75 | 0.25 |")
    assert "Report: `reports/index.html`" in page
    bar = run.artifacts["side-left"]
    assert float(bar.data) == 100
    assert bar.description.startswith("learning: 8/8")
    assert bar.description.endswith("reward 3.5, loss 0.25, epoch 1")


def test_a_failure_reports_its_cause_and_command_while_other_stages_continue(reproduce, pipeline):
    pipeline.behave("side@left", "fail")
    pipeline.set_params(seed=0, sides=1)
    run = reproduce()
    assert run.stages == {
        "source": "Unchanged",
        "side@left": "Failed",
        "side@right": "Ran",
        "join": "Skipped",
    }
    assert run.tasks["side@left"].run_count == 1  # only network errors are retried
    for message in (run.state.message, run.tasks["side@left"].state.message):
        assert "side@left failed with exit status" in message
        assert "reading the input\nthe input is no good" in message
        assert "dvc repro --single-item side@left" in message
    assert run.tasks["join"].state.message == "skipped because side@left failed"
    pipeline.behave("side@left", None)
    assert reproduce().stages["side@left"] == "Ran"


def test_stages_downstream_of_a_failure_are_skipped_and_name_it(reproduce, pipeline):
    pipeline.set_meta("source")
    pipeline.behave("source", "fail")
    run = reproduce(force=True)
    assert run.stages == dict.fromkeys(NAMES, "Skipped") | {"source": "Failed"}
    assert run.tasks["join"].state.message == "skipped because source failed"
    assert run.state.message.startswith("1 failed, 3 skipped")


@pytest.mark.parametrize(("behaviour", "state", "tries"), [("fail twice", "Ran", 3), ("wrong", "Failed", 1)])
def test_network_errors_are_retried_and_wrong_parameters_are_not(
    reproduce, pipeline, monkeypatch, behaviour, state, tries
):
    monkeypatch.setattr(run_stage, "FIRST_WAIT_S", 0.2)
    pipeline.behave("source", behaviour)
    pipeline.set_params(seed=1, sides=0)
    run = reproduce(targets=["source"])
    assert run.stages == {"source": state}
    assert run.tasks["source"].run_count == tries


def test_outputs_from_the_cache_are_reported_as_restored(reproduce, pipeline):
    pipeline.set_params(seed=0, sides=1)
    assert reproduce().stages["side@left"] == "Ran"
    pipeline.set_params(seed=0, sides=0)
    assert reproduce().stages["side@left"] == "Restored"


def test_a_stage_over_its_time_limit_is_ended_with_all_its_processes(reproduce, pipeline):
    pipeline.set_meta("side", hours=3 / 3600)
    pipeline.behave("side@left", "hang")
    pipeline.set_params(seed=0, sides=1)
    run = reproduce()
    assert run.stages["side@left"] == "Failed"
    assert "took longer than its time limit of 3 s" in run.state.message
    assert not [command for command in pipeline.commands() if {"86398", "86399"} & set(command)]


def test_two_gpu_stages_never_share_a_gpu(reproduce, pipeline, monkeypatch):
    monkeypatch.setattr(resources, "gpus", lambda: [Gpu("7", "test-only-one")])
    monkeypatch.setattr(resources.os, "sched_getaffinity", lambda _: {0, 1})
    pipeline.set_meta("side", gpu=1)
    for side in ("side@left", "side@right"):
        pipeline.behave(side, "sleep 1")
    pipeline.set_params(seed=0, sides=1)
    reproduce(force=True)
    assert not together(pipeline, "side@left", "side@right")
    assert {pipeline.times(side)[2] for side in ("side@left", "side@right")} == {"7"}
    assert pipeline.times("join")[2] == ""  # a stage that asked for no GPU sees none


def test_a_second_run_is_refused_while_one_is_running(reproduce, pipeline):
    from flows.locks import checkout_lock

    with checkout_lock(pipeline.folder, "shapes, nightly"):
        run = reproduce()
    assert (run.state.name, run.state.type.value, run.stages) == ("Busy", "CANCELLED", {})
    assert "shapes, nightly" in run.state.message


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dvc.lock", "stages: [", "dvc.lock"),
        ("dvc.yaml", "stages: {a: {cmd: echo, meta: {gpus: 1}}}", "dvc.yaml: a: meta.gpus: unknown key"),
        ("dvc.yaml", "stages: {a: {cmd: echo, meta: {gpu: some}}}", "dvc.yaml: a: meta.gpu: 'some'"),
        ("dvc.yaml", "stages: {}", "no stage to run"),
    ],
)
def test_a_broken_file_is_named(reproduce, pipeline, file, text, message):
    (pipeline.folder / file).write_text(text)
    run = reproduce()
    assert run.state.is_failed()
    assert message in run.state.message
    assert "\n" not in run.state.message


def test_unknown_targets_and_profiles_are_named(reproduce):
    assert "nonsense" in reproduce(targets=["nonsense"]).state.message
    assert "profiles/nonsense.yaml: no such profile" in reproduce(profile="nonsense").state.message


def test_a_dvc_lock_edited_by_hand_is_repaired(reproduce, pipeline):
    lock = pipeline.folder / "dvc.lock"
    before = lock.read_text()
    lock.write_text(re.sub(r"  md5: \w+", "  md5: " + "f" * 32, before, count=1))
    assert lock.read_text() != before
    assert reproduce().state.is_completed()
    assert lock.read_text() == before


def test_a_detached_head_and_a_repository_without_commits_are_reported(reproduce, pipeline):
    pipeline.run("git", "checkout", "--quiet", "--detach")
    assert "on no branch (detached HEAD)" in reproduce().artifacts["stages"].data
    pipeline.run("git", "update-ref", "-d", "HEAD")
    assert "no commit to name" in reproduce().artifacts["stages"].data


def test_a_full_disk_fails_only_its_stage(reproduce, pipeline):
    pipeline.behave("side@left", "fill the disk")
    pipeline.set_params(seed=0, sides=1)
    run = reproduce()
    assert run.stages["side@left"] == "Failed"
    assert "No space left on device" in run.state.message
    (pipeline.folder / ".dvc/tmp/rwlock").write_text(
        '{"write": {"/x'
    )  # what a full disk leaves of the output
    pipeline.behave("side@left", None)
    assert reproduce().state.is_completed()


def test_a_run_waits_for_dvc_started_by_hand(reproduce, pipeline, monkeypatch):
    monkeypatch.setattr(graph, "RETRY_S", 0.3)
    pipeline.behave("side@left", "sleep 3")
    pipeline.set_params(seed=0, sides=1)
    by_hand = subprocess.Popen(["dvc", "repro", "--single-item", "side@left"], cwd=pipeline.folder)
    until(lambda: "repro" in (pipeline.folder / ".dvc/tmp/rwlock").read_text(), every_s=0.02)
    run = reproduce()
    assert by_hand.wait() == 0
    assert run.state.is_completed()
    assert run.stages["side@left"] == "Unchanged"


def test_a_second_machine_reruns_nothing(reproduce, pipeline, tmp_path, monkeypatch):
    pipeline.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "remote"))
    pipeline.commit()
    pipeline.run("git", "clone", "--quiet", ".", str(tmp_path / "second"))
    pipeline.set_params(seed=0, sides=1)
    assert "pushed" in reproduce(push=True).state.message
    second = type(pipeline)(tmp_path / "second")
    second.set_params(seed=0, sides=1)  # it has the code, and the dvc.lock from before
    monkeypatch.chdir(second.folder)
    run = reproduce()
    assert run.state.is_completed()
    assert set(run.stages.values()) <= {"Restored", "Unchanged"}
    assert not (second.folder / "times").exists()
    assert (second.folder / "join.txt").read_text() == (pipeline.folder / "join.txt").read_text()


def test_an_unreachable_remote_is_a_warning_and_does_not_fail_the_run(reproduce, pipeline, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    pipeline.run("dvc", "remote", "add", "--default", "dead", "s3://nobucket/x")
    pipeline.run("dvc", "remote", "modify", "dead", "endpointurl", "http://127.0.0.1:9")
    pipeline.set_params(seed=0, sides=1)
    run = reproduce()
    assert run.state.is_completed(), run.state.message
    assert run.stages["side@left"] == "Ran"


def test_the_outcome_is_sent_to_a_webhook(reproduce, pipeline, local_webhook):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(
        name="test", url=local_webhook.url, json_data={"text": "{{subject}} | {{body}}"}
    )
    block.save("test", overwrite=True)
    reproduce(notify="custom-webhook/test")
    assert local_webhook.received == [{"text": "edited parameters · by hand: Unchanged | 4 unchanged"}]


@pytest.mark.parametrize("block", ["secret/x", "custom-webhook/none-such", "nonsense"])
def test_a_wrong_notification_block_fails_before_anything_runs(reproduce, pipeline, server, block):
    from prefect.blocks.system import Secret

    Secret(value="hidden").save("x", overwrite=True)
    pipeline.set_params(seed=0, sides=1)
    run = reproduce(notify=block)
    assert run.state.name == "Failed"
    assert run.state.message.startswith(f"notify: {block}: ")
    assert "\n" not in run.state.message
    assert run.stages == {}


@pytest.mark.parametrize("target", ["{other}/dvc.yaml:source", "../other/dvc.yaml", "no-such-stage"])
def test_a_target_of_another_repository_fails_before_anything_runs(
    reproduce, pipeline, new_pipeline, tmp_path, target
):
    other = new_pipeline.copy(tmp_path / "other")
    run = reproduce(targets=[target.format(other=other.folder)])
    assert run.state.name == "Failed"
    assert target.partition("}")[2] in run.state.message
    assert "\n" not in run.state.message
    assert run.stages == {}


def test_the_command_line_exits_with_a_status(server, pipeline):
    pipeline.behave("side@left", "fail")
    pipeline.set_params(seed=0, sides=1)
    command = [flow_module.sys.executable, "-m", "flows.reproduce", "side@left"]
    done = subprocess.run(command, env=server.env(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Failed: 1 failed, 1 unchanged" in done.stdout
