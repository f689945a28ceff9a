"""A stage killed with -9 in the middle and started again ends as one that was never killed."""

import shutil

import pytest

from tests.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def killed_and_repeated(finished: Checkout, stage: str, folder, share: float = 0.6) -> Checkout:
    """Run `stage` from nothing, kill it after `share` of its usual time, and start it again."""
    checkout = finished.copy(folder)
    for path in (*checkout.outputs(stage), ".cache"):
        target = checkout.folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    command = ("dvc", "repro", "--force", "--single-item", stage)
    checkout.kill(share * checkout.seconds[stage], *command)
    checkout.run(*command)
    return checkout


@pytest.mark.parametrize("stage", ["base_model", "download", "validate", "sample_frames", "evaluate@sft"])
def test_the_same_bytes_come_out(finished: Checkout, stage: str, tmp_path) -> None:
    checkout = killed_and_repeated(finished, stage, tmp_path)
    once, again = finished.outputs(stage), checkout.outputs(stage)
    for outputs in (once, again):
        outputs.pop("metrics/frames.json", None)  # says how long it took
    assert again == once


@pytest.mark.parametrize("stage", ["sft", "gspo"])
def test_training_goes_on_from_its_last_checkpoint(finished: Checkout, stage: str, tmp_path) -> None:
    checkout = killed_and_repeated(finished, stage, tmp_path, share=0.8)

    def files(run: Checkout) -> set[str]:
        model = run.folder / "data/models" / stage
        return {str(path.relative_to(model)) for path in model.rglob("*")}

    def steps(run: Checkout) -> list[str]:
        lines = (run.folder / f"plots/{stage}.csv").read_text().splitlines()
        return [line.split(",")[0] for line in lines]

    assert files(checkout) == files(finished)
    assert steps(checkout) == steps(finished)
