"""A stage killed with -9 and restarted ends with the same result as one that was never killed."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STAGES = ("base_model", "download", "validate", "sample_frames", "evaluate@sft")
TRAINING = ("sft", "gspo")


Moment = Callable[[float], bool]


def killed_and_repeated(finished: Checkout, stage: str, folder: Path, moments: Sequence[Moment]) -> Checkout:
    """Run `stage` from scratch, kill it at the first of the `moments` before its end, and restart it."""
    checkout = finished.copy(folder)
    lock = checkout.folder / "dvc.lock"
    whole = lock.read_bytes()
    command = ("dvc", "repro", "--force", "--single-item", stage)
    for moment in moments:
        for path in (*checkout.outputs(stage), ".cache"):
            target = checkout.folder / path
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        (checkout.folder / ".cache").mkdir()
        if checkout.kill(moment, *command) and lock.read_bytes() == whole:
            checkout.run(*command)
            return checkout
        lock.write_bytes(whole)  # the stage had ended: DVC was writing its lock file, which it does in place
    raise AssertionError(f"{stage} always ended before it could be killed")


def moments_of(finished: Checkout, stage: str, folder: Path) -> list[Moment]:
    """When to kill a stage: training at its first checkpoint, the others at a share of their usual time."""
    if stage in TRAINING:
        saved = f".cache/openo3/{stage}/*/checkpoint-*/digests.json"
        return [lambda _: any(folder.glob(saved))]
    usual = finished.seconds[stage]  # maybe on a busier machine: try earlier moments too
    return [lambda passed, at=share * usual: passed > at for share in (0.6, 0.4, 0.25, 0.15, 0.1)]


@pytest.fixture(scope="module")
def killed(
    finished: Checkout, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Checkout]]]:
    """Each tested stage, killed and repeated in a checkout of its own, two stages at a time.

    Most of their time is the start of processes, which use one core each.
    """
    wanted = [item.callspec.params["stage"] for item in request.session.items if item.path == request.path]
    folders = {stage: tmp_path_factory.mktemp("killed") for stage in wanted}
    with ThreadPoolExecutor(2) as pool:
        yield {
            stage: pool.submit(
                killed_and_repeated, finished, stage, folder, moments_of(finished, stage, folder)
            )
            for stage, folder in folders.items()
        }


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_and_restarted_stage_writes_the_same_bytes(
    finished: Checkout, killed: dict[str, Future[Checkout]], stage: str
) -> None:
    checkout = killed[stage].result()
    once, again = finished.outputs(stage), checkout.outputs(stage)
    for outputs in (once, again):
        outputs.pop("metrics/frames.json", None)  # its duration differs between runs
    assert again == once


@pytest.mark.parametrize("stage", TRAINING)
def test_killed_training_resumes_from_its_last_checkpoint(
    finished: Checkout, killed: dict[str, Future[Checkout]], stage: str
) -> None:
    checkout = killed[stage].result()

    def files(run: Checkout) -> set[str]:
        model = run.folder / "data/models" / stage
        return {str(path.relative_to(model)) for path in model.rglob("*")}

    def steps(run: Checkout) -> list[str]:
        lines = (run.folder / f"plots/{stage}.csv").read_text().splitlines()
        return [line.split(",")[0] for line in lines]

    assert files(checkout) == files(finished)
    assert steps(checkout) == steps(finished)
