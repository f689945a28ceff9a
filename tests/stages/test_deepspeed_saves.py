"""With DeepSpeed, a process that cannot write reaches the end of the save, where the others wait for it."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.openo3.training import workplace
from tests.stages.training_stage import ROOT, checkpoints, copy_workplace, curve, in_two_processes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed"),
]

# The last step is not taken at first, so that the checkpoint before it is what the second run resumes from
RUN = """
import resource, sys
from pathlib import Path
import deepspeed
from transformers import Trainer
import stages.sft

# On a CPU, transformers leaves this to the engine, which ZeRO-3 builds only after the model
deepspeed.init_distributed("gloo")

LIMITS = {(1, 0): 100_000, (2, 1): 20_000}  # bytes of a file, by step and process
save, step = Trainer.save_model, Trainer.training_step

def limited(self, output_dir=None, _internal_call=False):
    at = (self.state.global_step, self.args.process_index) if _internal_call else None
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMITS.get(at, -1), -1))
    save(self, output_dir, _internal_call)

def training_step(self, *args, **kwargs):
    if self.state.global_step == 3 and not Path("again").exists():
        sys.exit("ended")
    return step(self, *args, **kwargs)

Trainer.save_model, Trainer.training_step = limited, training_step
stages.sft.main()
"""


@pytest.mark.parametrize("zero", [2, 3])
def test_processes_agree_that_the_disk_is_full(
    inputs: Path, tmp_path: Path, zero: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    folder = copy_workplace(inputs, tmp_path)
    (folder / "params.yaml").unlink()
    settings = {"save_steps": 1, "per_device_train_batch_size": 1, "bf16": True}
    workplace.write_params(folder, sft=settings | {"deepspeed": str(ROOT / f"launch/zero{zero}.json")})
    done = in_two_processes(folder, RUN)
    assert "ended" in done.stderr, done.stderr[-4000:]
    print([line for line in done.stderr.splitlines() if "checkpoint" in line])
    print(sorted((p.relative_to(folder), p.stat().st_size) for p in folder.glob(".cache/openo3/sft/*/checkpoint-*/**/*") if p.is_file()))
    said = [line for line in done.stderr.splitlines() if " was not saved (" in line]
    assert [line.split(" was not saved (")[0] for line in said] == ["checkpoint-1", "checkpoint-2"]
    assert all(line.endswith("training continues") for line in said)
    assert checkpoints(folder, "sft") == ["checkpoint-3"]
    (folder / "again").touch()
    done = in_two_processes(folder, RUN)
    assert done.returncode == 0, done.stderr[-4000:]
    assert [row["step"] for row in curve(folder, "sft")] == ["1", "2", "3", "4"]
