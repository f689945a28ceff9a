"""A stage killed with -9 and restarted ends with the same result as one that was never killed."""

import shutil

import pytest

from tests.support.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def killed_and_repeated(finished: Checkout, stage: str, folder, moments) -> Checkout:
    """Run `stage` from scratch, kill it at the first of the `moments` before its end, and restart it."""
    checkout = finished.copy(folder)
    command = ("dvc", "repro", "--force", "--single-item", stage)
    for moment in moments:
        for path in (*checkout.outputs(stage), ".cache"):
            target = checkout.folder / path
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        (checkout.folder / ".cache").mkdir()
        if checkout.kill(moment, *command):
            checkout.run(*command)
            return checkout
    raise AssertionError(f"{stage} always ended before it could be killed")


@pytest.mark.parametrize("stage", ["base_model", "download", "validate", "sample_frames", "evaluate@sft"])
def test_a_killed_and_restarted_stage_writes_the_same_bytes(finished: Checkout, stage: str, tmp_path) -> None:
    usual = finished.seconds[stage]  # maybe on a busier machine: try earlier moments too
    moments = [lambda passed, at=share * usual: passed > at for share in (0.6, 0.4, 0.25, 0.15, 0.1)]
    checkout = killed_and_repeated(finished, stage, tmp_path, moments)
    once, again = finished.outputs(stage), checkout.outputs(stage)
    for outputs in (once, again):
        outputs.pop("metrics/frames.json", None)  # its duration differs between runs
    assert again == once


@pytest.mark.parametrize("stage", ["sft", "gspo"])
def test_killed_training_resumes_from_its_last_checkpoint(finished: Checkout, stage: str, tmp_path) -> None:
    saved = f".cache/openo3/{stage}/*/checkpoint-*/digests.json"
    checkout = killed_and_repeated(finished, stage, tmp_path, [lambda _: any(tmp_path.glob(saved))])

    def files(run: Checkout) -> set[str]:
        model = run.folder / "data/models" / stage
        return {str(path.relative_to(model)) for path in model.rglob("*")}

    def steps(run: Checkout) -> list[str]:
        lines = (run.folder / f"plots/{stage}.csv").read_text().splitlines()
        return [line.split(",")[0] for line in lines]

    assert files(checkout) == files(finished)
    assert steps(checkout) == steps(finished)
